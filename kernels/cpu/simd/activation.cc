// Activations, forward: one load and one store per element. ReLU and ReLU6 run at memory bandwidth; the others at
//
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/activation.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

template <class F>
HWY_INLINE void map(const float* x, float* y, std::int64_t n, F f) {
  const Full d;
  const One one;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {  // two at once hide the latency of the polynomials
    const auto a = f(d, hn::LoadU(d, x + i));
    const auto b = f(d, hn::LoadU(d, x + i + lanes));
    hn::StoreU(a, d, y + i);
    hn::StoreU(b, d, y + i + lanes);
  }
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, x + i)), d, y + i);
  for (; i < n; ++i) hn::StoreU(f(one, hn::LoadU(one, x + i)), one, y + i);
}

void forward(Activation kind, float alpha, const float* x, float* y, std::int64_t n) {
  switch (kind) {
    case Activation::none: return map(x, y, n, Identity());
    case Activation::relu: return map(x, y, n, Relu());
    case Activation::relu6: return map(x, y, n, Relu6());
    case Activation::leaky_relu: return map(x, y, n, LeakyRelu{alpha});
    case Activation::sigmoid: return map(x, y, n, Sigmoid());
    case Activation::silu: return map(x, y, n, Silu());
    case Activation::hard_swish: return map(x, y, n, HardSwish());
    case Activation::hard_sigmoid: return map(x, y, n, HardSigmoid());
    case Activation::gelu: return map(x, y, n, Gelu());
    case Activation::gelu_tanh: return map(x, y, n, GeluTanh());
    case Activation::tanh: return map(x, y, n, Tanh());
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(forward);

void activation_forward_f32(Activation kind, float alpha, const float* x, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(forward)(kind, alpha, x, y, n);
}

}  // namespace fovea::kernels::simd
#endif
