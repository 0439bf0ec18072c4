// Pointwise activations as differentiable ops. All keep the operand's shape.
#pragma once

#include "core/tensor.h"
#include "layers/ops/params.h"

namespace fovea {

/// The activation of that kind; x itself for Activation::none. Error{usage} for a negative slope of leaky_relu.
FOVEA_API Tensor activation(const Tensor& x, ActivationParams params);

/// max(x, 0); derivative 0 at 0.
FOVEA_API Tensor relu(const Tensor& x);
/// min(max(x, 0), 6); derivative 0 at 0 and 6.
FOVEA_API Tensor relu6(const Tensor& x);
/// x > 0 ? x : alpha·x, alpha ≥ 0.
FOVEA_API Tensor leaky_relu(const Tensor& x, double alpha = 0.01);
/// 1/(1+e^-x)
FOVEA_API Tensor sigmoid(const Tensor& x);
/// x·sigmoid(x) (swish)
FOVEA_API Tensor silu(const Tensor& x);
/// x·relu6(x+3)/6
FOVEA_API Tensor hard_swish(const Tensor& x);
/// relu6(x+3)/6
FOVEA_API Tensor hard_sigmoid(const Tensor& x);
/// x·Φ(x), exactly with erf, or by its tanh approximation.
FOVEA_API Tensor gelu(const Tensor& x, bool tanh_approximation = false);
FOVEA_API Tensor tanh(const Tensor& x);

}  // namespace fovea
