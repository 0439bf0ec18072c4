// Construction, checks and grey <-> RGB of Image.
#include "image/image.h"

#include <limits>
#include <new>
#include <utility>

#include "core/error.h"

namespace fovea::image {
namespace {

std::size_t checked_bytes(int width, int height, int channels) {
  if (width < 0 || height < 0) throw Error(ErrorKind::usage, "image", str("size ", width, "x", height, " is negative"));
  if (channels != 1 && channels != 3) {
    throw Error(ErrorKind::usage, "image", str("channels must be 1 (grey) or 3 (RGB), not ", channels));
  }
  const auto w = static_cast<std::uint64_t>(width), h = static_cast<std::uint64_t>(height);
  // Both are below 2^31, so the product of the two fits in 62 bits; times 3 still fits in 64.
  return static_cast<std::size_t>(w * h * static_cast<std::uint64_t>(channels));
}

}  // namespace

Image::Image(int width_, int height_, int channels_, std::uint8_t value)
    : width(width_), height(height_), channels(channels_) {
  const std::size_t bytes = checked_bytes(width_, height_, channels_);
  try {
    pixels.assign(bytes, value);
  } catch (const std::exception&) {  // bad_alloc, or length_error beyond PTRDIFF_MAX
    throw Error(ErrorKind::memory, "image",
                str("no memory for ", width_, "x", height_, "x", channels_, " pixels (", bytes, " bytes)"));
  }
}

Image::Image(int width_, int height_, int channels_, std::vector<std::uint8_t> pixels_)
    : width(width_), height(height_), channels(channels_), pixels(std::move(pixels_)) {
  checked_bytes(width_, height_, channels_);
  check(*this, "image");
}

void check(const Image& image, const char* where) {
  if (image.width < 0 || image.height < 0 || (image.channels != 1 && image.channels != 3 && !image.pixels.empty())) {
    throw Error(ErrorKind::shape, where,
                str("not a picture: ", image.width, "x", image.height, " with ", image.channels, " channels"),
                "channels are 1 (grey) or 3 (RGB)");
  }
  const std::size_t expected = image.row_bytes() * static_cast<std::size_t>(image.height);
  if (image.pixels.size() != expected) {
    throw Error(ErrorKind::shape, where,
                str("a ", image.width, "x", image.height, "x", image.channels, " picture has ", expected,
                    " bytes, got ", image.pixels.size()));
  }
}

Image to_grey(const Image& image) {
  check(image, "to_grey");
  if (image.channels != 3) return image;
  Image out(image.width, image.height, 1);
  const std::uint8_t* in = image.pixels.data();
  for (std::size_t i = 0; i < out.pixels.size(); ++i, in += 3) {
    out.pixels[i] = static_cast<std::uint8_t>((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 0x8000u) >> 16);
  }
  return out;
}

Image to_rgb(const Image& image) {
  check(image, "to_rgb");
  if (image.channels != 1) return image;
  Image out(image.width, image.height, 3);
  std::uint8_t* to = out.pixels.data();
  for (std::uint8_t v : image.pixels) {
    to[0] = to[1] = to[2] = v;
    to += 3;
  }
  return out;
}

Image convert(const Image& image, int channels) {
  if (channels == 1) return to_grey(image);
  if (channels == 3) return to_rgb(image);
  throw Error(ErrorKind::usage, "convert", str("channels must be 1 (grey) or 3 (RGB), not ", channels));
}

}  // namespace fovea::image
