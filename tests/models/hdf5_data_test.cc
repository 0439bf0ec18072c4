// HDF5 datasets that lie, part by part: types, layouts, indexes of chunks, filters, and sizes that do not go together.
#include <zlib.h>

#include <algorithm>
#include <array>

#include "models/hdf5_writer.h"

using namespace fovea;
using namespace fovea::weights::hdf5;
using namespace writer;

namespace {

using Kind = Type::Kind;
using Index = Layout::Index;
using Numbers = std::vector<std::uint64_t>;

/// A dataset of one-byte elements along one axis.
Dataset chunked(Index index, std::uint64_t address, std::uint64_t extent, std::uint64_t most, std::uint64_t chunk) {
  Dataset dataset;
  dataset.type.size = 1;
  dataset.space.dims = {extent};
  dataset.space.max_dims = {most};
  dataset.layout.kind = Layout::Kind::chunked;
  dataset.layout.index = index;
  dataset.layout.address = address;
  dataset.layout.chunk = {chunk};
  return dataset;
}

/// Where the chunks that an index finds begin.
Numbers found(const Image& image, const Dataset& dataset) {
  Bytes bytes(image);
  Numbers out;
  for_each_chunk(bytes.source, dataset, [&](const Chunk& chunk) { out.push_back(chunk.position[0]); });
  return out;
}

std::string fixed_head(int client, int entry, int page_bits, std::uint64_t count, std::uint64_t block) {
  return summed("FAHD" + u8(0) + u8(client) + u8(entry) + u8(page_bits) + u64(count) + u64(block));
}
constexpr std::uint64_t kFixedHeadBytes = 28;

/// `sizes`: most elements in bits, elements in the index, smallest block, blocks named directly below, page bits.
std::string extensible_head(const std::array<int, 5>& sizes, std::uint64_t end, std::uint64_t index) {
  std::string out = "EAHD" + u8(0) + u8(0) + u8(8);
  for (const int size : sizes) out += u8(size);
  return summed(out + zeros(32) + u64(end) + u64(0) + u64(index));
}
constexpr std::uint64_t kExtensibleHeadBytes = 72;

std::string addresses(const Numbers& each) {
  std::string out;
  for (const std::uint64_t address : each) out += u64(address);
  return out;
}

std::string deflated(const std::string& content) {
  std::string out(compressBound(content.size()), '\0');
  uLongf size = out.size();
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(content.data()), content.size());
  out.resize(size);
  return out;
}

std::string undone(const std::vector<Filter>& filters, const std::string& stored, std::uint64_t bytes,
                   std::uint32_t mask = 0) {
  Bytes nothing("");
  Dataset dataset;
  dataset.type.size = 2;
  dataset.filters = filters;
  const auto out = undo_filters(nothing.source, dataset, as_bytes(stored), mask, bytes);
  return {out.begin(), out.end()};
}

/// A file whose root is a dataset: its axes, layout and further messages, the size of its elements, and pieces that
/// begin at kSuperblockBytes.
struct Parts {
  Numbers dims;
  std::string layout, more = {}, pieces = {};
  int element = 1;
};
std::vector<double> values_of(const Parts& parts) {
  const Memory memory(file_of(message(1, dataspace(parts.dims)) + message(3, unsigned_integers(parts.element)) +
                                  message(8, parts.layout) + parts.more,
                              parts.pieces));
  File file(*memory.bytes, memory.bytes, "test");
  return file.read(file.dataset(file.root(), "d")).to_vector<double>();
}
std::string contiguous(std::uint64_t address, std::uint64_t size) { return u8(3) + u8(1) + u64(address) + u64(size); }
std::string compact(const std::string& data) { return u8(3) + u8(0) + u16(data.size()) + data; }
/// Chunks of one axis with the old index.
std::string old_chunks(std::uint64_t address, std::uint64_t chunk) {
  return u8(3) + u8(2) + u8(2) + u64(address) + u32(chunk) + u32(1);
}

Type type_of(const std::string& message) {
  Bytes nothing("");
  return parse_type(nothing.source, as_bytes(message));
}
Layout layout_of(const std::string& message) {
  Bytes nothing("");
  return parse_layout(nothing.source, as_bytes(message));
}

}  // namespace

TEST_CASE("HDF5 by hand: dataspaces, types and fill values") {
  Bytes nothing("");
  CHECK(parse_dataspace(nothing.source, as_bytes(dataspace(Numbers(32, 1)))).dims.size() == 32);
  refused("33 dimensions", [&] { parse_dataspace(nothing.source, as_bytes(dataspace(Numbers(33, 1)))); });
  CHECK(parse_dataspace(nothing.source, as_bytes(dataspace({2}, {~0ull}))).max_dims == Numbers{kUndefined});

  const auto integers = [](int size, int bits) { return u8(0x10) + zeros(3) + u32(size) + u16(0) + u16(bits); };
  CHECK(type_of(integers(2, 16)).kind == Kind::integer);
  CHECK(type_of(integers(2, 12)).kind == Kind::other);
  CHECK(type_of(integers(3, 24)).kind == Kind::other);
  refused("no size", [&] { type_of(integers(0, 0)); });
  const auto floats = [](int order, int exponent_at, int bias) {
    return u8(0x11) + u8(0x20 | order) + u8(31) + u8(0) + u32(4) + u16(0) + u16(32) + u8(exponent_at) + u8(8) + u8(0) +
           u8(23) + u32(bias);
  };
  CHECK(type_of(floats(0, 23, 127)).kind == Kind::floating);
  CHECK(type_of(floats(1, 23, 127)).big_endian);
  CHECK(type_of(floats(0x41, 23, 127)).kind == Kind::other);  // of a VAX
  CHECK(type_of(floats(0, 22, 127)).kind == Kind::other);
  CHECK(type_of(floats(0, 23, 126)).kind == Kind::other);

  const auto fill = [&](const std::string& message) {
    return parse_fill(nothing.source, as_bytes(message), false).size();
  };
  CHECK(fill(u8(3) + u8(0x20) + u32(2) + "ab") == 2);
  CHECK(fill(u8(3) + u8(0) + u32(2) + "ab") == 0);
  CHECK(fill(u8(2) + u8(0) + u8(0) + u8(1) + u32(0xffffffff)) == 0);  // -1: there is none
  refused("bytes expected", [&] { fill(u8(3) + u8(0x20) + u32(3) + "ab"); });
}

TEST_CASE("HDF5 by hand: layouts") {
  // Version 4: flags, rank, width of the extents, extents, kind of index.
  const auto fourth = [](int rank, int width, int extent) {
    std::string out = u8(4) + u8(2) + u8(0) + u8(rank) + u8(width);
    for (int i = 0; i < std::min(rank, 33); ++i)
      out += u8(extent) + zeros(static_cast<std::size_t>(std::max(width - 1, 0)));
    return layout_of(out + u8(1) + u64(1000));
  };
  CHECK(fourth(2, 1, 7).chunk == Numbers{7});
  CHECK(fourth(33, 8, 7).chunk.size() == 32);
  for (const int width : {0, 9}) refused("impossible width", [&, w = width] { fourth(2, w, 7); });
  for (const int rank : {1, 34}) refused("chunks of", [&, r = rank] { fourth(r, 1, 7); });
  refused("a chunk without extent", [&] { fourth(2, 1, 0); });
  // Versions 1 and 2: rank, kind, an address but for compact data, extents.
  const auto old = [](int rank, int kind, int extent, const std::string& more) {
    std::string out = u8(1) + u8(rank) + u8(kind) + zeros(5) + (kind != 0 ? u64(1000) : "");
    for (int i = 0; i < rank; ++i) out += u32(extent);
    return layout_of(out + more);
  };
  CHECK(old(1, 0, 7, u32(2) + "ab").data.size() == 2);
  CHECK(old(2, 1, 7, "").address == 1000);
  CHECK(old(2, 2, 7, u32(1)).chunk == Numbers{7});
  for (const int rank : {0, 34}) refused("data of", [&, r = rank] { old(r, 1, 7, ""); });
  refused("chunks without dimensions", [&] { old(1, 2, 7, u32(1)); });
  refused("a chunk without extent", [&] { old(2, 2, 0, u32(1)); });
}

TEST_CASE("HDF5 by hand: the old index of chunks") {
  const auto chunks = [](const std::string& nodes, std::uint64_t extent = 5) {
    Image image;
    image.add(nodes);
    return found(image, chunked(Index::btree1, 0, extent, extent, 2));
  };
  const std::string leaf = chunk_node(0, {{0, 1, 2}, {2, 3, 2}, {4, 5, 2}});
  CHECK(chunks(leaf) == Numbers{0, 1, 2});
  CHECK(chunks(leaf, 4) == Numbers{0, 1});  // what the dataset no longer has
  refused("between chunks", [&] { chunks(chunk_node(0, {{1, 1, 2}})); });
  const std::uint64_t behind = chunk_node(1, {{0, 0, 0}}).size();
  CHECK(chunks(chunk_node(1, {{0, behind, 0}}) + leaf).size() == 3);
  refused("wrong level", [&] { chunks(chunk_node(2, {{0, behind, 0}}) + leaf); });
  refused("one place", [&] { chunks(chunk_node(1, {{0, 0, 0}})); });
  const std::uint64_t behind_two = chunk_node(1, {{0, 0, 0}, {0, 0, 0}}).size();
  refused("one place", [&] { chunks(chunk_node(1, {{0, behind_two, 0}, {2, behind_two, 0}}) + leaf); });
}

TEST_CASE("HDF5 by hand: fixed arrays of chunks") {
  const auto chunks = [](const std::string& head, const std::string& elements, std::uint64_t of = 0,
                         std::uint64_t most = 3) {
    Image image;
    image.add(head + summed("FADB" + u8(0) + u8(head[5]) + u64(of) + elements));
    return found(image, chunked(Index::fixed_array, 0, 3, most, 1));
  };
  const auto head = [](int client, int entry, std::uint64_t count, int page_bits = 10) {
    return fixed_head(client, entry, page_bits, count, kFixedHeadBytes);
  };
  CHECK(chunks(head(0, 8, 3), addresses({1, 2, 3})) == Numbers{0, 1, 2});
  CHECK(chunks(head(0, 8, 3), addresses({1, ~0ull, 3})) == Numbers{0, 2});
  CHECK(chunks(head(0, 8, 4), addresses({1, 2, 3, 4})) == Numbers{0, 1, 2});  // more than the dataset has
  CHECK(chunks(head(1, 13, 1), u64(1) + u8(1) + u32(0)) == Numbers{0});
  for (const auto& [client, entry] : {std::pair{0, 7}, {0, 9}, {1, 8}, {1, 12}, {1, 21}})
    refused("impossible element size", [&, c = client, e = entry] { chunks(head(c, e, 1), zeros(50)); });
  refused("unknown kind", [&] { chunks(head(2, 8, 1), u64(1)); });
  for (const std::uint64_t count : {1ull << 61, ~0ull})
    refused("it claims", [&] { chunks(head(0, 8, count), u64(1)); });
  refused("impossible page size", [&] { chunks(head(0, 8, 1, 64), u64(1)); });
  refused("belongs to another array", [&] { chunks(head(0, 8, 1), u64(1), 8); });
  refused("does not suit its dataset", [&] { chunks(head(0, 8, 1), u64(1), 0, kUndefined); });
}

TEST_CASE("HDF5 by hand: extensible arrays of chunks") {
  const auto chunks = [](const std::array<int, 5>& sizes, std::uint64_t end, const Numbers& index, std::size_t pointers,
                         const std::string& more = {}, bool both_axes = false) {
    std::string body = "EAIB" + u8(0) + u8(0) + u64(0) + addresses(index);
    for (std::size_t i = index.size(); i < pointers; ++i) body += u64(~0ull);
    Image image;
    image.add(extensible_head(sizes, end, kExtensibleHeadBytes) + summed(body) + more);
    Dataset dataset = chunked(Index::extensible_array, 0, 10, kUndefined, 1);
    if (both_axes) {
      dataset.space.dims = {10, 10};
      dataset.space.max_dims = {kUndefined, kUndefined};
      dataset.layout.chunk = {1, 1};
    }
    return found(image, dataset);
  };
  // Blocks of 2 and 4 elements, named in the index behind its one element.
  const std::array<int, 5> small = {2, 1, 2, 4, 10};
  const std::uint64_t behind = kExtensibleHeadBytes + 14 + 3 * 8 + 4;
  const auto block = [](const Numbers& elements) {
    return summed("EADB" + u8(0) + u8(0) + u64(0) + u8(0) + addresses(elements));
  };
  CHECK(chunks(small, 3, {1, behind}, 3, block({2, 3})) == Numbers{0, 1, 2});
  CHECK(chunks(small, 2, {1, behind}, 3, block({2, 3})) == Numbers{0, 1});  // behind the last that was set
  CHECK(chunks(small, 7, {1, ~0ull, behind}, 3, block({2, 3, 4, 5})) == Numbers{0, 3, 4, 5, 6});
  refused("belongs to another array", [&] {
    chunks(small, 3, {1, behind}, 3, summed("EADB" + u8(0) + u8(0) + u64(1) + u8(0) + zeros(16)));
  });
  refused("nothing says which", [&] {
    chunks({2, 1, 2, 4, 1}, 7, {1, ~0ull, behind}, 3, summed("EADB" + u8(0) + u8(0) + u64(0) + u8(0)) + zeros(80));
  });
  refused("does not suit its dataset", [&] { chunks(small, 3, {1, behind}, 3, block({2, 3}), true); });
  for (const std::array<int, 5>& sizes : {std::array{0, 1, 1, 4, 10},
                                          {63, 1, 2, 4, 10},
                                          {2, 1, 3, 4, 10},
                                          {2, 1, 0, 4, 10},
                                          {2, 1, 2, 5, 10},
                                          {2, 1, 2, 4, 0},
                                          {2, 1, 2, 4, 33},
                                          {2, 1, 8, 4, 10}})
    refused("impossible sizes", [&] { chunks(sizes, 3, {1, behind}, 3); });
  // Sizes beyond the file: the last of eight super blocks has blocks of 2048 elements, super block 40 has 2^20 blocks.
  Numbers direct(29, ~0ull);
  direct.push_back(0);
  refused("a block of an extensible array is too large", [&] { chunks({14, 0, 128, 128, 20}, 1 << 20, direct, 30); });
  Numbers supers(40, ~0ull);
  supers.push_back(0);
  refused("a super block is too large", [&] { chunks({62, 0, 1, 1, 20}, 1ull << 60, supers, 63); });
}

TEST_CASE("HDF5 by hand: B-trees of chunks, and chunks without index") {
  Image image;
  const std::string four = u64(1) + u64(0) + u64(2) + u64(1) + u64(3) + u64(2) + u64(4) + u64(~0ull >> 1);
  const std::uint64_t plain = one_leaf(image, 10, 16, four);
  CHECK(found(image, chunked(Index::btree2, plain, 4, kUndefined, 2)) == Numbers{0, 1});
  const std::uint64_t filtered = one_leaf(image, 11, 21, u64(1) + u8(2) + u32(0) + u64(1));
  CHECK(found(image, chunked(Index::btree2, filtered, 4, kUndefined, 2)) == Numbers{1});
  for (const std::size_t record : {20u, 29u}) {
    const std::uint64_t bad = one_leaf(image, 11, record, zeros(record));
    refused("impossible record size", [&] { found(image, chunked(Index::btree2, bad, 4, kUndefined, 2)); });
  }
  CHECK(found(image, chunked(Index::implicit, 0, 2, 6, 2)) == Numbers{0});
  CHECK(found(image, chunked(Index::implicit, image.next() - 6, 6, 6, 2)) == Numbers{0, 1, 2});
  refused("the file ends", [&] { found(image, chunked(Index::implicit, image.next() - 5, 6, 6, 2)); });
  refused("does not suit its dataset", [&] { found(image, chunked(Index::implicit, 0, 2, kUndefined, 2)); });
}

TEST_CASE("HDF5 by hand: filters") {
  const Filter deflate{1, {}}, shuffle{2, {2}}, fletcher{3, {}};
  const std::string plain = "abcdefg", packed = deflated(plain);
  CHECK(undone({deflate}, packed, 7) == plain);
  CHECK(undone({shuffle}, "acebdfg", 7) == plain);  // what fills no element stays at its place
  CHECK(undone({{2, {}}}, "acebdfg", 7) == plain);
  CHECK(undone({shuffle, deflate}, deflated("acebdfg"), 7) == plain);
  CHECK(undone({shuffle, deflate}, "acebdfg", 7, 2) == plain);  // the mask names filters that were left out
  CHECK(undone({shuffle, deflate}, packed, 7, 1) == plain);
  const std::string checked = plain + u32(fletcher32(as_bytes(plain)));
  CHECK(undone({fletcher}, checked, 7) == plain);
  CHECK(undone({fletcher, deflate}, deflated(checked), 7) == plain);
  refused("the checksum of a chunk is wrong", [&] { undone({fletcher}, "b" + checked.substr(1), 7); });
  refused("too short for its checksum", [&] { undone({fletcher}, "abc", 0); });
  refused("does not give its 7 bytes", [&] { undone({deflate}, packed.substr(0, packed.size() - 4), 7); });
  refused("does not give its 8 bytes", [&] { undone({deflate}, packed, 8); });
  refused("does not give its 6 bytes", [&] { undone({deflate}, packed, 6); });
  refused("cannot unpack to", [&] { undone({deflate}, packed, 1ull << 40); });
  refused("compressed twice", [&] { undone({deflate, deflate}, packed, 7); });
  refused("a shuffle filter for elements of 8 bytes", [&] { undone({{2, {8}}}, plain, 7); });
  refused("a shuffle filter for elements of 0 bytes", [&] { undone({{2, {0}}}, plain, 7); });
  refused("a chunk has 7 bytes instead of 8", [&] { undone({shuffle}, plain, 8); });
}

TEST_CASE("HDF5 by hand: datasets whose sizes do not go together") {
  const std::uint64_t at = kSuperblockBytes;
  using Values = std::vector<double>;
  CHECK(values_of({{3}, compact("\1\2\3")}) == Values{1, 2, 3});
  refused("'d' has 2 of 3 bytes", [&] { values_of({{3}, compact("\1\2")}); });
  CHECK(values_of({{3}, contiguous(at, 3), "", "\1\2\3"}) == Values{1, 2, 3});
  refused("'d' has 2 of 3 bytes", [&] { values_of({{3}, contiguous(at, 2), "", "\1\2\3"}); });
  refused("the file ends", [&] { values_of({{300}, contiguous(at, 300), "", "\1\2\3"}); });
  refused("'d' claims", [&] { values_of({{1ull << 40}, contiguous(~0ull, 1ull << 40)}); });
  refused("'d' claims", [&] { values_of({{1ull << 40}, old_chunks(~0ull, 16)}); });
  refused("no possible size", [&] { values_of({{1ull << 40, 1ull << 40}, contiguous(~0ull, 0)}); });
  refused("'d' with 9 axes", [&] { values_of({Numbers(9, 1), compact("\1")}); });
  refused("chunks of another rank", [&] { values_of({{2, 2}, old_chunks(~0ull, 2)}); });
  refused("chunks of another rank", [&] { values_of({{}, old_chunks(~0ull, 2)}); });
  refused("a chunk of", [&] {
    values_of({{1}, u8(4) + u8(2) + u8(0) + u8(2) + u8(8) + u64(1ull << 32) + u64(1) + u8(1) + u64(~0ull)});
  });
  refused("compressed with filter 4", [&] { values_of({{1}, compact("\1"), message(0x0b, filters({filter(4)}))}); });
  refused("values of 'd' in another file", [&] { values_of({{1}, compact("\1"), message(7, "")}); });
  CHECK(values_of({{1}, compact(u64(~0ull >> 1)), "", "", 8}).size() == 1);
  refused("beyond 64-bit integers", [&] { values_of({{1}, compact(u64(1ull << 63)), "", "", 8}); });

  const auto old_index = [&](const std::vector<OldChunk>& chunks, std::uint64_t extent) {
    return values_of({{extent}, old_chunks(at + 2, 2), "", "\1\2" + chunk_node(0, chunks)});
  };
  CHECK(old_index({{0, at, 2}}, 3) == Values{1, 2, 0});
  refused("a chunk occurs twice", [&] { old_index({{0, at, 2}, {0, at, 2}}, 3); });
  refused("a chunk has 1 bytes instead of 2", [&] { old_index({{0, at, 1}}, 3); });
  refused("a chunk has 3 bytes instead of 2", [&] { old_index({{0, at, 3}}, 3); });
  refused("the file ends", [&] { old_index({{0, at, 4000}}, 3); });
  // A megabyte may be left unwritten, not more.
  const std::uint64_t large = (1u << 20) + 20;
  CHECK(values_of({{large - 20}, old_chunks(~0ull, large)}).size() == large - 20);
  refused("1 of 1 chunks are missing", [&] { values_of({{large}, old_chunks(~0ull, large)}); });
  // Chunks that lie over each other.
  std::vector<OldChunk> overlapping;
  for (std::uint64_t i = 0; i < 50; ++i) overlapping.push_back({1000 * i, at, 1000});
  refused("are larger than the file", [&] {
    values_of({{50000}, old_chunks(at + 1000, 1000), "", zeros(1000) + chunk_node(0, overlapping)});
  });

  // Shuffled chunks but for the one that sticks out, as layout 4 may say.
  const auto edges = [&](int flags) {
    return values_of({{3},
                      u8(4) + u8(2) + u8(flags) + u8(2) + u8(1) + u8(2) + u8(2) + u8(2) + u64(at),
                      message(0x0b, filters({filter(2, {2})})),
                      "\1\3\2\4\5\6\7\x8",
                      2});
  };
  CHECK(edges(0) == Values{0x0201, 0x0403, 0x0705});
  CHECK(edges(1) == Values{0x0201, 0x0403, 0x0605});
}
