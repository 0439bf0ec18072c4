// Internal: what the decoders of the three formats hand to decode(). Not installed, no stability promised.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "image/decode.h"

namespace fovea::image::codec {

using Bytes = std::span<const std::uint8_t>;

/// The pixels as a decoder gives them; channels 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.
struct Raw {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;
};

/// Empty when the bytes begin as a JPEG, PNG, BMP or DICOM file does; otherwise throws the Error(format) that names
/// what they are.
Format sniff(Bytes bytes, const std::string& name);

/// Throws Error(memory) for more pixels than allowed, Error(format) for a size of nothing.
void check_size(std::uint64_t width, std::uint64_t height, const DecodeOptions& options, const std::string& name);

/// pixels of w*h*channels; Error(memory) where there is no room.
std::vector<std::uint8_t> allocate(std::uint64_t bytes, const std::string& name);

ImageInfo probe_jpeg(Bytes bytes, const std::string& name);
Raw decode_jpeg(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name);
ImageInfo probe_png(Bytes bytes, const std::string& name);
Raw decode_png(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name);
ImageInfo probe_bmp(Bytes bytes, const std::string& name);
Raw decode_bmp(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name);

/// Without DCMTK in the build an Error(format) that says so.
ImageInfo probe_dicom(Bytes bytes, const std::string& name);
Raw decode_dicom(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name);

/// stb_image on bytes that decode_png or decode_bmp made or checked. Takes at most `budget` bytes of memory at any
/// moment; whatever it allocated is freed on every way out. channels 1 to 4.
Raw stb_decode(Bytes bytes, int channels, std::uint64_t budget, const std::string& name);

}  // namespace fovea::image::codec
