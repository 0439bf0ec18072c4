// Depthwise convolution backward to the weights: for one row of dy and the row of x under one kernel row, a kernel row
// of sums stays in registers over the whole width.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/depthwise_weights.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/depthwise_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

/// Sums of kTaps taps over pixels [j0, j1), all inside the image, for vectors c and (kTwo) c + lanes.
template <int kTaps, bool kTwo>
HWY_INLINE void inner(const float* x, const float* dy, std::int64_t j0, std::int64_t j1, std::int64_t first,
                      std::int64_t step, std::int64_t channels, std::int64_t c, float* acc) {
  const Full d;
  using V = hn::Vec<Full>;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V a[kTaps], b[kTaps];
  HWY_UNROLL(8)
  for (int t = 0; t < kTaps; ++t) a[t] = b[t] = hn::Zero(d);
  for (std::int64_t j = j0; j < j1; ++j) {
    const float* g = dy + j * channels + c;
    const float* from = x + (first + j * step) * channels + c;
    const V g0 = hn::LoadU(d, g);
    HWY_UNROLL(8)
    for (int t = 0; t < kTaps; ++t) a[t] = hn::MulAdd(hn::LoadU(d, from + t * channels), g0, a[t]);
    if constexpr (kTwo) {
      const V g1 = hn::LoadU(d, g + lanes);
      HWY_UNROLL(8)
      for (int t = 0; t < kTaps; ++t) b[t] = hn::MulAdd(hn::LoadU(d, from + lanes + t * channels), g1, b[t]);
    }
  }
  HWY_UNROLL(8)
  for (int t = 0; t < kTaps; ++t) {
    float* to = acc + t * channels + c;
    hn::StoreU(hn::Add(hn::LoadU(d, to), a[t]), d, to);
    if constexpr (kTwo) hn::StoreU(hn::Add(hn::LoadU(d, to + lanes), b[t]), d, to + lanes);
  }
}

/// One pixel of dy, channels [begin, channels), the taps that lie inside.
void one_pixel(const float* x, std::int64_t width, const float* dy, std::int64_t j, std::int64_t first,
               std::int64_t step, std::int64_t taps, std::int64_t channels, std::int64_t begin, float* acc) {
  const std::int64_t at = first + j * step;
  const std::int64_t t0 = std::max<std::int64_t>(0, -at), t1 = std::min(taps, width - at);
  for (std::int64_t t = t0; t < t1; ++t) {
    each_vector(channels - begin, [&](auto d, std::int64_t i) HWY_ATTR {
      const std::int64_t c = begin + i;
      float* to = acc + t * channels + c;
      const auto v =
          hn::MulAdd(hn::LoadU(d, x + (at + t) * channels + c), hn::LoadU(d, dy + j * channels + c), hn::LoadU(d, to));
      hn::StoreU(v, d, to);
    });
  }
}

template <int kTaps>
void unrolled(const float* x, std::int64_t width, const float* dy, std::int64_t count, std::int64_t first,
              std::int64_t step, std::int64_t channels, float* acc) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(Full()));
  const std::int64_t j0 = std::clamp<std::int64_t>((std::max<std::int64_t>(0, -first) + step - 1) / step, 0, count);
  const std::int64_t room = width - kTaps - first;
  const std::int64_t j1 = room < 0 ? j0 : std::clamp<std::int64_t>(room / step + 1, j0, count);
  const std::int64_t vectors = channels / lanes * lanes;
  std::int64_t c = 0;
  if constexpr (kTaps <= 3) {
    for (; c + 2 * lanes <= vectors; c += 2 * lanes) inner<kTaps, true>(x, dy, j0, j1, first, step, channels, c, acc);
  }
  for (; c < vectors; c += lanes) inner<kTaps, false>(x, dy, j0, j1, first, step, channels, c, acc);
  for (std::int64_t j = 0; j < count; ++j) {
    const bool done = j >= j0 && j < j1;
    if (!done || vectors < channels) one_pixel(x, width, dy, j, first, step, kTaps, channels, done ? vectors : 0, acc);
  }
}

void weight_row(const float* x, std::int64_t width, const float* dy, std::int64_t count, std::int64_t first,
                std::int64_t step, std::int64_t taps, std::int64_t channels, float* acc) {
  if (taps == 3) return unrolled<3>(x, width, dy, count, first, step, channels, acc);
  if (taps == 5) return unrolled<5>(x, width, dy, count, first, step, channels, acc);
  for (std::int64_t j = 0; j < count; ++j) one_pixel(x, width, dy, j, first, step, taps, channels, 0, acc);
}

/// kRows rows of dy at once: a row of x is loaded once for all of them, and 3·kRows sums stay in registers.
template <int kRows, int kTaps>
void shared_rows(const DepthwiseWeightRows& job, int row) {
  const Full d;
  using V = hn::Vec<Full>;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d)), pitch = job.pitch;
  for (std::int64_t c = 0; c < pitch; c += lanes) {
    V sum[kRows][kTaps];
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(8)
      for (int t = 0; t < kTaps; ++t) sum[r][t] = hn::Zero(d);
    }
    const float* x = job.x + c;
    for (std::int64_t j = 0; j < job.count; ++j, x += job.step * pitch) {
      V taps[kTaps];
      HWY_UNROLL(8)
      for (int t = 0; t < kTaps; ++t) taps[t] = hn::LoadU(d, x + t * pitch);
      HWY_UNROLL(8)
      for (int r = 0; r < kRows; ++r) {
        const V g = hn::LoadU(d, job.dy[row + r] + j * pitch + c);
        HWY_UNROLL(8)
        for (int t = 0; t < kTaps; ++t) sum[r][t] = hn::MulAdd(taps[t], g, sum[r][t]);
      }
    }
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(8)
      for (int t = 0; t < kTaps; ++t) {
        float* to = job.acc[row + r] + t * pitch + c;
        hn::StoreU(hn::Add(hn::LoadU(d, to), sum[r][t]), d, to);
      }
    }
  }
}

template <int kTaps>
void shared_by_rows(const DepthwiseWeightRows& job) {
  int row = 0;
  for (; row + 3 <= job.rows; row += 3) shared_rows<3, kTaps>(job, row);
  if (row + 2 == job.rows) return shared_rows<2, kTaps>(job, row);
  if (row + 1 == job.rows) shared_rows<1, kTaps>(job, row);
}

void weight_rows(const DepthwiseWeightRows& job) {
  if (job.taps == 3) return shared_by_rows<3>(job);
  if (job.taps == 5) return shared_by_rows<5>(job);
  const std::int64_t width = (job.count - 1) * job.step + job.taps;
  for (int r = 0; r < job.rows; ++r)
    weight_row(job.x, width, job.dy[r], job.count, 0, job.step, job.taps, job.pitch, job.acc[r]);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(weight_row);
HWY_EXPORT(weight_rows);

void depthwise_weight_rows_f32(const DepthwiseWeightRows& job) { HWY_DYNAMIC_DISPATCH(weight_rows)(job); }

void depthwise_weight_row_f32(const float* x, std::int64_t width, const float* dy, std::int64_t count,
                              std::int64_t first, std::int64_t step, std::int64_t taps, std::int64_t channels,
                              float* acc) {
  HWY_DYNAMIC_DISPATCH(weight_row)(x, width, dy, count, first, step, taps, channels, acc);
}

}  // namespace fovea::kernels::simd
#endif
