// What the fuzz targets of the picture formats share: seeds of one format, and the ways through a decoder.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "fuzz/driver.h"
#include "fuzz/seed_files.h"
#include "image/decode.h"

namespace fuzz {

using namespace fovea::image;

/// The pictures of tests/image/data with one of these endings.
inline std::vector<std::string> pictures(std::initializer_list<std::string_view> endings) {
  return files_in(FOVEA_SOURCE_DIR "/tests/image/data", endings);
}

/// Decodes under every option that changes the way through the decoder. `bytes` has exactly the file's size on the
/// heap: one byte too far is seen by the sanitizer.
inline void decode_all_ways(const std::vector<std::uint8_t>& bytes) {
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
  try {
    check(decode(bytes, {.allow_truncated = true, .shorter_side_at_least = 2, .max_pixels = 1 << 18}), "fuzz");
  } catch (const fovea::Error&) {
  }
}

}  // namespace fuzz
