// Softmax and its logarithm over rows, forward and backward. A row stays in the L1 cache between its three passes; the
// exponential bounds the speed.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/softmax.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/elementwise_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

/// Σ term(tag, i) over [0, n): f32 within 512 terms per lane, double beyond.
template <class Term>
HWY_INLINE double sum_of(std::int64_t n, Term term) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  double total = 0;
  std::int64_t i = 0;
  while (i + lanes <= n) {
    auto sum = hn::Zero(d);
    for (int k = 0; k < 512 && i + lanes <= n; ++k, i += lanes) sum = hn::Add(sum, term(d, i));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
  for (; i < n; ++i) total += static_cast<double>(hn::GetLane(term(One(), i)));
  return total;
}

HWY_INLINE float greatest(const float* x, std::int64_t n) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  float best = x[0];
  std::int64_t i = 0;
  if (n >= lanes) {
    auto m = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) m = hn::Max(m, hn::LoadU(d, x + i));
    best = hn::GetLane(hn::MaxOfLanes(d, m));
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

void softmax(bool log, const float* x, float* y, std::int64_t rows, std::int64_t classes) {
  for (std::int64_t r = 0; r < rows; ++r, x += classes, y += classes) {
    const float top = greatest(x, classes);
    const auto power = [&](auto d, std::int64_t i)
                           HWY_ATTR { return exp(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, top))); };
    if (log) {
      const double sum = sum_of(classes, power);
      const auto shift = static_cast<float>(std::log(sum));
      each_vector(classes, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::Sub(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, top)), hn::Set(d, shift)), d, y + i);
      });
      continue;
    }
    const double sum = sum_of(classes, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto e = power(d, i);
      hn::StoreU(e, d, y + i);
      return e;
    });
    const auto scale = static_cast<float>(1 / sum);
    each_vector(classes, [&](auto d, std::int64_t i)
                             HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Set(d, scale)), d, y + i); });
  }
}

void softmax_backward(bool log, const float* y, const float* dy, float* dx, std::int64_t rows, std::int64_t classes) {
  for (std::int64_t r = 0; r < rows; ++r, y += classes, dy += classes, dx += classes) {
    if (log) {
      const auto sum =
          static_cast<float>(sum_of(classes, [&](auto d, std::int64_t i) HWY_ATTR { return hn::LoadU(d, dy + i); }));
      each_vector(classes, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::NegMulAdd(exp(d, hn::LoadU(d, y + i)), hn::Set(d, sum), hn::LoadU(d, dy + i)), d, dx + i);
      });
      continue;
    }
    const auto sum = static_cast<float>(sum_of(
        classes, [&](auto d, std::int64_t i) HWY_ATTR { return hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, y + i)); }));
    each_vector(classes, [&](auto d, std::int64_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Sub(hn::LoadU(d, dy + i), hn::Set(d, sum))), d, dx + i);
    });
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(softmax);
HWY_EXPORT(softmax_backward);

void softmax_f32(bool log, const float* x, float* y, std::int64_t rows, std::int64_t classes) {
  HWY_DYNAMIC_DISPATCH(softmax)(log, x, y, rows, classes);
}
void softmax_backward_f32(bool log, const float* y, const float* dy, float* dx, std::int64_t rows,
                          std::int64_t classes) {
  HWY_DYNAMIC_DISPATCH(softmax_backward)(log, y, dy, dx, rows, classes);
}

}  // namespace fovea::kernels::simd
#endif
