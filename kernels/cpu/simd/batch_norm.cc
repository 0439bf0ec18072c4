// Batch norm forward. Training reads x once for the statistics and once for the result, which it writes with the
// activation applied.
//
// Statistics: each thread takes the column means of its first rows as a shift K and sums x−K and (x−K)² in f32 over at
// most 256 rows, then in double; threads are combined by Chan, Golub and LeVeque's formula (1979). Since K is a mean of
// part of the data, the variance loses about (number of flushes)·2^-24 at worst, however large the mean is.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/batch_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/batch_norm_raw.h"
#include "kernels/cpu/simd/columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

void column_moments(const float* x, std::int64_t n, std::int64_t period, const float* shift, float* acc, double* sum,
                    double* squares) {
  double* const sums[] = {sum, squares};
  sum_columns<2>(n, period, acc, sums, [&](auto d, std::int64_t i, std::int64_t c, auto* out) HWY_ATTR {
    out[0] = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, shift + c));
    out[1] = hn::Mul(out[0], out[0]);
  });
}

template <class Act>
HWY_INLINE void normalize_with(const float* x, std::int64_t n, std::int64_t period, const float* mean,
                               const float* scale, const float* shift, float* y, Act act) {
  std::int64_t row = 0;
  for (; row + 4 * period <= n; row += 4 * period) {  // the parameters are loaded once for four rows
    each_vector(period, [&](auto d, std::int64_t c) HWY_ATTR {
      const auto m = hn::LoadU(d, mean + c), s = hn::LoadU(d, scale + c), b = hn::LoadU(d, shift + c);
      const float* from = x + row + c;
      float* to = y + row + c;
      const auto p = act(d, hn::MulAdd(hn::Sub(hn::LoadU(d, from), m), s, b));
      const auto q = act(d, hn::MulAdd(hn::Sub(hn::LoadU(d, from + period), m), s, b));
      const auto r = act(d, hn::MulAdd(hn::Sub(hn::LoadU(d, from + 2 * period), m), s, b));
      const auto t = act(d, hn::MulAdd(hn::Sub(hn::LoadU(d, from + 3 * period), m), s, b));
      hn::StoreU(p, d, to);
      hn::StoreU(q, d, to + period);
      hn::StoreU(r, d, to + 2 * period);
      hn::StoreU(t, d, to + 3 * period);
    });
  }
  each_row(n - row, period, [&](auto d, std::int64_t i, std::int64_t c) HWY_ATTR {
    const auto z = hn::MulAdd(hn::Sub(hn::LoadU(d, x + row + i), hn::LoadU(d, mean + c)), hn::LoadU(d, scale + c),
                              hn::LoadU(d, shift + c));
    hn::StoreU(act(d, z), d, y + row + i);
  });
}

void normalize(Activation fused, const float* x, std::int64_t n, std::int64_t period, const float* mean,
               const float* scale, const float* shift, float* y) {
  if (fused == Activation::relu) return normalize_with(x, n, period, mean, scale, shift, y, Relu());
  if (fused == Activation::relu6) return normalize_with(x, n, period, mean, scale, shift, y, Relu6());
  normalize_with(x, n, period, mean, scale, shift, y, Identity());
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
namespace {
HWY_EXPORT(column_moments);
HWY_EXPORT(normalize);

/// Rows (of a fold's period) whose means serve as the shift.
constexpr std::int64_t kPilotRows = 64;

/// What one thread knows of its rows: per column the shift and the sums about it.
struct Moments {
  double* shift;
  double* sum;
  double* squares;
  std::int64_t n;  // values, from column 0 on
};

Moments moments_of(double* partials, std::int64_t period, int chunk, std::int64_t n) {
  double* at = partials + chunk * 3 * period;
  return {at, at + period, at + 2 * period, n};
}

void measure(const float* x, std::int64_t period, const Moments& to) {
  float* shift = scratch<float>(Slot::block_a, 3 * period);
  float* acc = shift + period;
  const auto run = [&](std::int64_t n) {
    std::fill(to.sum, to.sum + 2 * period, 0.0);
    HWY_DYNAMIC_DISPATCH(column_moments)(x, n, period, shift, acc, to.sum, to.squares);
  };
  std::fill(shift, shift + period, 0.0f);
  const std::int64_t pilot = std::min(to.n, kPilotRows * period);
  run(pilot);
  for (std::int64_t c = 0; c < period; ++c) {
    const std::int64_t count = pilot / period + (c < pilot % period ? 1 : 0);
    shift[c] = count > 0 ? static_cast<float>(to.sum[c] / static_cast<double>(count)) : 0.0f;
    to.shift[c] = static_cast<double>(shift[c]);
  }
  run(to.n);
}

void combine(const BatchNormShape& shape, const Fold& fold, double* partials, int chunks, const std::int64_t* sizes,
             float* mean, float* variance) {
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    double count = 0, center = 0, spread = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const Moments m = moments_of(partials, fold.period, chunk, sizes[chunk]);
      for (std::int64_t column = c; column < fold.period; column += shape.channels) {
        const std::int64_t rows = m.n / fold.period + (column < m.n % fold.period ? 1 : 0);
        if (rows == 0) continue;
        const double n = static_cast<double>(rows);
        const double offset = m.sum[column] / n;
        const double other = m.shift[column] + offset;
        const double delta = other - center, total = count + n;
        spread += std::max(0.0, m.squares[column] - m.sum[column] * offset) + delta * delta * (count * n / total);
        center += delta * (n / total);
        count = total;
      }
    }
    // A NaN must come out as one: max(0, NaN) above is 0, but the centre keeps it.
    mean[c] = static_cast<float>(center);
    variance[c] = static_cast<float>(std::isfinite(center) ? spread / count : std::nan(""));
  }
}

}  // namespace

BatchNormColumns::BatchNormColumns(const BatchNormShape& shape, const float* gamma, const float* beta,
                                   const float* means, const float* variance, int extra_arrays)
    : fold(fold_channels(shape.channels)) {
  const std::int64_t period = fold.period;
  float* at = scratch<float>(Slot::columns, (3 + extra_arrays) * period);
  float* scales = at + period;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    const double inv_std = 1.0 / std::sqrt(static_cast<double>(variance[c]) + shape.epsilon);
    scales[c] = static_cast<float>(gamma ? static_cast<double>(gamma[c]) * inv_std : inv_std);
  }
  for (std::int64_t c = shape.channels; c < period; ++c) scales[c] = scales[c - shape.channels];
  repeat_channels(means, 0.0f, shape.channels, fold, at);
  repeat_channels(beta, 0.0f, shape.channels, fold, at + 2 * period);
  mean = at;
  scale = scales;
  shift = at + 2 * period;
  extra = at + 3 * period;
}

void normalize_f32(Activation fused, const float* x, std::int64_t n, const BatchNormColumns& columns, float* y) {
  HWY_DYNAMIC_DISPATCH(normalize)(fused, x, n, columns.fold.period, columns.mean, columns.scale, columns.shift, y);
}

void batch_norm_inference_f32(const BatchNormShape& shape, const float* x, const float* gamma, const float* beta,
                              const float* mean, const float* variance, float* y) {
  if (shape.rows * shape.channels == 0) return;
  const BatchNormColumns columns(shape, gamma, beta, mean, variance, 0);
  const std::int64_t period = columns.fold.period, total = shape.rows * shape.channels;
  const Activation kind = shape.activation.kind;
  const bool fused = kind == Activation::none || kind == Activation::relu || kind == Activation::relu6;
  const std::int64_t block = std::max<std::int64_t>(1, 4096 / period) * period;  // 16 KB: half an L1 cache
  parallel_for((total + period - 1) / period, std::max<std::int64_t>(1, kGrain / period),
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t last = std::min(end * period, total);
                 if (fused)
                   return normalize_f32(kind, x + begin * period, last - begin * period, columns, y + begin * period);
                 for (std::int64_t at = begin * period; at < last; at += block) {
                   const std::int64_t n = std::min(block, last - at);
                   normalize_f32(Activation::none, x + at, n, columns, y + at);
                   activation_forward_f32(kind, static_cast<float>(shape.activation.alpha), y + at, y + at, n);
                 }
               });
}

void batch_norm_training_f32(const BatchNormShape& shape, const float* x, const float* gamma, const float* beta,
                             float* y, float* mean, float* variance) {
  if (shape.channels == 0) return;
  const Fold fold = fold_channels(shape.channels);
  const std::int64_t period = fold.period, total = shape.rows * shape.channels;
  const std::int64_t super_rows = (total + period - 1) / period;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / period);
  const int chunks = parallel_chunk_count(super_rows, grain);
  double* partials = scratch<double>(Slot::partials, chunks * (3 * period + 1));
  auto* sizes = reinterpret_cast<std::int64_t*>(partials + chunks * 3 * period);
  parallel_for(super_rows, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    sizes[chunk] = std::min(end * period, total) - begin * period;
    measure(x + begin * period, period, moments_of(partials, period, chunk, sizes[chunk]));
  });
  combine(shape, fold, partials, shape.rows == 0 ? 0 : chunks, sizes, mean, variance);
  batch_norm_inference_f32(shape, x, gamma, beta, mean, variance, y);
}

}  // namespace fovea::kernels::simd
#endif
