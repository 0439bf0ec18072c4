// Depthwise convolution, forward and (by phases) backward to the data: a tile of four result pixels stays in registers
// while the kernel's rows pass, vectors run along channels, 64 channels at a time so that their weights stay in the L1
// cache. 3×3 and 5×5 at stride 1 and 2 are unrolled; other sizes take a plain loop.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/depthwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/depthwise_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t kPanel = 64;

/// NaN passes both comparisons.
template <class D, class V>
HWY_INLINE V clamp(D d, V v, float low, float high) {
  const V lo = hn::Set(d, low), hi = hn::Set(d, high);
  v = hn::IfThenElse(hn::Lt(v, lo), lo, v);
  return hn::IfThenElse(hn::Gt(v, hi), hi, v);
}

/// Channels [begin, end) of result pixel j, any size, any edge.
void one_pixel(const DepthwiseRow& p, std::int64_t j, std::int64_t begin, std::int64_t end) {
  const std::int64_t at = p.first + j * p.step;
  const std::int64_t t0 = std::max<std::int64_t>(0, -at), t1 = std::min(p.taps, p.width - at);
  each_vector(end - begin, [&](auto d, std::int64_t i) HWY_ATTR {
    const std::int64_t c = begin + i;
    auto sum = hn::LoadU(d, p.bias + c);
    for (int r = 0; r < p.rows; ++r) {
      for (std::int64_t t = t0; t < t1; ++t) {
        sum = hn::MulAdd(hn::LoadU(d, p.in[r] + (at + t) * p.channels + c),
                         hn::LoadU(d, p.weights[r] + t * p.channels + c), sum);
      }
    }
    hn::StoreU(clamp(d, sum, p.low, p.high), d, p.out + j * p.out_step * p.channels + c);
  });
}

/// Result pixels j … j+3, whose windows lie inside the image, of one vector of channels.
template <int kTaps, int kStep, class D>
HWY_INLINE void four_pixels(D d, const DepthwiseRow& p, std::int64_t j, std::int64_t c) {
  using V = hn::Vec<D>;
  V a0 = hn::LoadU(d, p.bias + c), a1 = a0, a2 = a0, a3 = a0;
  const std::int64_t channels = p.channels;
  for (int r = 0; r < p.rows; ++r) {
    const float* x = p.in[r] + (p.first + j * kStep) * channels + c;
    const float* w = p.weights[r] + c;
    HWY_UNROLL(8)
    for (int t = 0; t < kTaps; ++t) {
      const V weight = hn::LoadU(d, w + t * channels);
      a0 = hn::MulAdd(hn::LoadU(d, x + t * channels), weight, a0);
      a1 = hn::MulAdd(hn::LoadU(d, x + (t + kStep) * channels), weight, a1);
      a2 = hn::MulAdd(hn::LoadU(d, x + (t + 2 * kStep) * channels), weight, a2);
      a3 = hn::MulAdd(hn::LoadU(d, x + (t + 3 * kStep) * channels), weight, a3);
    }
  }
  float* out = p.out + j * p.out_step * channels + c;
  const std::int64_t next = p.out_step * channels;
  hn::StoreU(clamp(d, a0, p.low, p.high), d, out);
  hn::StoreU(clamp(d, a1, p.low, p.high), d, out + next);
  hn::StoreU(clamp(d, a2, p.low, p.high), d, out + 2 * next);
  hn::StoreU(clamp(d, a3, p.low, p.high), d, out + 3 * next);
}

template <int kTaps, int kStep>
void unrolled_row(const DepthwiseRow& p) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  // Windows that lie inside: first + j·step ≥ 0 and first + j·step + taps ≤ width.
  const std::int64_t j0 =
      std::clamp<std::int64_t>((std::max<std::int64_t>(0, -p.first) + kStep - 1) / kStep, 0, p.count);
  const std::int64_t room = p.width - kTaps - p.first;
  const std::int64_t j1 = room < 0 ? j0 : std::clamp<std::int64_t>(room / kStep + 1, j0, p.count);
  const std::int64_t tiles = (j1 - j0) / 4, vectors = p.channels / lanes * lanes;
  for (std::int64_t panel = 0; panel < vectors; panel += kPanel) {
    const std::int64_t end = std::min(vectors, panel + kPanel);
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (std::int64_t c = panel; c < end; c += lanes) four_pixels<kTaps, kStep>(d, p, j0 + tile * 4, c);
    }
  }
  for (std::int64_t j = 0; j < p.count; ++j) {
    const bool done = j >= j0 && j < j0 + tiles * 4;
    one_pixel(p, j, done ? vectors : 0, p.channels);
  }
}

void depthwise_row(const DepthwiseRow& p) {
  if (p.step == 1 && p.taps == 3) return unrolled_row<3, 1>(p);
  if (p.step == 1 && p.taps == 5) return unrolled_row<5, 1>(p);
  if (p.step == 1 && p.taps == 1) return unrolled_row<1, 1>(p);
  if (p.step == 1 && p.taps == 2) return unrolled_row<2, 1>(p);
  if (p.step == 2 && p.taps == 3) return unrolled_row<3, 2>(p);
  if (p.step == 2 && p.taps == 5) return unrolled_row<5, 2>(p);
  for (std::int64_t j = 0; j < p.count; ++j) one_pixel(p, j, 0, p.channels);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(depthwise_row);

void depthwise_row_f32(const DepthwiseRow& p) { HWY_DYNAMIC_DISPATCH(depthwise_row)(p); }

}  // namespace fovea::kernels::simd
#endif
