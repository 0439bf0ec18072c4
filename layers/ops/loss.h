// Losses as differentiable ops with fused forward and backward passes.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "kernels/loss.h"

namespace fovea {

using kernels::LossReduction;

struct CrossEntropyOptions {
  /// The target becomes (1 − label_smoothing)·target + label_smoothing/C (Szegedy et al. 2016). 0 to 1.
  double label_smoothing = 0;
  /// [C]; undefined: all 1.
  Tensor class_weights = {};
  /// Rows with this label count nowhere, neither in the sum nor in the mean's divisor.
  std::int64_t ignore_index = -100;
  LossReduction reduction = LossReduction::mean;
};

/// Softmax cross-entropy. logits [..., C]; target: class indices (i32 or i64) of shape [...], or distributions [..., C]
/// of the logits' type (soft labels, mixup), which get no gradient. With class indices the mean divides by the sum of
/// the targets' class weights (PyTorch's weighted mean), with distributions by the number of rows; over no rows it is 0
/// (PyTorch: NaN). Result: a scalar, or [...] for LossReduction::none. Error{usage} naming the row for a label outside
/// 0 … C−1.
FOVEA_API Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {});

struct BinaryCrossEntropyOptions {
  /// Factor of the positive term for each entry of the last axis, [C]; undefined: 1.
  Tensor pos_weight = {};
  LossReduction reduction = LossReduction::mean;
};

/// Sigmoid cross-entropy of logits and targets in [0, 1] of the same shape and type (multi-label). The mean is over
/// elements.
FOVEA_API Tensor binary_cross_entropy(const Tensor& logits, const Tensor& target,
                                      const BinaryCrossEntropyOptions& options = {});

struct FocalOptions {
  double gamma = 2;           ///< 0 is cross-entropy; at least 0
  Tensor class_weights = {};  ///< alpha per class, [C]; the mean divides by their sum as in cross_entropy()
  std::int64_t ignore_index = -100;
  LossReduction reduction = LossReduction::mean;
};
/// −w[y]·(1 − p[y])^gamma·log p[y] with p = softmax(logits) and class indices y (Lin et al. 2017, for exclusive
/// classes).
FOVEA_API Tensor focal_loss(const Tensor& logits, const Tensor& target, const FocalOptions& options = {});

struct SigmoidFocalOptions {
  double gamma = 2;
  double alpha = 0.25;  ///< weight of positives, 1 − alpha of negatives; negative: none
  LossReduction reduction = LossReduction::mean;
};
/// Focal loss per element of logits and targets in [0, 1] of the same shape (multi-label; torchvision's
/// sigmoid_focal_loss).
FOVEA_API Tensor sigmoid_focal_loss(const Tensor& logits, const Tensor& target,
                                    const SigmoidFocalOptions& options = {});

/// Mean (or sum, or each) of (x − target)². Both may have gradients.
FOVEA_API Tensor mean_squared_error(const Tensor& x, const Tensor& target,
                                    LossReduction reduction = LossReduction::mean);

}  // namespace fovea
