// Vector functions for each target: exponential, sigmoid, tanh, error function, activations and their derivatives.
// Included once per target by the files that use foreach_target. Every function gives a lane the same result whatever
// the vector's length, so that vector body and one-lane tail agree and results do not depend on where a chunk begins.
#if defined(FOVEA_KERNELS_CPU_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_CPU_SIMD_MATH_INL_H_
#undef FOVEA_KERNELS_CPU_SIMD_MATH_INL_H_
#else
#define FOVEA_KERNELS_CPU_SIMD_MATH_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;

/// e^x, 1 ulp. Highway's is 0 at NaN (it would hide one from the trainer) and undefined above 104.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp(D d, V x) {
  const V infinite = hn::Set(d, 3.402823466e+38f);
  V y = hn::Exp(d, hn::IfThenElse(hn::Lt(x, hn::Set(d, 88.7228f)), x, hn::Set(d, 88.7228f)));
  y = hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.7228f)), hn::Add(infinite, infinite), y);
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

/// e^z for |z| ≤ 88, 1.3 ulp; anything for NaN. 2^n·e^f with f = z − n·ln 2: 1 + f + f²·q(f), q a fit of our own (least
/// squares driven to equal ripple, 3e-9). Half of Highway's time, whose exponential covers all numbers.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_within_88(D d, V z) {
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, 12582912.0f);  // 1.5·2^23: the sum's low bits are the rounded integer
  const V shifted = hn::MulAdd(z, hn::Set(d, 1.44269504f), magic);
  const V n = hn::Sub(shifted, magic);
  V f = hn::NegMulAdd(n, hn::Set(d, 0.693145752f), z);  // ln 2 in two parts; n times the first is exact
  f = hn::NegMulAdd(n, hn::Set(d, 1.42860677e-06f), f);
  V q = hn::Set(d, 0.00138145941f);
  q = hn::MulAdd(q, f, hn::Set(d, 0.00836871937f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.041668389f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.166665211f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.49999994f));
  const V p = hn::Add(hn::MulAdd(hn::Mul(f, f), q, f), hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

/// 1/(1+e^-x), 3 ulp, 0 below −88 (where it is no normal number): x·sigmoid(x) must vanish there, whatever x is.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f), bound = hn::Set(d, 88.0f);
  const V z = hn::Max(hn::Neg(bound), hn::Min(bound, hn::Neg(x)));
  const V s = hn::Div(one, hn::Add(one, exp_within_88(d, z)));
  return hn::IfThenElse(hn::Eq(x, x), hn::IfThenElseZero(hn::Ge(x, hn::Neg(bound)), s), x);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh(D d, V x) {
  // Highway's exponential inside is asked beyond its range from 44 on, where tanh has long been 1.
  const V t = hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 20.0f)), hn::Tanh(d, x), hn::CopySign(hn::Set(d, 1.0f), x));
  return hn::IfThenElse(hn::Eq(x, x), t, x);
}

/// erf(x). Two fits of our own (weighted least squares driven to equal ripple): x + x·P(x²) below 0.94, 1 − e^(−x +
/// x·Q(x)) above. At most 1.2 ulp, measured on every f32 up to 4.1 with multiply-add and on every 97th without;
/// tests/kernels check what GELU makes of it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V erf(D d, V x) {
  const V a = hn::Abs(x);
  const V s = hn::Mul(x, x);
  V p = hn::Set(d, 8.215513418e-05f);
  p = hn::MulAdd(p, s, hn::Set(d, -8.105991293e-04f));
  p = hn::MulAdd(p, s, hn::Set(d, 5.197800101e-03f));
  p = hn::MulAdd(p, s, hn::Set(d, -2.685810586e-02f));
  p = hn::MulAdd(p, s, hn::Set(d, 1.128367259e-01f));
  p = hn::MulAdd(p, s, hn::Set(d, -3.761263229e-01f));
  p = hn::MulAdd(p, s, hn::Set(d, 1.283791665e-01f));
  const V near = hn::MulAdd(p, x, x);
  // erf is 1 in f32 from 3.92 on; the fit ends at 4.
  const V t = hn::IfThenElse(hn::Lt(a, hn::Set(d, 4.0f)), a, hn::Set(d, 4.0f));
  V q = hn::Set(d, -1.188533497e-05f);
  q = hn::MulAdd(q, t, hn::Set(d, 3.293080900e-04f));
  q = hn::MulAdd(q, t, hn::Set(d, -3.668719992e-03f));
  q = hn::MulAdd(q, t, hn::Set(d, 2.381718629e-02f));
  q = hn::MulAdd(q, t, hn::Set(d, -1.063003613e-01f));
  q = hn::MulAdd(q, t, hn::Set(d, -6.351132527e-01f));
  q = hn::MulAdd(q, t, hn::Set(d, -1.286577818e-01f));
  const V far = hn::Sub(hn::Set(d, 1.0f), hn::Exp(d, hn::MulSub(q, t, t)));
  const V r = hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.94f)), near, hn::CopySign(far, x));
  return hn::IfThenElse(hn::Eq(x, x), r, x);
}

// Activations: operator()(d, x). NaN stays NaN.
struct Identity {
  template <class D, class V>
  HWY_INLINE V operator()(D, V x) const {
    return x;
  }
};
struct Relu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::IfThenElse(hn::Le(x, hn::Zero(d)), hn::Zero(d), x);
  }
};
struct Relu6 {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    const V six = hn::Set(d, 6.0f);
    return hn::IfThenElse(hn::Gt(x, six), six, Relu()(d, x));
  }
};
struct LeakyRelu {
  float alpha;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, hn::Set(d, alpha)));
  }
};
struct Sigmoid {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return sigmoid(d, x);
  }
};
struct Silu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(x, sigmoid(d, x));
  }
};
struct HardSigmoid {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(Relu6()(d, hn::Add(x, hn::Set(d, 3.0f))), hn::Set(d, 1.0f / 6));
  }
};
struct HardSwish {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(x, HardSigmoid()(d, x));
  }
};
struct Gelu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    const V half = hn::Mul(x, hn::Set(d, 0.5f));
    return hn::MulAdd(half, erf(d, hn::Mul(x, hn::Set(d, 0.7071067811865475f))), half);
  }
};
struct GeluTanh {
  static constexpr float kScale = 0.7978845608028654f;  // √(2/π)
  static constexpr float kCube = 0.044715f;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(x, sigmoid(d, twice_inner(d, x)));  // (1 + tanh u)/2 = sigmoid(2u)
  }
  template <class D, class V>
  static HWY_INLINE V twice_inner(D d, V x) {
    return hn::Mul(hn::Mul(x, hn::Set(d, 2 * kScale)), hn::MulAdd(hn::Mul(x, x), hn::Set(d, kCube), hn::Set(d, 1.0f)));
  }
};
struct Tanh {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return tanh(d, x);
  }
};

// Gradients: operator()(d, s, dy) = dy·f'(s), where s is the result for relu, relu6, leaky_relu, sigmoid, tanh and the
// operand for the others. At kinks as activation.h says.
struct ReluGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V y, V dy) const {
    return hn::IfThenElseZero(hn::Gt(y, hn::Zero(d)), dy);
  }
};
struct Relu6Grad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V y, V dy) const {
    return hn::IfThenElseZero(hn::And(hn::Gt(y, hn::Zero(d)), hn::Lt(y, hn::Set(d, 6.0f))), dy);
  }
};
struct LeakyReluGrad {
  float alpha;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V y, V dy) const {
    return hn::IfThenElse(hn::Gt(y, hn::Zero(d)), dy, hn::Mul(dy, hn::Set(d, alpha)));
  }
};
struct SigmoidGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V y, V dy) const {
    return hn::Mul(dy, hn::Mul(y, hn::Sub(hn::Set(d, 1.0f), y)));
  }
};
struct TanhGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V y, V dy) const {
    return hn::Mul(dy, hn::NegMulAdd(y, y, hn::Set(d, 1.0f)));
  }
};
struct SiluGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V dy) const {
    const V one = hn::Set(d, 1.0f);
    const V s = sigmoid(d, x);
    return hn::Mul(dy, hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one)));
  }
};
struct HardSigmoidGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V dy) const {
    const V three = hn::Set(d, 3.0f);
    const auto inside = hn::And(hn::Gt(x, hn::Neg(three)), hn::Lt(x, three));
    return hn::IfThenElseZero(inside, hn::Mul(dy, hn::Set(d, 1.0f / 6)));
  }
};
struct HardSwishGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V dy) const {
    const V three = hn::Set(d, 3.0f);
    const V inner = hn::Mul(dy, hn::MulAdd(x, hn::Set(d, 1.0f / 3), hn::Set(d, 0.5f)));
    return hn::IfThenZeroElse(hn::Le(x, hn::Neg(three)), hn::IfThenElse(hn::Ge(x, three), dy, inner));
  }
};
struct GeluGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V dy) const {
    const V half = hn::Set(d, 0.5f);
    const V phi = hn::MulAdd(half, erf(d, hn::Mul(x, hn::Set(d, 0.7071067811865475f))), half);
    const V density = hn::Mul(hn::Set(d, 0.3989422804014327f), exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f))));
    return hn::Mul(dy, hn::MulAdd(x, density, phi));
  }
};
struct GeluTanhGrad {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V dy) const {
    // With s = sigmoid(2u): s + x·s·(1−s)·2u', where s·(1−s) = e/(1+e)² with e = e^-|2u| cancels nowhere.
    const V one = hn::Set(d, 1.0f);
    const V u = GeluTanh::twice_inner(d, x);
    const V magnitude = hn::Abs(u);
    const V e = hn::Exp(d, hn::Neg(hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 88.0f)), magnitude, hn::Set(d, 88.0f))));
    const V q = hn::Div(one, hn::Add(one, e));
    const V p = hn::Mul(e, q);
    const V s = hn::IfThenElse(hn::Lt(u, hn::Zero(d)), p, q);
    const V slope =
        hn::Mul(hn::Set(d, 2 * GeluTanh::kScale), hn::MulAdd(hn::Mul(x, x), hn::Set(d, 3 * GeluTanh::kCube), one));
    // The second term is nothing from |2u| = 88 on, where its factors run from 0 to infinity.
    const V bell = hn::IfThenElseZero(hn::Lt(magnitude, hn::Set(d, 88.0f)), hn::Mul(hn::Mul(hn::Mul(x, slope), p), q));
    return hn::Mul(dy, hn::Add(bell, hn::IfThenElse(hn::Eq(x, x), s, x)));
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();
#endif
