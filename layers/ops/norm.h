// Normalisations as differentiable ops.
#pragma once

#include "core/tensor.h"
#include "layers/ops/params.h"

namespace fovea {

/// How a batch norm computes and remembers statistics. The defaults are PyTorch's.
struct BatchNormOptions {
  double epsilon = 1e-5;
  /// Weight of the new batch: running = (1 − momentum)·running + momentum·batch. Keras' momentum 0.99 is 0.01 here.
  double momentum = 0.1;
  /// The running variance takes the batch's variance with divisor n − 1 (PyTorch) or n (Keras). Normalising always uses
  /// n.
  bool unbiased_running_variance = true;
  /// Uses the running statistics and leaves them alone, in training mode too.
  bool frozen = false;
  ActivationParams activation = kNoActivation;  ///< fused behind it

  /// Keras: epsilon 1e-3, momentum 0.99, biased running variance.
  static BatchNormOptions keras() {
    BatchNormOptions options;
    options.epsilon = 1e-3;
    options.momentum = 0.01;
    options.unbiased_running_variance = false;
    return options;
  }
};

/// Batch norm over all axes but the last (Ioffe and Szegedy 2015). x [..., C]; gamma and beta [C], each may be
/// undefined (1 and 0); running_mean and running_variance [C]. Inside a TrainingMode and not frozen it normalises with
/// the batch's mean and biased variance and, if the mode says so, updates the running statistics in place; otherwise it
/// uses the running ones. A batch without elements leaves the running statistics as they are.
FOVEA_API Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                            const Tensor& running_variance, const BatchNormOptions& options = {});

/// Over the last axis (Ba et al. 2016). gamma and beta [C] may be undefined.
FOVEA_API Tensor layer_norm(const Tensor& x, const Tensor& gamma = {}, const Tensor& beta = {}, double epsilon = 1e-5);

/// Over H, W and C/groups channels of each sample (Wu and He 2018). x [N,H,W,C]; gamma and beta [C] may be undefined.
FOVEA_API Tensor group_norm(const Tensor& x, int groups, const Tensor& gamma = {}, const Tensor& beta = {},
                            double epsilon = 1e-5);

}  // namespace fovea
