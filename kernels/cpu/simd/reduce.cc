// Sums over pixels or batches, sums of squares and the search for NaN and infinity: one read of the operand.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/reduce.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"
#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/reduce_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

void column_sums(const float* x, std::int64_t n, std::int64_t period, float* acc, double* sum) {
  double* const sums[] = {sum};
  sum_columns<1>(n, period, acc, sums,
                 [&](auto d, std::int64_t i, std::int64_t, auto* out) HWY_ATTR { out[0] = hn::LoadU(d, x + i); });
}

double squares(const float* x, std::int64_t n) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(dd));
  auto a = hn::Zero(dd), b = a, e = a, f = a;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto p = hn::PromoteTo(dd, hn::LoadU(df, x + i)), q = hn::PromoteTo(dd, hn::LoadU(df, x + i + lanes));
    const auto r = hn::PromoteTo(dd, hn::LoadU(df, x + i + 2 * lanes)),
               s = hn::PromoteTo(dd, hn::LoadU(df, x + i + 3 * lanes));
    a = hn::MulAdd(p, p, a);
    b = hn::MulAdd(q, q, b);
    e = hn::MulAdd(r, r, e);
    f = hn::MulAdd(s, s, f);
  }
  double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(hn::Add(a, b), hn::Add(e, f))));
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

bool finite(const float* x, std::int64_t n) {
  // x − x is +0 for finite x and NaN otherwise.
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto bad = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto p = hn::LoadU(d, x + i), q = hn::LoadU(d, x + i + lanes), r = hn::LoadU(d, x + i + 2 * lanes),
               s = hn::LoadU(d, x + i + 3 * lanes);
    bad = hn::Or(bad, hn::Or(hn::Or(hn::Sub(p, p), hn::Sub(q, q)), hn::Or(hn::Sub(r, r), hn::Sub(s, s))));
  }
  bool good = hn::AllFalse(d, hn::IsNaN(bad));
  for (; i < n; ++i) good = good && std::isfinite(x[i]);
  return good;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
namespace {
HWY_EXPORT(column_sums);
HWY_EXPORT(squares);
HWY_EXPORT(finite);

/// One group on this thread: y = factor·sum.
void one_group(const float* x, std::int64_t rows, std::int64_t channels, const Fold& fold, double factor, float* y) {
  double* sums = scratch<double>(Slot::block_b, fold.period + channels);
  if (rows * channels < fold.period) {
    for (std::int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) sum += static_cast<double>(x[r * channels + c]);
      y[c] = static_cast<float>(factor * sum);
    }
    return;
  }
  std::fill(sums, sums + fold.period, 0.0);
  HWY_DYNAMIC_DISPATCH(column_sums)(x, rows * channels, fold.period, scratch<float>(Slot::block_a, fold.period), sums);
  double* total = sums + fold.period;
  fold_columns(sums, 1, 0, channels, fold, total);
  for (std::int64_t c = 0; c < channels; ++c) y[c] = static_cast<float>(factor * total[c]);
}

}  // namespace

void sum_over_rows_f32(const float* x, std::int64_t rows, std::int64_t channels, double factor, float* y) {
  const Fold fold = fold_channels(channels);
  const std::int64_t period = fold.period, total = rows * channels, super_rows = (total + period - 1) / period;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / period);
  const int chunks = total == 0 ? 0 : parallel_chunk_count(super_rows, grain);
  double* partials = scratch<double>(Slot::partials, chunks * period + channels);
  parallel_for(super_rows, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    double* sums = partials + chunk * period;
    std::fill(sums, sums + period, 0.0);
    const std::int64_t n = std::min(end * period, total) - begin * period;
    HWY_DYNAMIC_DISPATCH(column_sums)(x + begin * period, n, period, scratch<float>(Slot::block_a, period), sums);
  });
  double* sums = partials + chunks * period;
  fold_columns(partials, chunks, period, channels, fold, sums);
  for (std::int64_t c = 0; c < channels; ++c) y[c] = static_cast<float>(factor * sums[c]);
}

void sum_over_rows_f32(const float* x, std::int64_t groups, std::int64_t rows, std::int64_t channels, double factor,
                       float* y) {
  if (groups < 2 * num_threads()) {
    for (std::int64_t g = 0; g < groups; ++g)
      sum_over_rows_f32(x + g * rows * channels, rows, channels, factor, y + g * channels);
    return;
  }
  const Fold fold = fold_channels(channels);
  parallel_for(groups, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, rows * channels)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t g = begin; g < end; ++g)
                   one_group(x + g * rows * channels, rows, channels, fold, factor, y + g * channels);
               });
}

double sum_of_squares_f32(const float* x, std::int64_t n) {
  const int chunks = n == 0 ? 0 : parallel_chunk_count(n, kGrain);
  double* partials = scratch<double>(Slot::partials, (chunks + 1) * 8);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    partials[chunk * 8] = HWY_DYNAMIC_DISPATCH(squares)(x + begin, end - begin);
  });
  double sum = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk * 8];
  return sum;
}

bool all_finite_f32(const float* x, std::int64_t n) {
  const int chunks = n == 0 ? 0 : parallel_chunk_count(n, kGrain);
  double* partials = scratch<double>(Slot::partials, (chunks + 1) * 8);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    partials[chunk * 8] = HWY_DYNAMIC_DISPATCH(finite)(x + begin, end - begin) ? 1 : 0;
  });
  bool good = true;
  for (int chunk = 0; chunk < chunks; ++chunk) good = good && partials[chunk * 8] == 1;
  return good;
}

}  // namespace fovea::kernels::simd
#endif
