// Activations and their derivatives in the operand's own precision: for kernels that fuse one. The formulas are those
// of kernels/reference/activation.h.
#pragma once

#include <cmath>

#include "kernels/activation.h"
#include "kernels/cuda/launch.h"

namespace fovea::kernels::cuda {

template <class T>
FOVEA_HD T sigmoid(T x) {
  const T e = std::exp(-std::fabs(x));
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}
template <class T>
FOVEA_HD T clamp06(T v) {  // NaN stays NaN
  return v < T(0) ? T(0) : v > T(6) ? T(6) : v;
}

template <class T>
FOVEA_HD T activate(Activation kind, T alpha, T x) {
  constexpr T kInvSqrt2 = T(0.70710678118654752440), kSqrt2OverPi = T(0.79788456080286535588);
  switch (kind) {
    case Activation::none: return x;
    case Activation::relu: return x < T(0) ? T(0) : x;
    case Activation::relu6: return clamp06(x);
    case Activation::leaky_relu: return x < T(0) ? alpha * x : x;
    case Activation::sigmoid: return sigmoid(x);
    case Activation::silu: return x * sigmoid(x);
    case Activation::hard_swish: return x * clamp06(x + T(3)) / T(6);
    case Activation::hard_sigmoid: return clamp06(x + T(3)) / T(6);
    case Activation::gelu: return x * T(0.5) * std::erfc(-x * kInvSqrt2);
    case Activation::gelu_tanh: return x * sigmoid(T(2) * kSqrt2OverPi * (x + T(0.044715) * x * x * x));
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

/// f'(x) by the operand.
template <class T>
FOVEA_HD T derivative(Activation kind, T alpha, T x) {
  constexpr T kInvSqrt2 = T(0.70710678118654752440), kInvSqrt2Pi = T(0.39894228040143267794),
              kSqrt2OverPi = T(0.79788456080286535588);
  switch (kind) {
    case Activation::none: return T(1);
    case Activation::relu: return x > T(0) ? T(1) : T(0);
    case Activation::relu6: return x > T(0) && x < T(6) ? T(1) : T(0);
    case Activation::leaky_relu: return x > T(0) ? T(1) : alpha;
    case Activation::sigmoid: return sigmoid(x) * sigmoid(-x);
    case Activation::silu: return sigmoid(x) * (T(1) + x * sigmoid(-x));
    case Activation::hard_swish: return x <= T(-3) ? T(0) : x < T(3) ? (T(2) * x + T(3)) / T(6) : T(1);
    case Activation::hard_sigmoid: return x > T(-3) && x < T(3) ? T(1) / T(6) : T(0);
    case Activation::gelu: return T(0.5) * std::erfc(-x * kInvSqrt2) + x * kInvSqrt2Pi * std::exp(T(-0.5) * x * x);
    case Activation::gelu_tanh: {
      const T u = kSqrt2OverPi * (x + T(0.044715) * x * x * x), s = sigmoid(T(2) * u);
      return s + x * s * sigmoid(T(-2) * u) * T(2) * kSqrt2OverPi * (T(1) + T(3) * T(0.044715) * x * x);
    }
    case Activation::tanh: {
      const T t = std::tanh(x);
      return T(1) - t * t;
    }
  }
  return T(1);
}

/// f'(x) by the result, where derivative_from_result().
template <class T>
FOVEA_HD T derivative_by_result(Activation kind, T alpha, T y) {
  switch (kind) {
    case Activation::relu: return y > T(0) ? T(1) : T(0);
    case Activation::relu6: return y > T(0) && y < T(6) ? T(1) : T(0);
    case Activation::leaky_relu: return y > T(0) ? T(1) : alpha;
    case Activation::sigmoid: return y * (T(1) - y);
    case Activation::tanh: return T(1) - y * y;
    default: return T(1);
  }
}

}  // namespace fovea::kernels::cuda
