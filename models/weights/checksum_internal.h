// The two 32-bit cyclic redundancy checks that weight files carry: zip's CRC-32 and TensorFlow's CRC-32C.
#pragma once

#include <cstdint>
#include <span>

namespace fovea::weights {

/// As zip and zlib compute it. `crc` continues an earlier call.
std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t crc = 0);
/// Castagnoli's polynomial, as LevelDB and TensorFlow compute it. `crc` continues an earlier call.
std::uint32_t crc32c(std::span<const std::uint8_t> bytes, std::uint32_t crc = 0);
/// How LevelDB and TensorFlow store a CRC-32C, so that data which contains checksums does not check to constants.
constexpr std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

}  // namespace fovea::weights
