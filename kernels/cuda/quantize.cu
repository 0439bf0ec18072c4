// Rounding to the grid of a small integer type and back, for quantisation-aware training; see kernels/quantize.h.
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"

namespace fovea::kernels::cuda {
namespace {

/// To the nearest even integer of the range; NaN becomes the lowest.
template <class T>
FOVEA_HD T rounded(T scaled, T low, T high) {
  return !(scaled > low) ? low : scaled > high ? high : std::rint(scaled);
}

template <class T>
void run_forward(const FakeQuantizeProblem& p) {
  const T *const x = p.x.ptr<T>(), *const scale = p.scale.ptr<T>();
  T* const y = p.y->ptr<T>();
  const T low = T(p.range.low - p.range.zero), high = T(p.range.high - p.range.zero);
  const std::int64_t scales = p.scale.numel();
  for_each(
      "fake_quantize", p.x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const T step = scale[scales == 1 ? 0 : Divided(i, scales).rest];
        y[i] = rounded(x[i] / step, low, high) * step;
      },
      p.x.device.index);
}

template <class T>
void run_backward(const FakeQuantizeProblem& p) {
  const T *const x = p.x.ptr<T>(), *const scale = p.scale.ptr<T>(), *const dy = p.dy.ptr<T>();
  const T low = T(p.range.low - p.range.zero), high = T(p.range.high - p.range.zero);
  const std::int64_t scales = p.scale.numel();
  const int device = p.x.device.index;
  if (p.dscale) {  // before dx, which may be dy
    T* const dscale = p.dscale->ptr<T>();
    reduce_columns<T, 1>(
        "fake_quantize_backward", 1, p.x.numel() / scales, scales,
        [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t c, T(&terms)[1]) {
          const std::int64_t i = row * scales + c;
          const T scaled = x[i] / scale[c], near = rounded(scaled, low, high);
          terms[0] = dy[i] * (std::fabs(scaled - near) <= T(0.5) ? near - scaled : near);
        },
        [=] FOVEA_LAMBDA(std::int64_t c, const double(&sums)[1]) { dscale[c] = static_cast<T>(sums[0]); }, device);
  }
  if (!p.dx) return;
  T* const dx = p.dx->ptr<T>();
  for_each(
      "fake_quantize_backward", p.x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const T scaled = x[i] / scale[scales == 1 ? 0 : Divided(i, scales).rest];
        // Half a step beyond the last integer still rounds to it.
        dx[i] = std::fabs(scaled - rounded(scaled, low, high)) <= T(0.5) ? dy[i] : T(0);
      },
      device);
}

}  // namespace

void fake_quantize_forward(const FakeQuantizeProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_forward<decltype(t)>(p); });
}
void fake_quantize_backward(const FakeQuantizeProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_backward<decltype(t)>(p); });
}

}  // namespace fovea::kernels::cuda
