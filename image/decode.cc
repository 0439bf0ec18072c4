// The front of decoding: files, caps, orientation, alpha and colour mode. The formats themselves are in jpeg.cc,
// png.cc, bmp.cc.
#include "image/decode.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "image/codec.h"

namespace fovea::image {

const char* to_string(Format format) {
  switch (format) {
    case Format::jpeg: return "JPEG";
    case Format::png: return "PNG";
    case Format::bmp: return "BMP";
    case Format::dicom: return "DICOM";
  }
  return "?";
}

namespace codec {

void check_size(std::uint64_t width, std::uint64_t height, const DecodeOptions& options, const std::string& name) {
  if (width == 0 || height == 0)
    throw Error(ErrorKind::format, name, str("the picture has no pixels (", width, "x", height, ")"));
  // Headers hold at most 32-bit sides, so the product fits in 64 bits; beyond 2^32 pixels later products would not.
  const std::uint64_t limit = std::min(options.max_pixels, std::uint64_t{1} << 32);
  if (width * height > limit) {
    throw Error(ErrorKind::memory, name,
                str("the picture is ", width, "x", height, ", more than the limit of ", limit, " pixels"),
                "a damaged or hostile file; if it is real, raise DecodeOptions::max_pixels");
  }
}

std::vector<std::uint8_t> allocate(std::uint64_t bytes, const std::string& name) {
  try {
    return std::vector<std::uint8_t>(bytes);
  } catch (const std::exception&) {
    throw Error(ErrorKind::memory, name, str("no memory for the ", bytes, " bytes of this picture"));
  }
}

}  // namespace codec

namespace {

using codec::Bytes;
using codec::Raw;

ImageInfo checked_probe(Bytes bytes, const DecodeOptions& options, const std::string& name) {
  if (bytes.size() > options.max_file_bytes) {
    throw Error(ErrorKind::memory, name,
                str("the file has ", bytes.size(), " bytes, more than the limit of ", options.max_file_bytes),
                "if it is a real picture, raise DecodeOptions::max_file_bytes");
  }
  const Format format = codec::sniff(bytes, name);
  ImageInfo info = format == Format::jpeg  ? codec::probe_jpeg(bytes, name)
                   : format == Format::png ? codec::probe_png(bytes, name)
                   : format == Format::bmp ? codec::probe_bmp(bytes, name)
                                           : codec::probe_dicom(bytes, name);
  codec::check_size(static_cast<std::uint64_t>(info.width), static_cast<std::uint64_t>(info.height), options, name);
  return info;
}

// 2 -> 1 or 4 -> 3 channels in place, over a colour. A grey picture is blended over the colour's luma.
void blend(Raw& raw, std::array<std::uint8_t, 3> background) {
  const int colors = raw.channels - 1;
  if (colors == 1) {
    background[0] = static_cast<std::uint8_t>(
        (background[0] * 19595u + background[1] * 38470u + background[2] * 7471u + 0x8000u) >> 16);
  }
  const std::size_t count = raw.pixels.size() / static_cast<std::size_t>(raw.channels);
  const std::uint8_t* in = raw.pixels.data();
  std::uint8_t* out = raw.pixels.data();
  for (std::size_t i = 0; i < count; ++i, in += raw.channels, out += colors) {
    const unsigned a = in[colors];
    for (int c = 0; c < colors; ++c) {
      const unsigned v = background[static_cast<std::size_t>(c)] * (255 - a) + in[c] * a + 128;
      out[c] = static_cast<std::uint8_t>((v + (v >> 8)) >> 8);  // v / 255 rounded, exact for v < 65536
    }
  }
  raw.pixels.resize(count * static_cast<std::size_t>(colors));
  raw.channels = colors;
}

Image finish(Raw&& raw, const ImageInfo& info, const DecodeOptions& options, const std::string& name) {
  if (raw.channels == 2 || raw.channels == 4) blend(raw, options.background.value_or(std::array<std::uint8_t, 3>{}));
  Image image;
  try {
    image = Image(raw.width, raw.height, raw.channels, std::move(raw.pixels));
    if (options.color == ColorMode::grey) image = to_grey(image);
    if (options.apply_orientation) image = apply_orientation(image, info.orientation);
    if (options.color == ColorMode::rgb) image = to_rgb(image);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    throw Error(ErrorKind::memory, name, error.what());
  }
  return image;
}

}  // namespace

Image decode(Bytes bytes, const DecodeOptions& options, const std::string& name) {
  ImageInfo info = checked_probe(bytes, options, name);
  Raw raw = info.format == Format::jpeg  ? codec::decode_jpeg(bytes, options, info, name)
            : info.format == Format::png ? codec::decode_png(bytes, options, info, name)
            : info.format == Format::bmp ? codec::decode_bmp(bytes, options, info, name)
                                         : codec::decode_dicom(bytes, options, info, name);
  return finish(std::move(raw), info, options, name);
}

ImageInfo probe(Bytes bytes, const DecodeOptions& options, const std::string& name) {
  return checked_probe(bytes, options, name);
}

Image read_image(const std::string& path, const DecodeOptions& options) {
  return decode(read_file(path, options.max_file_bytes), options, path);
}

ImageInfo probe_file(const std::string& path, const DecodeOptions& options) {
  return probe(read_file(path, options.max_file_bytes), options, path);
}

Image apply_orientation(const Image& image, int orientation) {
  if (orientation < 2 || orientation > 8 || image.empty()) return image;
  check(image, "apply_orientation");
  const int w = image.width, h = image.height, channels = image.channels;
  const bool swap = orientation >= 5;
  Image out(swap ? h : w, swap ? w : h, channels);
  // Where the first source pixel lands, and how far one step in x and in y of the source moves in the result.
  const auto step_pixel = static_cast<std::ptrdiff_t>(channels);
  const auto step_row = static_cast<std::ptrdiff_t>(out.row_bytes());
  const std::ptrdiff_t right = (out.width - 1) * step_pixel, bottom = (out.height - 1) * step_row;
  std::ptrdiff_t start = 0, dx = 0, dy = 0;
  switch (orientation) {
    case 2: start = right, dx = -step_pixel, dy = step_row; break;            // mirrored left-right
    case 3: start = right + bottom, dx = -step_pixel, dy = -step_row; break;  // half turn
    case 4: start = bottom, dx = step_pixel, dy = -step_row; break;           // mirrored top-bottom
    case 5: start = 0, dx = step_row, dy = step_pixel; break;                 // transposed
    case 6: start = right, dx = step_row, dy = -step_pixel; break;            // needs a quarter turn clockwise
    case 7: start = right + bottom, dx = -step_row, dy = -step_pixel; break;  // transposed over the other diagonal
    case 8: start = bottom, dx = -step_row, dy = step_pixel; break;           // needs a quarter turn anticlockwise
    default: break;
  }
  const std::uint8_t* in = image.pixels.data();
  for (int y = 0; y < h; ++y) {
    std::ptrdiff_t to = start + y * dy;
    for (int x = 0; x < w; ++x, to += dx) {
      for (int c = 0; c < channels; ++c) out.pixels[static_cast<std::size_t>(to + c)] = *in++;
    }
  }
  return out;
}

}  // namespace fovea::image
