// Assembles TensorFlow checkpoints by hand: protocol buffers, table blocks, tables with right checksums.
#pragma once

#include "models/weight_file_writer.h"

namespace writer {

inline std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  return out + static_cast<char>(v);
}

inline std::string sealed(std::string block, char compression = 0) {
  block += compression;
  return block + little(fovea::weights::masked(fovea::weights::crc32c(as_bytes(block))));
}

/// A table whose one data block is `block`, with right checksums.
inline std::string table_of(const std::string& block) {
  const std::string nothing = sealed(little(0u));
  const std::string handle = varint(0) + varint(block.size());
  const std::string entry = varint(0) + varint(1) + varint(handle.size()) + "z" + handle;
  const std::string index = sealed(entry + little(0u) + little(1u));
  const std::size_t meta_at = block.size() + 5, index_at = meta_at + nothing.size();
  std::string footer = varint(meta_at) + varint(nothing.size() - 5) + varint(index_at) + varint(index.size() - 5);
  footer.resize(40, '\0');
  return sealed(block) + nothing + index + footer + little<std::uint64_t>(0xdb4775248b80fb57u);
}

inline std::string entry(const std::string& key, const std::string& value) {
  return varint(0) + varint(key.size()) + varint(value.size()) + key + value;
}
inline std::string field(int number, const std::string& content) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(content.size()) + content;
}
inline std::string field(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}
inline std::string check(std::uint32_t crc) { return "\x35" + little(crc); }

/// BundleEntryProto of numbers at `offset` of data file `shard`.
inline std::string numbers(int dtype, const std::vector<std::uint64_t>& shape, std::uint64_t shard,
                           std::uint64_t offset, std::uint64_t size, std::uint32_t crc) {
  std::string dims;
  for (const std::uint64_t extent : shape) dims += field(2, field(1, extent));
  return field(1, static_cast<std::uint64_t>(dtype)) + field(2, dims) + field(3, shard) + field(4, offset) +
         field(5, size) + check(crc);
}
/// Where a block's entries end: no places to start from but the first.
inline std::string block_end() { return little(0u) + little(1u); }

}  // namespace writer
