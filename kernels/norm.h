// Normalisations over NHWC: batch norm (Ioffe and Szegedy 2015), layer norm (Ba et al. 2016), group norm (Wu and He
// 2018).
#pragma once

#include "kernels/activation.h"

namespace fovea::kernels {

/// Batch norm over all axes but the last, with an activation fused behind it. gamma and beta [C] are optional (Keras'
/// scale and center). mean and inv_std [C] are those of the batch; variance there is biased. f32 or f64; sums are kept
/// in double or in blocks flushed to double, so that 128·28·28 values lose no accuracy.
struct BatchNormParams {
  double epsilon = 1e-5;
  ActivationParams activation{Activation::none};
};
/// Training: computes the batch's mean and biased variance and y = act(gamma·(x−mean)·inv_std + beta).
FOVEA_API void batch_norm_training(const BatchNormParams&, ConstView x, OptionalView gamma, OptionalView beta, View y,
                                   View mean, View variance);
/// With given statistics (inference, frozen).
FOVEA_API void batch_norm_inference(const BatchNormParams&, ConstView x, OptionalView gamma, OptionalView beta,
                                    ConstView mean, ConstView variance, View y);
/// Gradients through batch statistics. Recomputes the activation's operand from x, so nothing but x and the statistics
/// is kept. dgamma, dbeta optional. dx may be dy.
FOVEA_API void batch_norm_training_backward(const BatchNormParams&, ConstView x, ConstView dy, OptionalView gamma,
                                            OptionalView beta, ConstView mean, ConstView variance,
                                            std::optional<View> dx, std::optional<View> dgamma,
                                            std::optional<View> dbeta);
/// Gradients with constant statistics (frozen).
FOVEA_API void batch_norm_inference_backward(const BatchNormParams&, ConstView x, ConstView dy, OptionalView gamma,
                                             OptionalView beta, ConstView mean, ConstView variance,
                                             std::optional<View> dx, std::optional<View> dgamma,
                                             std::optional<View> dbeta);

// ---- batch norm of a batch in parts: what each part gives to sums over all of them, and what the sums give back
/// A part's statistics [C] of `rows` rows as what adds up: sums [2C + 1], f64, get rows·mean, then
/// rows·(variance + mean²), then rows. With no rows mean and variance are not read.
FOVEA_API void batch_moments(ConstView mean, ConstView variance, std::int64_t rows, View sums);
/// Back from the moments of all parts, of at least one row.
FOVEA_API void batch_statistics(ConstView sums, View mean, View variance);
/// What the gradient of a part's x gets through the statistics: dx [..., C] −= gamma·inv_std·(Σg + x̂·Σ(g·x̂)) / rows,
/// with rows and sums [2C], Σ(g·x̂) first, of all parts. To be added to batch_norm_inference_backward's.
FOVEA_API void batch_norm_parts_backward(double epsilon, ConstView x, OptionalView gamma, ConstView mean,
                                         ConstView variance, ConstView sums, std::int64_t rows, View dx);

/// Over the last axis: x [..., C], gamma and beta [C]; mean and inv_std hold one value per row (numel/C).
FOVEA_API void layer_norm_forward(double epsilon, ConstView x, OptionalView gamma, OptionalView beta, View y, View mean,
                                  View inv_std);
FOVEA_API void layer_norm_backward(ConstView x, ConstView dy, OptionalView gamma, ConstView mean, ConstView inv_std,
                                   View dx, std::optional<View> dgamma, std::optional<View> dbeta);
/// Over H, W and C/groups channels of each sample of x [N,H,W,C]; mean and inv_std [N,groups].
FOVEA_API void group_norm_forward(int groups, double epsilon, ConstView x, OptionalView gamma, OptionalView beta,
                                  View y, View mean, View inv_std);
FOVEA_API void group_norm_backward(int groups, ConstView x, ConstView dy, OptionalView gamma, ConstView mean,
                                   ConstView inv_std, View dx, std::optional<View> dgamma, std::optional<View> dbeta);

}  // namespace fovea::kernels
