// What is done to batches of decoded pictures before a network sees them: changes of augmentation in whole levels of
// u8, as image/ and augment/ make them picture by picture, then the step to floats, then mixing. For GPUs, where the
// CPU's workers hand over a quarter of the bytes and less work; results are theirs to the bit.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/view.h"

namespace fovea::kernels {

enum class PixelOp : std::uint8_t {
  none,
  flip_x,
  flip_y,
  warp,        ///< `inverse`, `bilinear`, `border`, `fill`: augment/warp.h
  shift,       ///< shows the picture from (box[0], box[1]) on; `border`, `fill`
  brightness,  ///< `factor`; the four are those of image/color.h
  contrast,    ///< `factor`
  saturation,  ///< `factor`
  hue,         ///< `turn`, in 255ths of the circle, modulo 256
  erase,       ///< box: left, top, width, height; filled with `fill`, or the picture's mean colour where `mean`
};
/// As Border of augment/warp.h.
enum class PixelBorder : std::uint8_t { constant, edge, reflect };

/// One change of one picture, which keeps its size. Plain data: it travels to GPUs as it is.
struct PixelStep {
  PixelOp op = PixelOp::none;
  PixelBorder border = PixelBorder::constant;
  bool bilinear = true, mean = false;
  std::uint8_t fill[3] = {}, turn = 0;
  float factor = 1;
  std::int32_t box[4] = {};
  double inverse[6] = {};
};

/// Picture n goes through steps[n·per_picture … (n + 1)·per_picture) in order.
/// @param in u8 [N,H,W,C], C 1 or 3; @param out the same shape, not `in`
/// Error{shape, usage} for other operands, or steps that are not N·per_picture; per_picture ≥ 1.
FOVEA_API void change_pictures(std::span<const PixelStep> steps, int per_picture, ConstView in, View out);

/// y[…,c] = values[x[…,c], c], or of channel C − 1 − c of x where `reversed` (BGR).
/// @param x u8 [N,H,W,C]; @param values f32 [256,C]; @param y f32 [N,H,W,C]
FOVEA_API void pictures_to_floats(ConstView x, ConstView values, bool reversed, View y);

/// Picture i with picture partner[i]: share·x_i + (1 − share)·x_partner, or where `cut` the partner's pixels in rows
/// [y0, y1) and columns [x0, x1).
struct MixStep {
  bool cut = false;
  float share = 1;
  std::int64_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;
  std::vector<std::int64_t> partner;
};
/// @param x f32 [N,H,W,C]; @param y the same shape, not `x`
FOVEA_API void mix_pictures(const MixStep& step, ConstView x, View y);

}  // namespace fovea::kernels
