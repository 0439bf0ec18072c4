#include <array>
#include <bit>
#include <cstring>

#include "models/weights/checksum_internal.h"

namespace fovea::weights {
namespace {

static_assert(std::endian::native == std::endian::little, "the steps below read little-endian words");

constexpr std::size_t kStep = 16;
using Tables = std::array<std::array<std::uint32_t, 256>, kStep>;

/// tables[k][b] is what byte b does to the check k bytes later, so that sixteen bytes take sixteen independent
/// look-ups. 14 MB take 4.3 ms so, 6.7 ms in steps of eight bytes, 8.5 ms in steps of 32, whose tables leave the cache.
constexpr Tables make_tables(std::uint32_t polynomial) {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? polynomial ^ crc >> 1 : crc >> 1;
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < kStep; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = tables[0][before & 0xff] ^ before >> 8;
    }
  }
  return tables;
}

constexpr Tables kZip = make_tables(0xedb88320u);
constexpr Tables kCastagnoli = make_tables(0x82f63b78u);

std::uint32_t check(const Tables& tables, std::span<const std::uint8_t> bytes, std::uint32_t crc) {
  crc = ~crc;
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= kStep; left -= kStep, p += kStep) {
    std::array<std::uint32_t, kStep / 4> words{};
    std::memcpy(words.data(), p, kStep);
    words[0] ^= crc;
    crc = 0;
    for (std::size_t w = 0; w < words.size(); ++w) {
      const std::uint32_t word = words[w];
      const auto* t = &tables[kStep - 4 - 4 * w];
      crc ^= t[3][word & 0xff] ^ t[2][word >> 8 & 0xff] ^ t[1][word >> 16 & 0xff] ^ t[0][word >> 24];
    }
  }
  for (; left > 0; --left, ++p) crc = tables[0][(crc ^ *p) & 0xff] ^ crc >> 8;
  return ~crc;
}

}  // namespace

std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t crc) { return check(kZip, bytes, crc); }
std::uint32_t crc32c(std::span<const std::uint8_t> bytes, std::uint32_t crc) { return check(kCastagnoli, bytes, crc); }

}  // namespace fovea::weights
