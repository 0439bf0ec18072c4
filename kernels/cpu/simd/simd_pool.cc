// Hands pooling problems to the Highway kernels.
#include <algorithm>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/panels.h"
#include "kernels/cpu/simd/pool_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

// Values of a mean that pay for another thread: so many take 1.5 µs, and a thread costs one.
constexpr std::int64_t kMeanGrain = 28 << 10;

std::int64_t rows_per_thread(std::int64_t row_elements) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, row_elements));
}

}  // namespace

PoolShape pool_shape(const Pool2dParams& q, const Shape& x, const Shape& y) {
  return {x[1],
          x[2],
          y[1],
          y[2],
          x[3],
          q.window.h,
          q.window.w,
          q.stride.h,
          q.stride.w,
          q.padding.top,
          q.padding.left,
          q.padding.bottom,
          q.padding.right,
          q.kind == PoolKind::max,
          q.count_include_pad};
}

const char* declines(const Pool2dProblem& p) { return needs_cpu_f32(p.out); }

void pool2d(const Pool2dProblem& p) {
  const PoolShape shape = pool_shape(p.params, p.x_shape, p.y_shape);
  const float* in = p.in.ptr<float>();
  float* out = p.out.ptr<float>();
  const std::int64_t grain = rows_per_thread(shape.w * shape.channels);
  if (p.pass == Pass::forward) {
    std::int32_t* argmax = p.argmax_out ? p.argmax_out->ptr<std::int32_t>() : nullptr;
    parallel_for(p.y_shape[0] * shape.ho, grain,
                 [&](std::int64_t begin, std::int64_t end) { pool_forward_f32(shape, in, out, argmax, begin, end); });
  } else {
    const std::int32_t* argmax = p.argmax ? p.argmax->ptr<std::int32_t>() : nullptr;
    parallel_for(p.x_shape[0] * shape.h, grain,
                 [&](std::int64_t begin, std::int64_t end) { pool_backward_f32(shape, in, argmax, out, begin, end); });
  }
}

const char* declines(const AveragePoolProblem& p) {
  if (p.y_shape[1] != 1 || p.y_shape[2] != 1) return "adaptive to more than one cell";
  return needs_cpu_f32(p.out);
}

void global_average_pool(const AveragePoolProblem& p) {
  const std::int64_t pixels = p.x_shape[1] * p.x_shape[2], channels = p.x_shape[3], image = pixels * channels;
  const float* in = p.in.ptr<float>();
  float* out = p.out.ptr<float>();
  const auto factor = static_cast<float>(1.0 / static_cast<double>(pixels));
  if (p.pass == Pass::backward) {
    return parallel_for(p.x_shape[0], rows_per_thread(image), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n)
        spread_row_f32(in + n * channels, pixels, channels, factor, out + n * image);
    });
  }
  // Of one picture, threads share the channels, as the convolution before has left them to the cores.
  const std::int64_t width = vector_width(), blocks = (channels + width - 1) / width;
  const std::int64_t grain = std::max<std::int64_t>(1, kMeanGrain / std::max<std::int64_t>(1, pixels * width));
  parallel_for(p.x_shape[0] * blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t n = begin / blocks, block = begin % blocks, stop = std::min(blocks, block + end - begin);
      const std::int64_t first = block * width, last = std::min(channels, stop * width);
      mean_rows_f32(in + n * image + first, pixels, last - first, channels, factor, out + n * channels + first);
      begin += stop - block;
    }
  });
}

}  // namespace fovea::kernels::simd
