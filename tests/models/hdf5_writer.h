// Assembles pieces of HDF5 files by hand, with right checksums, as no library writes them: addresses and lengths have
// 8 bytes. Field names are those of the format's specification.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "catch.h"
#include "models/weight_file_writer.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace writer {

inline std::string u8(int v) { return std::string(1, static_cast<char>(v)); }
inline std::string u16(std::uint64_t v) { return little(static_cast<std::uint16_t>(v)); }
inline std::string u32(std::uint64_t v) { return little(static_cast<std::uint32_t>(v)); }
inline std::string u64(std::uint64_t v) { return little(v); }
inline std::string zeros(std::size_t n) { return std::string(n, '\0'); }
/// With the checksum of new metadata behind it.
inline std::string summed(const std::string& block) {
  return block + u32(fovea::weights::hdf5::metadata_checksum(as_bytes(block)));
}

/// Pieces of a file, one behind the other.
struct Image {
  std::string content;
  std::uint64_t next() const { return content.size(); }
  std::uint64_t add(const std::string& piece) {
    const std::uint64_t at = next();
    content += piece;
    return at;
  }
};

/// What the reader's parts read from: exactly these bytes, on the heap.
struct Bytes {
  explicit Bytes(const std::string& content) : memory(content) {
    source.bytes = *memory.bytes;
    source.where = "test";
    source.budget = 8 * content.size() + (1u << 16);
  }
  explicit Bytes(const Image& image) : Bytes(image.content) {}
  Memory memory;
  fovea::weights::hdf5::Source source;
};

/// Checks that the action ends in an error with this in its text.
template <class Action>
void refused(const std::string& part, Action&& action) {
  const std::string error = error_of(action);
  CAPTURE(part);
  CAPTURE(error);
  CHECK(error.find(part) != std::string::npos);
}

// ---- version 2 B-trees

inline std::string btree_head(int type, std::uint64_t node_size, std::uint64_t record_size, std::uint64_t depth,
                              std::uint64_t root, std::uint64_t root_records) {
  return summed("BTHD" + u8(0) + u8(type) + u32(node_size) + u16(record_size) + u16(depth) + u16(0) + u64(root) +
                u16(root_records) + u64(root_records));
}
inline std::string btree_leaf(int type, const std::string& records) {
  return summed("BTLF" + u8(0) + u8(type) + records);
}
/// A tree of one leaf; the tree's address.
inline std::uint64_t one_leaf(Image& image, int type, std::size_t record_size, const std::string& records) {
  const std::uint64_t leaf = image.add(btree_leaf(type, records));
  return image.add(btree_head(type, 512, record_size, 0, leaf, records.size() / record_size));
}

// ---- fractal heaps

struct HeapHead {
  std::uint64_t id_length = 7, max_managed = 64, huge_index = ~0ull, width = 4, start = 64, max_direct = 64, bits = 16,
                root = ~0ull, rows = 0;
};
inline std::string heap_head(const HeapHead& h) {
  return summed("FRHP" + u8(0) + u16(h.id_length) + u16(0) + u8(0) + u32(h.max_managed) + u64(0) + u64(h.huge_index) +
                zeros(16 + 64) + u16(h.width) + u64(h.start) + u64(h.max_direct) + u16(h.bits) + u16(1) + u64(h.root) +
                u16(h.rows));
}
inline constexpr std::uint64_t kHeapHeadBytes = 146;
/// A block of `size` bytes for a heap with 16 bits of offset, whose objects begin 15 bytes behind `offset`.
inline std::string heap_block(std::uint64_t heap, std::uint64_t offset, std::string objects, std::size_t size = 64) {
  objects.resize(size - 15);
  return "FHDB" + u8(0) + u64(heap) + u16(offset) + objects;
}
/// A heap of one block; its address.
inline std::uint64_t one_block(Image& image, const std::string& objects, HeapHead head = {}) {
  const std::uint64_t at = image.next();
  head.root = at + kHeapHeadBytes;
  image.add(heap_head(head) + heap_block(at, 0, objects));
  return at;
}
/// The ID of an object in a block.
inline std::string managed(std::uint64_t offset, int length) { return u8(0) + u16(offset) + u8(length); }

// ---- object headers and files

inline std::string message(int type, const std::string& data, int flags = 0) {
  return u8(type) + u16(data.size()) + u8(flags) + data;
}
inline std::string object_header(const std::string& messages) {
  return summed("OHDR" + u8(2) + u8(2) + u32(messages.size()) + messages);
}
constexpr std::uint64_t kSuperblockBytes = 48;
inline std::string superblock(std::uint64_t base, std::uint64_t end, std::uint64_t root) {
  return summed("\x89HDF\r\n\x1a\n" + u8(2) + u8(8) + u8(8) + u8(0) + u64(base) + u64(~0ull) + u64(end) + u64(root));
}
/// A file whose root has these messages, behind the pieces that they refer to: the first lies at kSuperblockBytes.
inline std::string file_of(const std::string& messages, const std::string& pieces = {}) {
  const std::uint64_t root = kSuperblockBytes + pieces.size();
  const std::string header = object_header(messages);
  return superblock(0, root + header.size(), root) + pieces + header;
}

// ---- messages of datasets

inline std::string dataspace(const std::vector<std::uint64_t>& dims, const std::vector<std::uint64_t>& max_dims = {}) {
  std::string out = u8(2) + u8(static_cast<int>(dims.size())) + u8(max_dims.empty() ? 0 : 1) + u8(1);
  for (const std::uint64_t extent : dims) out += u64(extent);
  for (const std::uint64_t extent : max_dims) out += u64(extent);
  return out;
}
inline std::string unsigned_integers(int size) { return u8(0x10) + zeros(3) + u32(size) + u16(0) + u16(8 * size); }
inline std::string filter(int id, const std::vector<std::uint32_t>& values = {}) {
  std::string out = u16(id) + u16(0) + u16(values.size());
  for (const std::uint32_t value : values) out += u32(value);
  return out;
}
inline std::string filters(const std::vector<std::string>& each) {
  std::string out = u8(2) + u8(static_cast<int>(each.size()));
  for (const std::string& one : each) out += one;
  return out;
}
/// A node of the old index of chunks of one axis, in elements of one byte. Each chunk: where it begins, its address and
/// its size.
struct OldChunk {
  std::uint64_t begin, address, size;
};
inline std::string chunk_node(int level, const std::vector<OldChunk>& chunks) {
  std::string out = "TREE" + u8(1) + u8(level) + u16(chunks.size()) + u64(~0ull) + u64(~0ull);
  for (const OldChunk& chunk : chunks) {
    out += u32(chunk.size) + u32(0) + u64(chunk.begin) + u64(0) + u64(chunk.address);
  }
  return out + zeros(24);
}

}  // namespace writer
