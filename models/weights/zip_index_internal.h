// The members of a zip archive as parts of the mapped file. Our own reader instead of libzip's, because that copies
// what it reads, while PyTorch and Keras store their weights uncompressed, and PyTorch aligned, so that they can be
// used in place.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::weights {

struct ZipMember {
  std::string_view name;  // in the file
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::uint32_t crc = 0;
  std::uint64_t size = 0;
  std::uint64_t header_offset = 0;
};

class ZipIndex {
 public:
  /// Reads the central directory, with zip64. Error{format} for one that is damaged, cut off, names a member twice or
  /// spans several disks.
  ZipIndex(std::span<std::uint8_t> bytes, std::string where);

  const std::vector<ZipMember>& members() const { return members_; }
  /// nullptr if there is none.
  const ZipMember* find(std::string_view name) const;
  /// The member's bytes. Error{format} for one that is compressed or encrypted, or does not lie where it should.
  std::span<std::uint8_t> content(const ZipMember& member) const;

 private:
  [[noreturn]] void damaged(const std::string& what) const;
  std::uint64_t number(std::uint64_t at, int width) const;
  void read_directory(std::uint64_t offset, std::uint64_t size, std::uint64_t count);

  std::span<std::uint8_t> bytes_;
  std::string where_;
  std::uint64_t directory_ = 0;     // where the central directory begins: members lie before it
  std::vector<ZipMember> members_;  // sorted by name
};

}  // namespace fovea::weights
