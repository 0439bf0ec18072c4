// Loops over the columns of a matrix whose rows are `period` floats: the shape all normalisations, broadcasts over
// channels and sums over pixels have. Included once per target.
#if defined(FOVEA_KERNELS_CPU_SIMD_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_CPU_SIMD_COLUMNS_INL_H_
#undef FOVEA_KERNELS_CPU_SIMD_COLUMNS_INL_H_
#else
#define FOVEA_KERNELS_CPU_SIMD_COLUMNS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {

/// f(tag, c) for c = 0, L, 2L, … and then one lane at a time.
template <class F>
HWY_INLINE void each_vector(std::int64_t n, F f) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t c = 0;
  for (; c + lanes <= n; c += lanes) f(d, c);
  for (; c < n; ++c) f(One(), c);
}

/// f(tag, i, c) for each vector of n values in rows of `period`: i is where it lies, c its column.
template <class F>
HWY_INLINE void each_row(std::int64_t n, std::int64_t period, F f) {
  for (std::int64_t start = 0; start < n; start += period) {
    each_vector(std::min(period, n - start), [&](auto d, std::int64_t c) HWY_ATTR { f(d, start + c, c); });
  }
}

/// to[c] += from[c], in double.
HWY_INLINE void add_to_double(const float* from, std::int64_t n, double* to) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(dd));
  std::int64_t c = 0;
  for (; c + lanes <= n; c += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(dd, to + c), hn::PromoteTo(dd, hn::LoadU(df, from + c))), dd, to + c);
  }
  for (; c < n; ++c) to[c] += static_cast<double>(from[c]);
}

/// Rows summed in f32 before a flush to double: 256 rows in four interleaved sums keep the rounding near 2^-24·√64.
inline constexpr std::int64_t kRowsPerFlush = 256;

/// Sums terms over rows into `Sums` arrays of doubles. term(tag, i, c, out) sets out[0..Sums) for the vector at i,
/// column c. acc is Sums·period floats of scratch.
template <int Sums, class Term>
HWY_INLINE void sum_columns(std::int64_t n, std::int64_t period, float* acc, double* const* sums, Term term) {
  const std::int64_t full_rows = n / period;
  const auto zero = [&] { std::fill(acc, acc + Sums * period, 0.0f); };
  const auto flush = [&](std::int64_t columns) HWY_ATTR {
    for (int s = 0; s < Sums; ++s) add_to_double(acc + s * period, columns, sums[s]);
  };
  for (std::int64_t first = 0; first < full_rows; first += kRowsPerFlush) {
    const std::int64_t last = std::min(full_rows, first + kRowsPerFlush);
    zero();
    std::int64_t row = first;
    for (; row + 4 <= last; row += 4) {  // one update of the accumulators for four rows
      const std::int64_t at = row * period;
      each_vector(period, [&](auto d, std::int64_t c) HWY_ATTR {
        using V = hn::Vec<decltype(d)>;
        V a[Sums], b[Sums], e[Sums], f[Sums];
        term(d, at + c, c, a);
        term(d, at + period + c, c, b);
        term(d, at + 2 * period + c, c, e);
        term(d, at + 3 * period + c, c, f);
        for (int s = 0; s < Sums; ++s) {
          float* to = acc + s * period + c;
          const V sum = hn::Add(hn::Add(a[s], b[s]), hn::Add(e[s], f[s]));
          hn::StoreU(hn::Add(hn::LoadU(d, to), sum), d, to);
        }
      });
    }
    for (; row < last; ++row) {
      each_vector(period, [&](auto d, std::int64_t c) HWY_ATTR {
        hn::Vec<decltype(d)> a[Sums];
        term(d, row * period + c, c, a);
        for (int s = 0; s < Sums; ++s) {
          float* to = acc + s * period + c;
          hn::StoreU(hn::Add(hn::LoadU(d, to), a[s]), d, to);
        }
      });
    }
    flush(period);
  }
  const std::int64_t rest = n % period;
  if (rest > 0) {
    zero();
    each_vector(rest, [&](auto d, std::int64_t c) HWY_ATTR {
      hn::Vec<decltype(d)> a[Sums];
      term(d, full_rows * period + c, c, a);
      for (int s = 0; s < Sums; ++s) hn::StoreU(a[s], d, acc + s * period + c);
    });
    flush(rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();
#endif
