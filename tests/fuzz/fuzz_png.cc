// Damaged PNG files.
#include "fuzz/decode_ways.h"

std::vector<std::string> fuzz_seeds() { return fuzz::pictures({".png"}); }

namespace {

// Damage that the checksums of a PNG catch goes no further; with the checksums made right it does.
void repair_checksums(std::vector<std::uint8_t>& png) {
  const auto big_endian = [&](std::size_t at) {
    return std::uint32_t{png[at]} << 24 | std::uint32_t{png[at + 1]} << 16 | std::uint32_t{png[at + 2]} << 8 |
           png[at + 3];
  };
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = big_endian(at);
    if (length > png.size() - at - 12) return;
    std::uint32_t crc = 0xffffffffu;
    for (std::size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= png[i];
      for (int k = 0; k < 8; ++k) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    }
    crc = ~crc;
    for (std::size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  fuzz::decode_all_ways(bytes);
  if (size > 8) {
    repair_checksums(bytes);
    fuzz::decode_all_ways(bytes);
  }
  return 0;
}
