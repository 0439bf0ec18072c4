// Damaged JPEG, PNG and BMP files, under every option that changes the way through the decoders.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "core/error.h"
#include "fuzz/driver.h"
#include "image/decode.h"

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(FOVEA_SOURCE_DIR "/tests/image/data")) {
    const std::string ending = entry.path().extension().string();
    if (ending != ".jpg" && ending != ".png" && ending != ".bmp") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

namespace {

using namespace fovea::image;

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

void feed(const std::vector<std::uint8_t>& bytes) {
  // Small pictures only, so that time goes into ways rather than pixels.
  const DecodeOptions ways[] = {
      {.max_pixels = 1 << 18},
      {.color = ColorMode::rgb,
       .background = std::array<std::uint8_t, 3>{9, 99, 199},
       .allow_truncated = true,
       .max_pixels = 1 << 18},
      {.color = ColorMode::grey, .apply_orientation = false, .allow_truncated = true, .max_pixels = 1 << 18},
  };
  for (const DecodeOptions& options : ways) {
    try {
      const ImageInfo info = probe(bytes, options);
      const Image image = decode(bytes, options);
      check(image, "fuzz");
      const bool upright = options.apply_orientation;
      if (image.width != (upright ? info.oriented_width() : info.width)) __builtin_trap();
      if (options.color == ColorMode::as_stored && image.channels != info.channels) __builtin_trap();
    } catch (const fovea::Error&) {
      // the right answer to damage
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size on the heap: one byte too far is seen by the sanitizer.
  std::vector<std::uint8_t> bytes(data, data + size);
  feed(bytes);
  if (size > 8 && bytes[0] == 0x89 && bytes[1] == 'P') {
    repair_checksums(bytes);
    feed(bytes);
  }
  return 0;
}
