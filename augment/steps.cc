// The changes that can be made on a GPU, on the CPU: one picture at a time, by the functions of image/ and of this
// room.
#include <algorithm>
#include <cstring>

#include "augment/options_internal.h"
#include "image/color.h"

namespace fovea::transforms {

namespace {

void flip_x(image::Image& picture) {
  const auto channels = static_cast<std::size_t>(picture.channels);
  for (int y = 0; y < picture.height; ++y) {
    std::uint8_t* row = picture.pixels.data() + static_cast<std::size_t>(y) * picture.row_bytes();
    if (channels == 1) {
      std::reverse(row, row + picture.width);
      continue;
    }
    std::uint8_t* right = row + picture.row_bytes();
    for (std::uint8_t* left = row; left + channels < right; left += channels) {
      right -= channels;
      std::swap_ranges(left, left + channels, right);
    }
  }
}
void flip_y(image::Image& picture) {
  std::uint8_t* top = picture.pixels.data();
  std::uint8_t* bottom = top + picture.pixels.size();
  const std::size_t row = picture.row_bytes();
  for (int y = 0; y < picture.height / 2; ++y, top += row) std::swap_ranges(top, top + row, bottom -= row);
}

int mirrored(int i, int n) {
  i %= 2 * n;
  if (i < 0) i += 2 * n;
  return i < n ? i : 2 * n - 1 - i;
}

/// Fills the hole with a colour, or the picture's mean.
void erase(image::Image& picture, const kernels::PixelStep& step) {
  const auto channels = static_cast<std::size_t>(picture.channels);
  std::array<std::uint8_t, 3> color = {step.fill[0], step.fill[1], step.fill[2]};
  if (step.mean) {
    std::array<std::uint64_t, 3> sums{};
    for (std::size_t i = 0; i < picture.pixels.size(); ++i) sums[i % channels] += picture.pixels[i];
    const std::uint64_t n = picture.pixels.size() / channels;
    for (std::size_t c = 0; c < channels; ++c) color[c] = static_cast<std::uint8_t>((sums[c] + n / 2) / n);
  }
  const auto& [left, top, width, height] = step.box;
  for (int y = top; y < top + height; ++y) {
    std::uint8_t* const p = picture.pixels.data() + static_cast<std::size_t>(y) * picture.row_bytes() +
                            static_cast<std::size_t>(left) * channels;
    for (std::size_t i = 0; i < static_cast<std::size_t>(width) * channels; ++i) p[i] = color[i % channels];
  }
}

}  // namespace

image::Image window(const image::Image& picture, int left, int top, int width, int height, Border border,
                    const std::array<std::uint8_t, 3>& fill) {
  image::Image out;
  out.width = width;
  out.height = height;
  out.channels = picture.channels;
  const auto channels = static_cast<std::size_t>(picture.channels);
  out.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * channels);
  // Columns [begin, end) of the window lie inside the picture and are copied in one piece.
  const int begin = std::clamp(-left, 0, width), end = std::clamp(picture.width - left, begin, width);
  for (int y = 0; y < height; ++y) {
    std::uint8_t* to = out.pixels.data() + static_cast<std::size_t>(y) * out.row_bytes();
    int from_y = y + top;
    const bool outside = from_y < 0 || from_y >= picture.height;
    if (outside && border == Border::edge) from_y = std::clamp(from_y, 0, picture.height - 1);
    if (outside && border == Border::reflect) from_y = mirrored(from_y, picture.height);
    const bool blank = outside && border == Border::constant;
    const std::uint8_t* row =
        blank ? nullptr : picture.pixels.data() + static_cast<std::size_t>(from_y) * picture.row_bytes();
    const auto one = [&](int x) {
      const std::uint8_t* from = fill.data();
      if (border == Border::edge)
        from = row + static_cast<std::size_t>(std::clamp(x + left, 0, picture.width - 1)) * channels;
      if (border == Border::reflect)
        from = row + static_cast<std::size_t>(mirrored(x + left, picture.width)) * channels;
      std::memcpy(to + static_cast<std::size_t>(x) * channels, from, channels);
    };
    if (blank) {
      for (int x = 0; x < width; ++x) one(x);
      continue;
    }
    for (int x = 0; x < begin; ++x) one(x);
    if (end > begin) {
      std::memcpy(to + static_cast<std::size_t>(begin) * channels,
                  row + static_cast<std::size_t>(begin + left) * channels,
                  static_cast<std::size_t>(end - begin) * channels);
    }
    for (int x = end; x < width; ++x) one(x);
  }
  return out;
}

void take_step(image::Image& picture, const kernels::PixelStep& step) {
  using kernels::PixelOp;
  const auto border = static_cast<Border>(step.border);
  const std::array<std::uint8_t, 3> fill = {step.fill[0], step.fill[1], step.fill[2]};
  const auto& m = step.inverse;
  switch (step.op) {
    case PixelOp::none: return;
    case PixelOp::flip_x: return flip_x(picture);
    case PixelOp::flip_y: return flip_y(picture);
    case PixelOp::warp:
      picture = warp_affine(picture, {m[0], m[1], m[2], m[3], m[4], m[5]}, {step.bilinear, border, fill});
      return;
    case PixelOp::shift:
      picture = window(picture, step.box[0], step.box[1], picture.width, picture.height, border, fill);
      return;
    case PixelOp::brightness: return image::adjust_brightness(picture, step.factor);
    case PixelOp::contrast: return image::adjust_contrast(picture, step.factor);
    case PixelOp::saturation: return image::adjust_saturation(picture, step.factor);
    case PixelOp::hue: {
      // shift_hue truncates turns · 255 to a byte, with its sign.
      const auto turn = static_cast<std::int8_t>(step.turn);
      return image::shift_hue(picture, (turn + (turn < 0 ? -0.5 : 0.5)) / 255);
    }
    case PixelOp::erase: return erase(picture, step);
  }
}

void Planned::apply(image::Image& picture, Rng& rng) const {
  if (picture.empty()) return;
  std::vector<kernels::PixelStep> steps;
  plan({picture.width, picture.height}, rng, steps);
  for (const kernels::PixelStep& step : steps) take_step(picture, step);
}

}  // namespace fovea::transforms
