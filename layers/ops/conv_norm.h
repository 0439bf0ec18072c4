// Convolution with the batch norm behind it, trained as one (kernels/conv_norm.h): its result is not normalised yet,
// the layer that reads it does that. Made from captured passes by layers/fused; nobody needs to call
// these directly, and no file holds them.
#pragma once

#include "core/graph/op.h"
#include "layers/ops/norm.h"

namespace fovea {

/// A value as a conv_norm leaves it: z = act((y − mean)·scale + beta) by channel, or y itself without the other three.
///
/// Gradients of scale and beta are what they seem. That of y is, by agreement, the gradient g of the normalised value
/// (behind its activation's mask): what the normalisation makes of it, dy = scale·g + …, is the business of the op that
/// made y, which knows the statistics.
struct Unnormalized {
  Tensor y, mean, scale, beta;
  ActivationParams activation = kNoActivation;  ///< none, relu, relu6, hard_swish, silu

  bool lazy() const { return mean.defined(); }
};

struct ConvNormOptions {
  Conv2dParams conv;
  BatchNormOptions norm;     ///< its activation is the result's
  DType dtype = DType::f32;  ///< of the result: f32 or bf16
};

/// conv2d and batch_norm: bias, gamma, beta, running_mean, running_variance as there. A bias has no effect on batch
/// statistics' results, only on the running mean, and no gradient then. In training mode and not frozen the
/// batch's statistics normalise, and the running ones are updated if the mode says so.
FOVEA_API Unnormalized conv_norm(const Unnormalized& x, const Tensor& w, const Tensor& bias, const Tensor& gamma,
                                 const Tensor& beta, const Tensor& running_mean, const Tensor& running_variance,
                                 const ConvNormOptions& options);

/// The value itself: act((y − mean)·scale + beta + residual); residual, of y's type, may be undefined, and with one the
/// activation is none, relu or relu6. `dtype` f32, or y's type.
FOVEA_API Tensor normalize(const Unnormalized& x, const Tensor& residual, DType dtype);

/// x, of a floating type, in another one; its gradient comes back in x's type.
FOVEA_API Tensor cast(const Tensor& x, DType dtype);

}  // namespace fovea
