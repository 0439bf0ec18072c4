// The members of groups: symbol tables as old files have them, link messages, and heaps of links; and attributes where
// there are many.
#include <array>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {
namespace {

void insert(Source& source, Group& group, std::string name, Link link) {
  if (name.empty()) source.damaged("a member of a group has no name");
  const auto [at, is_new] = group.links.emplace(std::move(name), std::move(link));
  if (!is_new) source.damaged(str("two members of a group are named '", at->first, "'"));
}

/// A leaf of the old group tree: the links themselves.
void add_symbols(Source& source, std::uint64_t address, std::span<const std::uint8_t> heap, Group& group) {
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const char* what = "a node of a symbol table";
  Cursor head = source.block(address, 8, "SNOD", false, what);
  if (head.u8() != 1) head.damaged("unknown version");
  head.skip(1);
  const std::uint64_t count = head.u16();
  const std::uint64_t entry = 2 * offsets + 24;
  Cursor body(source, source.metadata(address, 8 + count * entry, what), what);
  body.skip(8);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string name = local_heap_text(source, heap, body.offset());
    Link link;
    link.address = body.offset();
    const std::uint32_t kind = body.u32();
    body.skip(4);
    Cursor scratch(source, body.take(16), what);
    if (kind == 2) {
      link.kind = LinkKind::soft;
      link.target = local_heap_text(source, heap, scratch.u32());
    }
    insert(source, group, std::move(name), std::move(link));
  }
}

}  // namespace

void add_symbol_table(Source& source, std::span<const std::uint8_t> message, Group& group) {
  Cursor table(source, message, "a symbol table");
  const std::uint64_t tree = table.offset();
  const std::span<const std::uint8_t> heap = local_heap(source, table.offset());
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const auto lengths = static_cast<std::uint64_t>(source.length_size);
  const char* what = "the tree of a group";
  struct Node {
    std::uint64_t address;
    int level;  ///< -1 at the root, whose level only its head knows
  };
  std::vector<Node> todo = {{tree, -1}};
  std::unordered_set<std::uint64_t> seen = {tree};
  while (!todo.empty()) {
    const Node node = todo.back();
    todo.pop_back();
    Cursor head = source.block(node.address, 8 + 2 * offsets, "TREE", false, what);
    if (head.u8() != 0) head.damaged("it is no tree of names");
    const int level = head.u8();
    const std::uint64_t count = head.u16();
    if (node.level >= 0 && level != node.level) head.damaged("a node of the wrong level");
    Cursor body(source, source.metadata(node.address, 8 + 2 * offsets + count * (lengths + offsets) + lengths, what),
                what);
    body.skip(8 + 2 * offsets);
    for (std::uint64_t i = 0; i < count; ++i) {
      body.length();  // the name before which this child starts
      const std::uint64_t child = body.offset();
      if (!seen.insert(child).second) body.damaged("two nodes lie at one place");
      if (level == 0) {
        add_symbols(source, child, heap, group);
      } else {
        todo.push_back({child, level - 1});
      }
    }
  }
}

void add_link(Source& source, std::span<const std::uint8_t> message, Group& group) {
  Cursor cursor(source, message, "a link");
  if (cursor.u8() != 1) cursor.damaged("unknown version");
  const int flags = cursor.u8();
  const int kind = flags & 8 ? cursor.u8() : 0;
  if (flags & 4) cursor.skip(8);   // order of creation
  if (flags & 16) cursor.skip(1);  // character set
  std::string name = cursor.text(cursor.sized(1 << (flags & 3)));
  Link link;
  if (kind == 0) {
    link.address = cursor.offset();
  } else if (kind == 1) {
    link.kind = LinkKind::soft;
    link.target = cursor.text(cursor.u16());
  } else {
    link.kind = LinkKind::external;
  }
  insert(source, group, std::move(name), std::move(link));
}

void add_dense_links(Source& source, std::span<const std::uint8_t> message, Group& group) {
  Cursor cursor(source, message, "a group's link info");
  if (cursor.u8() != 0) cursor.damaged("unknown version");
  const int flags = cursor.u8();
  if (flags & 1) cursor.skip(8);
  const std::uint64_t heap_at = cursor.offset();
  const std::uint64_t names = cursor.offset();
  if (heap_at == kUndefined) return;
  if (names == kUndefined) cursor.damaged("a heap of links without index");
  FractalHeap heap(source, heap_at);
  constexpr std::array<std::uint8_t, 1> kByName = {5};
  for_each_record(source, names, kByName, [&](std::uint8_t, std::span<const std::uint8_t> record) {
    if (record.size() < 5) source.damaged("an index of links has too short records");
    add_link(source, heap.object(record.subspan(4)), group);  // after the name's hash
  });
}

void add_dense_attributes(Source& source, std::span<const std::uint8_t> message, std::vector<Attribute>& attributes) {
  Cursor cursor(source, message, "an object's attribute info");
  if (cursor.u8() != 0) cursor.damaged("unknown version");
  const int flags = cursor.u8();
  if (flags & 1) cursor.skip(2);
  const std::uint64_t heap_at = cursor.offset();
  const std::uint64_t names = cursor.offset();
  if (heap_at == kUndefined) return;
  if (names == kUndefined) cursor.damaged("a heap of attributes without index");
  FractalHeap heap(source, heap_at);
  constexpr std::array<std::uint8_t, 1> kByName = {8};
  for_each_record(source, names, kByName, [&](std::uint8_t, std::span<const std::uint8_t> record) {
    if (record.size() < 9) source.damaged("an index of attributes has too short records");
    if (record[8] & 2) source.unsupported("attributes shared through a heap");
    attributes.push_back(parse_attribute(source, heap.object(record.first(8))));
  });
}

}  // namespace fovea::weights::hdf5
