// Pooling over NHWC on plain arrays of floats, a range of rows at a time so that any thread may take any row.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/element.h"
#include "kernels/pool2d.h"

namespace fovea::kernels::simd {

struct PoolShape {
  std::int64_t h, w, ho, wo, channels;
  std::int64_t window_h, window_w, stride_h, stride_w, top, left, bottom, right;
  bool max, count_include_pad;
  std::int64_t y_pitch = 0;  ///< values from result pixel to result pixel; 0: channels
};

/// Of images x and results y, NHWC; padding in numbers (see resolve_pool2d).
PoolShape pool_shape(const Pool2dParams& params, const Shape& x, const Shape& y);

/// Result rows [begin, end) of N·Ho. argmax (max only) may be null.
void pool_forward_f32(const PoolShape&, const float* x, float* y, std::int32_t* argmax, std::int64_t begin,
                      std::int64_t end);
/// The same on f32 or bf16, without arg-maxima.
void pool_forward(const PoolShape&, Element element, const void* x, void* y, std::int64_t begin, std::int64_t end);
/// Input-gradient rows [begin, end) of N·H, each gathered from the windows that cover it.
void pool_backward_f32(const PoolShape&, const float* dy, const std::int32_t* argmax, float* dx, std::int64_t begin,
                       std::int64_t end);

/// y[c] = factor · Σ over `rows` rows that lie `pitch` values from each other.
void mean_rows_f32(const float* x, std::int64_t rows, std::int64_t channels, std::int64_t pitch, float factor,
                   float* y);
/// Each of `rows` rows of y becomes factor·x[channels].
void spread_row_f32(const float* x, std::int64_t rows, std::int64_t channels, float factor, float* y);

}  // namespace fovea::kernels::simd
