// Resizing exactly as Pillow does, and the crops and pads torchvision builds on it: training and inference in fovea see
// the same pixels as the frameworks that made the weights.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "core/export.h"
#include "image/image.h"

namespace fovea::image {

/// Pillow's filters. All but nearest widen when shrinking (they antialias): the support below is in output pixels then.
enum class Filter {
  nearest,   ///< the pixel under the centre, no antialiasing
  box,       ///< mean of the covered pixels, support 0.5
  bilinear,  ///< triangle, support 1
  hamming,   ///< sinc * Hamming window, support 1
  bicubic,   ///< Keys' cubic with a = -0.5, support 2
  lanczos,   ///< sinc * sinc(x / 3), support 3
};

FOVEA_API std::string_view to_string(Filter filter);
/// From its name as to_string gives it; "lanczos3" too. Error(usage) naming the choices otherwise.
FOVEA_API Filter filter_from_string(std::string_view name);

/// Source rectangle in pixels, fractions allowed: left <= x < right.
struct Box {
  float left = 0, top = 0, right = 0, bottom = 0;
};

/// Which axis is resampled first. The result is rounded and cut to 0..255 after the first pass, so the order shows: by
/// at most 1 for the filters without negative lobes, by more for bicubic and lanczos on hard edges.
enum class PassOrder {
  pillow13,  ///< rows first where the height shrinks by more than twice what the width does (Pillow from 13.0), else
             ///< columns
  horizontal_first,  ///< always, as Pillow up to 12
};

/// Pillow's Image.resize((width, height), filter, box, reducing_gap=None) for 8-bit channels, bit for bit: two passes,
/// 22-bit fixed-point weights, rounding to 8 bits after each pass.
/// Works on any number of channels of `image` (1 or 3). width, height >= 1.
/// Errors: usage for a size below 1 or an empty picture, or a box that is empty or leaves the picture.
FOVEA_API Image resize(const Image& image, int width, int height, Filter filter = Filter::bilinear,
                       std::optional<Box> box = {}, PassOrder order = PassOrder::pillow13);

struct Size {
  int width = 0, height = 0;
  friend bool operator==(const Size&, const Size&) = default;
};

/// Size after scaling the shorter side to n: the longer one is int(n * longer / shorter), truncated, as torchvision's
/// Resize(n). Error(usage) when n < 1 or a side is; Error(memory) when the longer side would not fit an int.
FOVEA_API Size shorter_side_size(int width, int height, int n);
FOVEA_API Image resize_shorter_side(const Image& image, int n, Filter filter = Filter::bilinear);

/// The rectangle [left, left + width) x [top, top + height). Error(usage) when it leaves the picture.
FOVEA_API Image crop(const Image& image, int left, int top, int width, int height);
/// torchvision's CenterCrop: offset int(round((size - crop) / 2)), halves to even. Where the picture is smaller it is
/// padded with zeros first, (crop - size) / 2 before and (crop - size + 1) / 2 after.
FOVEA_API Image center_crop(const Image& image, int width, int height);
/// Adds margins of one colour (the first `channels` values of it). Error(usage) for negative margins.
FOVEA_API Image pad(const Image& image, int left, int top, int right, int bottom,
                    std::array<std::uint8_t, 3> color = {});

FOVEA_API Image flip_horizontal(const Image& image);
FOVEA_API Image flip_vertical(const Image& image);

}  // namespace fovea::image
