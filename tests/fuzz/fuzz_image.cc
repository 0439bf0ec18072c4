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

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fovea::image;
  // A copy of exactly this size on the heap: one byte too far is seen by the sanitizer.
  const std::vector<std::uint8_t> bytes(data, data + size);
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
  return 0;
}
