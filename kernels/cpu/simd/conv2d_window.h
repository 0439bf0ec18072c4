// What forward, backward-data and backward-weights have in common: one axis at a time, a convolution is a grid of
// results, each the sum over taps of an input at grid·in_step + tap.at. Backward-data at stride s is s×s such grids
// (phases) over dy.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {

struct Tap {
  std::int64_t at;  ///< input coordinate, relative to grid·in_step; negative reaches into the padding
  std::int64_t k;   ///< which row or column of the kernel
};

struct Axis {
  std::int64_t grid = 0;                     ///< results along this axis
  std::int64_t in_step = 1;                  ///< input coordinates per result
  std::int64_t out_start = 0, out_step = 1;  ///< where they go
  std::vector<Tap> taps;                     ///< ascending `at`

  std::int64_t first() const { return taps.front().at; }
  std::int64_t span() const { return taps.back().at - taps.front().at + 1; }
  /// Input coordinates that `count` results read.
  std::int64_t window(std::int64_t count) const { return (count - 1) * in_step + span(); }
  bool inside(std::int64_t extent) const { return first() >= 0 && first() + window(grid) <= extent; }
};

Axis forward_axis(std::int64_t out, std::int64_t k, int stride, int dilation, int pad_before);
/// The phases of the gradient: results out_start, out_start + stride, …; one without taps is zero.
std::vector<Axis> backward_axes(std::int64_t in, std::int64_t k, int stride, int dilation, int pad_before);

/// The runs of contiguous k of one result in a window whose pixels are `pixel_pitch` floats apart.
std::vector<Run> make_runs(const Axis& y, const Axis& x, std::int64_t channels, std::int64_t row_pitch,
                           std::int64_t pixel_pitch);

/// A stack of NHWC images as one group sees it.
struct Images {
  const float* data;
  std::int64_t n, h, w, pitch;  ///< pitch: floats from pixel to pixel
  std::int64_t channels;        ///< of this group
  const float* image(std::int64_t i) const { return data + i * h * w * pitch; }
};

/// Copies rows [y0, y0+rows) × columns [x0, x0+columns) of an image, zeros outside of it, pixels `pitch` floats apart.
void copy_window(const Images& images, std::int64_t image, std::int64_t y0, std::int64_t rows, std::int64_t x0,
                 std::int64_t columns, std::int64_t pitch, float* to);

}  // namespace fovea::kernels::simd
