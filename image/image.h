// A decoded picture in memory: 8 bits a channel, rows top to bottom, channels interleaved (HWC).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/export.h"

namespace fovea::image {

/// One picture. Pixel (x, y) of channel c lies at pixels[(y * width + x) * channels + c]; there is no padding between
/// rows. Invariant kept by every function of this room: pixels.size() == width * height * channels, channels 1 (grey)
/// or 3 (RGB).
struct FOVEA_API Image {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  /// A picture of one value. Throws Error(usage) for a negative size or channels other than 1 and 3, Error(memory) when
  /// it cannot be allocated.
  Image(int width, int height, int channels, std::uint8_t value = 0);
  /// Takes pixels as they are. Throws Error(shape) unless there are exactly width * height * channels of them.
  Image(int width, int height, int channels, std::vector<std::uint8_t> pixels);

  /// No pixels at all.
  bool empty() const { return pixels.empty(); }
  /// Bytes from one row to the next.
  std::size_t row_bytes() const { return static_cast<std::size_t>(width) * static_cast<std::size_t>(channels); }
  std::span<const std::uint8_t> row(int y) const { return {pixels.data() + y * row_bytes(), row_bytes()}; }
  std::span<std::uint8_t> row(int y) { return {pixels.data() + y * row_bytes(), row_bytes()}; }
  /// Unchecked: 0 <= x < width, 0 <= y < height, 0 <= c < channels.
  std::uint8_t at(int x, int y, int c = 0) const {
    return pixels[y * row_bytes() + static_cast<std::size_t>(x * channels + c)];
  }
  std::uint8_t& at(int x, int y, int c = 0) {
    return pixels[y * row_bytes() + static_cast<std::size_t>(x * channels + c)];
  }

  friend bool operator==(const Image&, const Image&) = default;
};

/// Throws Error(shape) naming `where` when the invariant above does not hold (a hand-made Image can break it).
FOVEA_API void check(const Image& image, const char* where);

/// One channel from one or three: ITU-R 601-2 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16, the integers of
/// Pillow's convert("L"). A grey picture comes back unchanged.
FOVEA_API Image to_grey(const Image& image);
/// Three equal channels from one. An RGB picture comes back unchanged.
FOVEA_API Image to_rgb(const Image& image);
/// to_grey for 1, to_rgb for 3; Error(usage) for anything else.
FOVEA_API Image convert(const Image& image, int channels);

}  // namespace fovea::image

namespace fovea {
using image::Image;
}  // namespace fovea
