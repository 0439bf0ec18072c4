// Activations and their derivatives as their definitions read. The oracle for every faster implementation.
#pragma once

#include <cmath>

#include "core/threads/parallel.h"
#include "kernels/activation.h"

namespace fovea::kernels::reference {

inline constexpr double kInvSqrt2 = 0.70710678118654752440;
inline constexpr double kInvSqrt2Pi = 0.39894228040143267794;
inline constexpr double kSqrt2OverPi = 0.79788456080286535588;

/// 1/(1+e^-x) without overflow on either side.
inline double sigmoid(double x) {
  const double e = std::exp(-std::fabs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

/// f(x). Comparisons are written so that NaN stays NaN.
inline double activate(const ActivationParams& params, double x) {
  const auto clamp06 = [](double v) { return v < 0 ? 0.0 : v > 6 ? 6.0 : v; };
  switch (params.kind) {
    case Activation::none: return x;
    case Activation::relu: return x < 0 ? 0 : x;
    case Activation::relu6: return clamp06(x);
    case Activation::leaky_relu: return x < 0 ? params.alpha * x : x;
    case Activation::sigmoid: return sigmoid(x);
    case Activation::silu: return x * sigmoid(x);
    case Activation::hard_swish: return x * clamp06(x + 3) / 6;
    case Activation::hard_sigmoid: return clamp06(x + 3) / 6;
    case Activation::gelu: return x * 0.5 * std::erfc(-x * kInvSqrt2);
    // (1 + tanh u)/2 is sigmoid(2u), which does not cancel far on the left.
    case Activation::gelu_tanh: return x * sigmoid(2 * kSqrt2OverPi * (x + 0.044715 * x * x * x));
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

/// f'(x) by the operand.
inline double derivative(const ActivationParams& params, double x) {
  switch (params.kind) {
    case Activation::none: return 1;
    case Activation::relu: return x > 0 ? 1 : 0;
    case Activation::relu6: return x > 0 && x < 6 ? 1 : 0;
    case Activation::leaky_relu: return x > 0 ? 1 : params.alpha;
    case Activation::sigmoid: return sigmoid(x) * sigmoid(-x);
    case Activation::silu: return sigmoid(x) * (1 + x * sigmoid(-x));
    case Activation::hard_swish: return x <= -3 ? 0 : x < 3 ? (2 * x + 3) / 6 : 1;
    case Activation::hard_sigmoid: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    case Activation::gelu: return 0.5 * std::erfc(-x * kInvSqrt2) + x * kInvSqrt2Pi * std::exp(-0.5 * x * x);
    case Activation::gelu_tanh: {
      const double u = kSqrt2OverPi * (x + 0.044715 * x * x * x), s = sigmoid(2 * u);
      return s + x * s * sigmoid(-2 * u) * 2 * kSqrt2OverPi * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::tanh: {
      const double t = std::tanh(x);
      return 1 - t * t;
    }
  }
  return 1;
}

/// f'(x) by the result y = f(x), where derivative_from_result().
inline double derivative_by_result(const ActivationParams& params, double y) {
  switch (params.kind) {
    case Activation::relu: return y > 0 ? 1 : 0;
    case Activation::relu6: return y > 0 && y < 6 ? 1 : 0;
    case Activation::leaky_relu: return y > 0 ? 1 : params.alpha;
    case Activation::sigmoid: return y * (1 - y);
    case Activation::tanh: return 1 - y * y;
    default: return 1;
  }
}

inline constexpr std::int64_t kElementGrain = 1 << 14;

template <class T>
void activation_forward(const ActivationParams& params, const T* x, T* y, std::int64_t count) {
  parallel_for(count, kElementGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<T>(activate(params, x[i]));
  });
}

/// @param operand y where derivative_from_result(params.kind), x otherwise
template <class T>
void activation_backward(const ActivationParams& params, const T* operand, const T* dy, T* dx, std::int64_t count) {
  const bool by_result = derivative_from_result(params.kind);
  parallel_for(count, kElementGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      dx[i] = static_cast<T>(dy[i] *
                             (by_result ? derivative_by_result(params, operand[i]) : derivative(params, operand[i])));
    }
  });
}

}  // namespace fovea::kernels::reference
