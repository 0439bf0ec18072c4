// HDF5 structures that lie, part by part: bytes, trees, heaps, groups, object headers, superblocks. Their checksums are
// right: whoever means harm computes them too.
#include "models/hdf5_writer.h"

using namespace fovea;
using namespace fovea::weights::hdf5;
using namespace writer;

namespace {

using Records = std::vector<std::string>;

Records records_of(const Image& image, std::uint64_t tree, const std::vector<std::uint8_t>& types = {5}) {
  Bytes bytes(image);
  Records out;
  for_each_record(bytes.source, tree, types, [&](std::uint8_t, std::span<const std::uint8_t> record) {
    out.emplace_back(record.begin(), record.end());
  });
  return out;
}

std::string object_of(const Image& image, std::uint64_t heap, const std::string& id) {
  Bytes bytes(image);
  const auto object = FractalHeap(bytes.source, heap).object(as_bytes(id));
  return {object.begin(), object.end()};
}

std::string link(const std::string& name, int flags = 0) {
  return u8(1) + u8(flags) + (flags & 8 ? u8(0) : "") + (flags & 4 ? u64(77) : "") + (flags & 16 ? u8(1) : "") +
         u8(static_cast<int>(name.size())) + name + u64(4321);
}

std::string attribute(const std::string& name) {
  const std::string type = unsigned_integers(1), space = dataspace({});
  return u8(3) + u8(0) + u16(name.size() + 1) + u16(type.size()) + u16(space.size()) + u8(0) + name + u8(0) + type +
         space + u8(9);
}

std::vector<Message> messages_of(const std::string& header) {
  Bytes bytes(header);
  return read_object_header(bytes.source, 0);
}

struct Opened {
  explicit Opened(const std::string& content) : memory(content), file(*memory.bytes, memory.bytes, "test") {}
  Memory memory;
  File file;
};

}  // namespace

TEST_CASE("HDF5 by hand: bytes beyond the end are not there") {
  Bytes bytes(zeros(10));
  Source& source = bytes.source;
  CHECK(source.data(4, 6, "x").size() == 6);
  CHECK(source.data(10, 0, "x").empty());
  for (const auto& [address, size] : {std::pair<std::uint64_t, std::uint64_t>{4, 7}, {11, 0}, {~0ull, 1}, {1, ~0ull}})
    refused("the file ends at 10", [&, at = address, n = size] { source.data(at, n, "x"); });
  refused("too short", [&] { source.block(0, 3, "TREE", false, "x"); });
  refused("too short", [&] { source.block(0, 7, "TREE", true, "x"); });
  const std::string four = "\1\2\3\4";
  Cursor cursor(source, as_bytes(four), "x");
  CHECK(cursor.u32() == 0x04030201);
  refused("1 bytes expected, 0 are left", [&] { cursor.u8(); });
  refused("5 bytes expected, 4 are left", [&] { Cursor(source, as_bytes(four), "x").take(5); });
  CHECK(product(source, 1ull << 31, 1ull << 31) == 1ull << 62);
  CHECK(product(source, 0, ~0ull) == 0);
  refused("no possible size", [&] { product(source, 1ull << 31, (1ull << 31) + 1); });
  for (const int width : {2, 4, 8}) {
    source.offset_size = width;
    const std::string ones(8, '\xff'), less = "\xfe" + std::string(7, '\xff');
    CHECK(Cursor(source, as_bytes(ones), "x").offset() == kUndefined);
    CHECK(Cursor(source, as_bytes(less), "x").offset() == (~0ull >> (64 - 8 * width)) - 1);
  }
}

TEST_CASE("HDF5 by hand: what is parsed is paid for, an address with 32 bytes at least") {
  Bytes bytes(zeros(10));
  bytes.source.budget = 3 * (10 + 32);
  for (int i = 0; i < 3; ++i) bytes.source.metadata(0, 10, "x");
  refused("refer to each other so often", [&] { bytes.source.metadata(0, 0, "x"); });
  // Shared attributes, each of which refers to the header that it stands in: reading them takes the square of its size.
  const auto many = [](std::size_t count) {
    std::string messages = message(0x0c, attribute("a"));
    for (std::size_t i = 0; i < count; ++i) messages += message(0x0c, u8(3) + u8(2) + u64(kSuperblockBytes), 2);
    return file_of(messages);
  };
  Opened few(many(3));
  CHECK(few.file.attributes(few.file.root()).size() == 4);
  Opened opened(many(2000));
  refused("refer to each other so often", [&] { opened.file.attributes(opened.file.root()); });
}

TEST_CASE("HDF5 by hand: Fletcher's checksum of long data") {
  std::string data(5001, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(255 - i % 7);
  std::uint64_t low = 0, high = 0;
  for (std::size_t i = 0; i < data.size(); i += 2) {
    const auto byte = [&](std::size_t k) { return k < data.size() ? static_cast<unsigned char>(data[k]) : 0u; };
    low = (low + (byte(i) << 8 | byte(i + 1))) % 65535;
    high = (high + low) % 65535;
  }
  CHECK(fletcher32(as_bytes(data)) == (high << 16 | low));
}

TEST_CASE("HDF5 by hand: B-trees of version 2") {
  Image image;
  CHECK(records_of(image, one_leaf(image, 5, 3, "abcdef")) == Records{"abc", "def"});
  refused("unexpected type 5", [&] { records_of(image, one_leaf(image, 5, 3, "abc"), {8, 9}); });
  const std::uint64_t three = image.add(btree_leaf(5, "abcdefghi")), other = image.add(btree_leaf(8, "abc"));
  const auto tree = [&](std::uint64_t node_size, std::uint64_t record, std::uint64_t depth, std::uint64_t root,
                        std::uint64_t count) {
    return records_of(image, image.add(btree_head(5, node_size, record, depth, root, count)));
  };
  CHECK(tree(10 + 9, 3, 0, three, 3).size() == 3);
  refused("more records than fit", [&] { tree(10 + 8, 3, 0, three, 3); });
  refused("belongs to another tree", [&] { tree(512, 3, 0, other, 1); });
  refused("impossible sizes", [&] { tree(512, 0, 0, three, 1); });
  refused("impossible sizes", [&] { tree(5, 3, 0, three, 1); });
  refused("impossible sizes", [&] { tree(65535, 3, 17, three, 1); });
  const auto inner = [&](std::uint64_t left, std::uint64_t right) {
    return image.add(summed("BTIN" + u8(0) + u8(5) + "xyz" + u64(left) + u8(3) + u64(right) + u8(1)));
  };
  const std::uint64_t last = image.add(btree_leaf(5, "jkl"));
  CHECK(tree(64, 3, 1, inner(three, last), 1).size() == 5);
  refused("two nodes lie at one place", [&] { tree(64, 3, 1, inner(three, three), 1); });
  const std::uint64_t self = image.next();
  refused("two nodes lie at one place", [&] { tree(64, 3, 1, inner(self, last), 1); });
}

TEST_CASE("HDF5 by hand: fractal heaps") {
  Image image;
  const std::uint64_t heap = one_block(image, "objects");
  CHECK(object_of(image, heap, managed(15, 7) + zeros(3)) == "objects");
  CHECK(object_of(image, heap, managed(60, 4) + zeros(3)) == zeros(4));
  refused("does not lie in its block", [&] { object_of(image, heap, managed(60, 5) + zeros(3)); });
  refused("does not lie in its block", [&] { object_of(image, heap, managed(70, 1) + zeros(3)); });
  refused("a heap ID is too short", [&] { object_of(image, heap, managed(15, 7)); });
  refused("unknown version", [&] { object_of(image, heap, u8(0x40) + zeros(6)); });
  refused("not in the index of large objects", [&] { object_of(image, heap, u8(0x10) + zeros(6)); });
  const auto with = [&](const HeapHead& head, const std::string& id) {
    return object_of(image, image.add(heap_head(head)), id);
  };
  refused("it lies in no block", [&] { with({}, managed(15, 7) + zeros(3)); });
  refused("a heap ID is too short", [&] { with({.id_length = 0}, ""); });
  // Objects inside their own ID: up to 16 bytes say their length in 4 bits, up to 4096 in 12.
  CHECK(with({.id_length = 18}, u8(0x23) + "tiny" + zeros(13)) == "tiny");
  CHECK(with({.id_length = 19}, u8(0x20) + u8(16) + "seventeen letters").size() == 17);
  refused("bytes expected", [&] { with({.id_length = 19}, u8(0x21) + u8(16) + zeros(17)); });

  const std::string id = zeros(7);
  for (const HeapHead& head :
       {HeapHead{.width = 3}, HeapHead{.start = 0}, HeapHead{.start = 128}, HeapHead{.max_direct = 65},
        HeapHead{.max_direct = 1ull << 33}, HeapHead{.bits = 0}, HeapHead{.bits = 65}, HeapHead{.rows = 65}})
    refused("impossible sizes", [&] { with(head, id); });
  const std::uint64_t stray = image.add(heap_block(1, 0, ""));
  refused("belongs to another heap", [&] { with({.root = stray}, id); });
  const std::uint64_t elsewhere = image.add(heap_block(image.next() + 64, 2, ""));
  refused("not where it should be", [&] { with({.root = elsewhere}, id); });
}

TEST_CASE("HDF5 by hand: fractal heaps of several blocks") {
  Image image;
  /// A heap whose root names these blocks.
  const auto heap_of = [&](HeapHead head, const std::vector<std::uint64_t>& blocks) {
    const std::uint64_t at = image.next();
    head.root = at + kHeapHeadBytes;
    std::string block = "FHIB" + u8(0) + u64(at) + u16(0);
    for (std::size_t i = 0; i < head.rows * head.width; ++i) block += u64(i < blocks.size() ? blocks[i] : ~0ull);
    image.add(heap_head(head) + summed(block));
    return at;
  };
  image.add(heap_block(128, 5 * 64, "behind") + heap_block(128, 0, "first"));  // of the heap that comes next
  const std::uint64_t heap = heap_of({.rows = 2}, {64, ~0ull, ~0ull, ~0ull, ~0ull, 0});
  CHECK(object_of(image, heap, managed(15, 5) + zeros(3)) == "first");
  CHECK(object_of(image, heap, managed(5 * 64 + 15, 6) + zeros(3)) == "behind");
  refused("does not lie in its block", [&] { object_of(image, heap, managed(64 + 15, 5) + zeros(3)); });

  const std::uint64_t twice = image.add(heap_block(image.next() + 64, 0, ""));
  const std::uint64_t circle = heap_of({.rows = 1}, {twice, twice});
  refused("two blocks lie at one place", [&] { object_of(image, circle, zeros(7)); });
  std::vector<std::uint64_t> third_row(129, ~0ull);
  third_row.back() = 0;
  const std::uint64_t wide = heap_of({.width = 64, .rows = 3}, third_row);
  refused("impossible sizes", [&] { object_of(image, wide, zeros(7)); });
  const std::uint64_t large = heap_of({.width = 1, .start = 1ull << 32, .max_direct = 1ull << 32, .rows = 64}, {});
  refused("too large", [&] { object_of(image, large, zeros(7)); });
}

TEST_CASE("HDF5 by hand: heaps of names and of values") {
  Bytes bytes(zeros(100));
  const std::string names = "one" + u8(0) + "two" + u8(0) + "cut";
  const auto name = [&](std::uint64_t at) { return local_heap_text(bytes.source, as_bytes(names), at); };
  CHECK(name(4) == "two");
  CHECK(name(3).empty());
  refused("a name has no end", [&] { name(8); });
  refused("outside its heap", [&] { name(names.size()); });
  refused("outside its heap", [&] { name(~0ull); });

  const auto value = [](int index, const std::string& content) {
    return u16(index) + zeros(6) + u64(content.size()) + content + zeros((8 - content.size() % 8) % 8);
  };
  const auto heap_of = [&](const std::string& values) {
    Bytes heap("GCOL" + u8(1) + zeros(3) + u64(16 + values.size()) + values);
    std::vector<std::string> found;
    for (const auto& [index, object] : read_global_heap(heap.source, 0))
      found.emplace_back(object.begin(), object.end());
    return found;
  };
  CHECK(heap_of(value(1, "ab")) == std::vector<std::string>{"ab"});
  CHECK(heap_of(value(1, "ab") + value(2, "cd") + u16(0) + zeros(6) + u64(~0ull)).size() == 2);
  refused("two objects have the same number", [&] { heap_of(value(1, "ab") + value(1, "cd")); });
  refused("bytes expected", [&] { heap_of(value(1, "ab").substr(0, 17)); });

  // Texts of variable length: 4 bytes of length, the heap's address, the number there.
  const std::string heap = "GCOL" + u8(1) + zeros(3) + u64(16 + 24) + value(1, "text");
  const auto text_of = [&](std::uint64_t length, int number) {
    const std::string type = u8(0x19) + u8(1) + zeros(2) + u32(16) + unsigned_integers(1), space = dataspace({});
    Opened opened(file_of(message(0x0c, u8(3) + u8(0) + u16(2) + u16(type.size()) + u16(space.size()) + u8(0) + "t" +
                                            u8(0) + type + space + u32(length) + u64(kSuperblockBytes) + u32(number)),
                          heap));
    return opened.file.strings(opened.file.attributes(opened.file.root()).at(0)).at(0);
  };
  CHECK(text_of(4, 1) == "text");
  CHECK(text_of(0, 7).empty());
  refused("is longer than its place", [&] { text_of(5, 1); });
  refused("is not in its heap", [&] { text_of(4, 2); });
}

TEST_CASE("HDF5 by hand: links and groups") {
  Bytes bytes(zeros(100));
  for (const int flags : {0, 4, 8, 16, 28}) {
    CAPTURE(flags);
    Group group;
    add_link(bytes.source, as_bytes(link("name", flags)), group);
    REQUIRE(group.links.contains("name"));
    CHECK(group.links.at("name").address == 4321);
    refused("two members of a group are named 'name'", [&] { add_link(bytes.source, as_bytes(link("name")), group); });
    refused("has no name", [&] { add_link(bytes.source, as_bytes(link("")), group); });
  }

  // Old groups: a tree of nodes, each of which names symbols.
  const auto old_group = [](const std::string& nodes) {  // the tree begins at 100
    Image image;
    image.add("HEAP" + u8(0) + zeros(3) + u64(8) + u64(~0ull) + u64(32));
    image.add("one" + u8(0) + "two" + u8(0) + zeros(60));
    image.add(nodes);
    Bytes old(image);
    Group group;
    add_symbol_table(old.source, as_bytes(u64(100) + u64(0)), group);
    return group.links.size();
  };
  const auto node = [](int level, const std::vector<std::uint64_t>& children) {
    std::string out = "TREE" + u8(0) + u8(level) + u16(children.size()) + u64(~0ull) + u64(~0ull) + u64(0);
    for (const std::uint64_t child : children) out += u64(child) + u64(0);
    return out;
  };
  const auto symbol = [](std::uint64_t name) { return u64(name) + u64(4321) + u32(0) + zeros(20); };
  const std::string both = "SNOD" + u8(1) + u8(0) + u16(2) + symbol(0) + symbol(4);
  const std::uint64_t behind_one = 100 + node(0, {0}).size();
  CHECK(old_group(node(0, {behind_one}) + both) == 2);
  CHECK(old_group(node(1, {behind_one}) + node(0, {behind_one + behind_one - 100}) + both) == 2);
  refused("a node of the wrong level", [&] { old_group(node(2, {behind_one}) + node(0, {200}) + both); });
  refused("two nodes lie at one place", [&] { old_group(node(1, {100})); });
  const std::uint64_t behind_two = 100 + node(0, {0, 0}).size();
  refused("two nodes lie at one place", [&] { old_group(node(0, {behind_two, behind_two}) + both); });
  refused("a name lies outside its heap",
          [&] { old_group(node(0, {behind_one}) + "SNOD" + u8(1) + u8(0) + u16(1) + symbol(8)); });
}

TEST_CASE("HDF5 by hand: links and attributes in heaps") {
  Image image;
  const std::uint64_t links = one_block(image, link("kept"));
  const std::uint64_t attributes = one_block(image, attribute("kept"), {.id_length = 8});
  const int link_bytes = static_cast<int>(link("kept").size());
  const int attribute_bytes = static_cast<int>(attribute("kept").size());
  const std::uint64_t by_name = one_leaf(image, 5, 11, u32(0) + managed(15, link_bytes) + zeros(3));
  const std::uint64_t short_name = one_leaf(image, 5, 4, u32(0));
  const auto attribute_tree = [&](int flags) {
    return one_leaf(image, 8, 17, managed(15, attribute_bytes) + zeros(4) + u8(flags) + zeros(8));
  };
  const std::uint64_t plain = attribute_tree(0), shared = attribute_tree(2);
  const std::uint64_t short_attribute = one_leaf(image, 8, 8, zeros(8));
  Bytes bytes(image);
  const auto link_count = [&](std::uint64_t heap, std::uint64_t tree) {
    Group group;
    add_dense_links(bytes.source, as_bytes(u8(0) + u8(0) + u64(heap) + u64(tree)), group);
    return group.links.size();
  };
  CHECK(link_count(links, by_name) == 1);
  CHECK(link_count(~0ull, ~0ull) == 0);
  refused("without index", [&] { link_count(links, ~0ull); });
  refused("too short records", [&] { link_count(links, short_name); });
  const auto attribute_count = [&](std::uint64_t heap, std::uint64_t tree) {
    std::vector<Attribute> found;
    add_dense_attributes(bytes.source, as_bytes(u8(0) + u8(0) + u64(heap) + u64(tree)), found);
    return found.size();
  };
  CHECK(attribute_count(attributes, plain) == 1);
  CHECK(attribute_count(~0ull, ~0ull) == 0);
  refused("without index", [&] { attribute_count(attributes, ~0ull); });
  refused("too short records", [&] { attribute_count(attributes, short_attribute); });
  refused("shared through a heap", [&] { attribute_count(attributes, shared); });
}

TEST_CASE("HDF5 by hand: object headers") {
  CHECK(messages_of(object_header(message(1, "a") + message(0, "gap") + message(3, "bc"))).size() == 2);
  // Flag 4: each message has two bytes more, the order of creation.
  const std::string ordered = u8(1) + u16(2) + u8(0) + u16(9) + "ab" + u8(3) + u16(1) + u8(0) + u16(8) + "c";
  const std::vector<Message> two = messages_of(summed("OHDR" + u8(2) + u8(6) + u32(ordered.size()) + ordered));
  REQUIRE(two.size() == 2);
  CHECK(two[1].type == 3);
  CHECK(two[1].data.size() == 1);
  refused("it claims", [&] { messages_of("OHDR" + u8(2) + u8(3) + u64(~0ull - 18) + zeros(40)); });
  std::string many;
  for (int i = 0; i < 65536; ++i) many += message(1, "");
  CHECK(messages_of(object_header(many)).size() == 65536);
  refused("too many messages", [&] { messages_of(object_header(many + message(1, ""))); });
  // Continuations: behind the header, and in themselves.
  const std::string head = object_header(message(0x10, u64(0) + u64(0)));
  const std::string onwards = object_header(message(0x10, u64(head.size()) + u64(8 + 5)));
  CHECK(messages_of(onwards + summed("OCHK" + message(1, "a"))).size() == 1);
  const std::string again = message(0x10, u64(head.size()) + u64(8 + 20));
  refused("it continues in itself", [&] { messages_of(object_header(again) + summed("OCHK" + again)); });
  // A message that stands in another header, which must have it itself.
  const auto refers = [](const std::string& there) {
    Bytes bytes(object_header(there));
    const std::string to = u8(3) + u8(2) + u64(0);
    const auto data = resolve_shared(bytes.source, {1, 2, as_bytes(to)});
    return std::string(data.begin(), data.end());
  };
  CHECK(refers(message(3, "x") + message(1, "here")) == "here");
  refused("is not there", [&] { refers(message(3, "x")); });
  refused("is not there", [&] { refers(message(1, "elsewhere", 2)); });
}

TEST_CASE("HDF5 by hand: superblocks") {
  const std::string nothing = object_header("");
  const auto in_front = [&](std::size_t front, std::uint64_t base, std::uint64_t end) {
    Opened(zeros(front) + superblock(base, end, kSuperblockBytes) + nothing);
  };
  const std::uint64_t size = kSuperblockBytes + nothing.size();
  for (const std::size_t front : {0u, 512u, 1024u, 4096u}) {
    CAPTURE(front);
    CHECK_NOTHROW(in_front(front, front, front + size));
    refused("cut off", [&] { in_front(front, front, front + size + 1); });
  }
  CHECK_NOTHROW(in_front(512, 0, size));  // a block that was put in front later
  refused("no HDF5 file", [&] { in_front(1536, 0, size); });
  refused("gives no end", [&] { in_front(0, 1000, 999); });
  refused("gives no end", [&] { in_front(0, 0, ~0ull); });

  // Members of what is a dataset are nobody's.
  Opened both(file_of(message(6, link("l")) + message(8, u8(3) + u8(0) + u16(0))));
  CHECK_FALSE(both.file.find(both.file.root(), "l"));
  // A soft link before a long way.
  Opened opened(file_of(message(6, u8(1) + u8(8) + u8(1) + u8(1) + "l" + u16(1) + "m")));
  CHECK_FALSE(opened.file.find(opened.file.root(), "l/x"));
  refused("have no end", [&] { opened.file.find(opened.file.root(), "l/" + std::string(70000, 'x')); });
}
