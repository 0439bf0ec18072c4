// Activations, backward: two loads and one store per element.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/activation_backward.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

struct IdentityGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D, V, V dy) const {
    return dy;
  }
};

template <class F>
HWY_INLINE void map(const float* s, const float* dy, float* dx, std::int64_t n, F f) {
  const Full d;
  const One one;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = f(d, hn::LoadU(d, s + i), hn::LoadU(d, dy + i));
    const auto b = f(d, hn::LoadU(d, s + i + lanes), hn::LoadU(d, dy + i + lanes));
    hn::StoreU(a, d, dx + i);
    hn::StoreU(b, d, dx + i + lanes);
  }
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, s + i), hn::LoadU(d, dy + i)), d, dx + i);
  for (; i < n; ++i) hn::StoreU(f(one, hn::LoadU(one, s + i), hn::LoadU(one, dy + i)), one, dx + i);
}

void backward(Activation kind, float alpha, const float* s, const float* dy, float* dx, std::int64_t n) {
  switch (kind) {
    case Activation::none: return map(dy, dy, dx, n, IdentityGrad());
    case Activation::relu: return map(s, dy, dx, n, ReluGrad());
    case Activation::relu6: return map(s, dy, dx, n, Relu6Grad());
    case Activation::leaky_relu: return map(s, dy, dx, n, LeakyReluGrad{alpha});
    case Activation::sigmoid: return map(s, dy, dx, n, SigmoidGrad());
    case Activation::silu: return map(s, dy, dx, n, SiluGrad());
    case Activation::hard_swish: return map(s, dy, dx, n, HardSwishGrad());
    case Activation::hard_sigmoid: return map(s, dy, dx, n, HardSigmoidGrad());
    case Activation::gelu: return map(s, dy, dx, n, GeluGrad());
    case Activation::gelu_tanh: return map(s, dy, dx, n, GeluTanhGrad());
    case Activation::tanh: return map(s, dy, dx, n, TanhGrad());
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(backward);

void activation_backward_f32(Activation kind, float alpha, const float* source, const float* dy, float* dx,
                             std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(backward)(kind, alpha, source, dy, dx, n);
}

}  // namespace fovea::kernels::simd
#endif
