// Reads what make_reference.py wrote.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "image/image.h"

namespace reference {

inline std::string data_path(const std::string& name) {
  return std::string(FOVEA_SOURCE_DIR) + "/tests/image/data/" + name;
}

inline std::vector<std::uint8_t> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Any number of channels (HSV and the like included), so not always a fovea::Image.
using Records = std::vector<std::pair<std::string, fovea::Image>>;

inline Records read(const std::string& name) {
  const std::vector<std::uint8_t> bytes = bytes_of(data_path(name));
  if (bytes.size() < 7 || std::memcmp(bytes.data(), "FVREF1\n", 7) != 0)
    throw std::runtime_error(name + " is no reference file");
  Records records;
  for (std::size_t at = 7; at < bytes.size();) {
    std::uint16_t length = 0;
    std::uint32_t size[3];
    std::memcpy(&length, bytes.data() + at, 2);
    std::string key(bytes.begin() + static_cast<std::ptrdiff_t>(at + 2),
                    bytes.begin() + static_cast<std::ptrdiff_t>(at + 2 + length));
    std::memcpy(size, bytes.data() + at + 2 + length, 12);
    at += 14u + length;
    const std::size_t count = std::size_t{size[0]} * size[1] * size[2];
    if (count > bytes.size() - at) throw std::runtime_error(name + " is cut off");
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    records.emplace_back(key,
                         fovea::Image(static_cast<int>(size[0]), static_cast<int>(size[1]), static_cast<int>(size[2]),
                                      {begin, begin + static_cast<std::ptrdiff_t>(count)}));
    at += count;
  }
  return records;
}

inline const fovea::Image& find(const Records& records, const std::string& name) {
  for (const auto& [key, image] : records) {
    if (key == name) return image;
  }
  throw std::runtime_error("no record " + name);
}

/// Largest difference of two values; 256 where the sizes differ.
inline int largest_difference(const fovea::Image& a, const fovea::Image& b) {
  if (a.width != b.width || a.height != b.height || a.channels != b.channels) return 256;
  int most = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) most = std::max(most, std::abs(a.pixels[i] - b.pixels[i]));
  return most;
}

/// zlib's CRC-32; `crc` continues an earlier one.
inline std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t crc = 0) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  crc = ~crc;
  for (const std::uint8_t b : bytes) crc = table[(crc ^ b) & 0xff] ^ crc >> 8;
  return ~crc;
}

}  // namespace reference
