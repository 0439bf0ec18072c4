// Pixels to PNG and JPEG files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/export.h"
#include "image/image.h"

namespace fovea::image {

struct PngOptions {
  int compression = 6;  ///< zlib's level, 0 (stored) to 9 (smallest)
};

struct JpegOptions {
  int quality = 90;              ///< libjpeg's scale, 1 to 100
  bool subsample_chroma = true;  ///< 4:2:0 as cameras do; false keeps full colour resolution (4:4:4)
  bool progressive = false;
};

/// An 8-bit grey or RGB PNG, each row with the filter whose bytes are smallest in sum. Error(usage) for an empty
/// picture or an option out of range, Error(memory).
FOVEA_API std::vector<std::uint8_t> encode_png(const Image& image, const PngOptions& options = {});
/// A baseline (or progressive) JPEG, grey or YCbCr. Sides up to 65500. Errors as encode_png.
FOVEA_API std::vector<std::uint8_t> encode_jpeg(const Image& image, const JpegOptions& options = {});

/// Encodes and writes by the ending of the path: .png, .jpg, .jpeg in any case. The file appears whole or not at all:
/// it is written under a temporary name beside its place, synced and renamed. Error(usage) for another ending,
/// Error(file) when it cannot be written (the old file stays).
FOVEA_API void write_image(const std::string& path, const Image& image);
FOVEA_API void write_png(const std::string& path, const Image& image, const PngOptions& options = {});
FOVEA_API void write_jpeg(const std::string& path, const Image& image, const JpegOptions& options = {});

}  // namespace fovea::image
