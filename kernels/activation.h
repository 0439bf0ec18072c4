// Pointwise activations, and the code by which other kernels (bias, batch norm, dense) fuse one into their last step.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/view.h"

namespace fovea::kernels {

enum class Activation : std::uint8_t {
  none,
  relu,          ///< max(x, 0)
  relu6,         ///< min(max(x, 0), 6)
  leaky_relu,    ///< x > 0 ? x : alpha·x
  sigmoid,       ///< 1/(1+e^-x)
  silu,          ///< x·sigmoid(x) (swish)
  hard_swish,    ///< x·relu6(x+3)/6 (MobileNetV3, Howard et al. 2019)
  hard_sigmoid,  ///< relu6(x+3)/6 (PyTorch and Keras 3)
  gelu,          ///< x·Φ(x), exact with erf
  gelu_tanh,     ///< its tanh approximation (Hendrycks and Gimpel 2016)
  tanh,
};
FOVEA_API std::string_view to_string(Activation a);
/// Error{format} for an unknown name.
FOVEA_API Activation activation_from(std::string_view name);
/// True if the derivative can be told from the result alone, so that the operand need not be kept: none, relu, relu6,
/// leaky_relu (alpha > 0), sigmoid, tanh.
FOVEA_API bool derivative_from_result(Activation a);

struct ActivationParams {
  Activation kind = Activation::relu;
  double alpha = 0.01;  ///< slope of leaky_relu for x < 0
};

/// y = f(x); same shape; y may be x. f32 or f64.
FOVEA_API void activation_forward(const ActivationParams&, ConstView x, View y);
/// dx = dy·f'(x); dx may be dy. Reads x where derivative_from_result() is false, y otherwise (the other may have no
/// data). At kinks the derivative is that of the left side (PyTorch and TensorFlow: relu'(0) = 0, relu6'(6) = 0).
FOVEA_API void activation_backward(const ActivationParams&, ConstView x, ConstView y, ConstView dy, View dx);

}  // namespace fovea::kernels
