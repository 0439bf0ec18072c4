// Losses with their reduction and gradient in one pass each. Logits are few (batch × classes), so there is one
// implementation: it computes in double whatever the element type, row by row in order, so that the result does not
// depend on the thread count.
#pragma once

#include <cstdint>

#include "core/view.h"

namespace fovea::kernels {

/// What becomes of the losses of samples (or elements): their (weighted) mean, their sum, or each of them.
enum class LossReduction : std::uint8_t { mean, sum, none };

/// −Σ_j w_j·q_j·log softmax(z)_j with q = (1−label_smoothing)·target + label_smoothing/C and class weights w (1 where
/// absent). Targets are class indices (i32 or i64, a shape like the logits' without the last axis) or distributions
/// (the logits' shape and type). Rows whose index is ignore_index count nowhere. The mean divides by Σ w[target] over
/// the rows that count for indices (PyTorch's weighted mean) and by the number of rows for distributions; over no rows
/// at all it is 0, with gradient 0.
struct CrossEntropyParams {
  double label_smoothing = 0;
  std::int64_t ignore_index = -100;
  LossReduction reduction = LossReduction::mean;
  /// Focal loss (Lin et al. 2017) of class indices: each row is multiplied by (1 − p[target])^gamma. Not with
  /// label_smoothing.
  double focal_gamma = 0;
};
/// logits [..., C]; loss: a scalar, or [...] where reduction is none. Error{usage} for an index outside 0 … C−1.
FOVEA_API void cross_entropy_forward(const CrossEntropyParams&, ConstView logits, ConstView target,
                                     OptionalView class_weights, View loss);
FOVEA_API void cross_entropy_backward(const CrossEntropyParams&, ConstView logits, ConstView target,
                                      OptionalView class_weights, ConstView dloss, View dlogits);

/// Per element with p = sigmoid(z) and target y in [0, 1]: −(pos_weight·y·log p + (1−y)·log(1−p)); pos_weight [C] along
/// the last axis. With focal_gamma it is multiplied by (1 − p_t)^gamma, p_t = p·y + (1−p)·(1−y), and with focal_alpha ≥
/// 0 by alpha·y + (1−alpha)·(1−y) (Lin et al. 2017). The mean is over elements.
struct BinaryCrossEntropyParams {
  LossReduction reduction = LossReduction::mean;
  double focal_gamma = 0;
  double focal_alpha = -1;
};
/// target: logits' shape and type. loss: a scalar, or the logits' shape where reduction is none.
FOVEA_API void binary_cross_entropy_forward(const BinaryCrossEntropyParams&, ConstView logits, ConstView target,
                                            OptionalView pos_weight, View loss);
FOVEA_API void binary_cross_entropy_backward(const BinaryCrossEntropyParams&, ConstView logits, ConstView target,
                                             OptionalView pos_weight, ConstView dloss, View dlogits);

/// (x − target)² per element. backward gives d/dx; d/dtarget is its negative.
FOVEA_API void squared_error_forward(LossReduction, ConstView x, ConstView target, View loss);
FOVEA_API void squared_error_backward(LossReduction, ConstView x, ConstView target, ConstView dloss, View dx);

}  // namespace fovea::kernels
