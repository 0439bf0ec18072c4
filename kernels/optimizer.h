// One fused pass over parameters, gradients and states for each optimizer: all tensors of a model in one call, which a
// GPU answers with one launch and a CPU with one use of its threads. f32 or f64 (for tests). The update rules, with
// their sources, are in train/optimizer.h; here are the formulas as implemented.
#pragma once

#include <span>
#include <vector>

#include "core/view.h"

namespace fovea::kernels {

/// g += wd·p (coupled) or p −= lr·wd·p first (decoupled); b = momentum·b + g (first step: b = g); nesterov: g +=
/// momentum·b, else g = b; p −= lr·g. Keras form (keras = true): b = momentum·b − lr·g; p += nesterov ? momentum·b −
/// lr·g : b.
struct SgdStep {
  double lr, momentum = 0, weight_decay = 0;
  bool nesterov = false, decoupled = false, first = false, keras = false;
};
/// One parameter of a call. Tensors of one call are on one device and do not overlap; each has its own step, so that
/// learning rates and decay may differ. Results are those of one call per parameter, bit for bit.
struct SgdUpdate {
  SgdStep step;
  ConstView grad;
  View param;
  std::optional<View> momentum;  ///< there where step.momentum is not 0
};
FOVEA_API void sgd_steps(std::span<const SgdUpdate> all);
inline void sgd_step(const SgdUpdate& one) { sgd_steps({&one, 1}); }

/// m = b1·m + (1−b1)·g; v = b2·v + (1−b2)·g²; p −= lr·m̂/(√v̂ + eps) (PyTorch), or p −= lr·√c2/c1·m/(√v + eps) (Keras)
/// with c = 1 − bᵗ.
struct AdamStep {
  double lr, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  std::int64_t step = 1;  ///< t, from 1
  bool decoupled = false, keras = false;
};
struct AdamUpdate {
  AdamStep step;
  ConstView grad;
  View param, m, v;
};
FOVEA_API void adam_steps(std::span<const AdamUpdate> all);
inline void adam_step(const AdamUpdate& one) { adam_steps({&one, 1}); }

/// epsilon_inside: √(v + eps) (TensorFlow, Keras), otherwise √v + eps (PyTorch). lr_in_momentum: b = momentum·b +
/// lr·g/denominator, p −= b (TensorFlow, Keras), otherwise b = momentum·b + g/denominator, p −= lr·b. centered: v − a²
/// with a = alpha·a + (1−alpha)·g.
struct RmspropStep {
  double lr, alpha = 0.9, epsilon = 1e-8, momentum = 0, weight_decay = 0;
  bool epsilon_inside = false, lr_in_momentum = false;
};
struct RmspropUpdate {
  RmspropStep step;
  ConstView grad;
  View param, v;
  std::optional<View> momentum;   ///< there where step.momentum is not 0
  std::optional<View> mean_grad;  ///< centered
};
FOVEA_API void rmsprop_steps(std::span<const RmspropUpdate> all);
inline void rmsprop_step(const RmspropUpdate& one) { rmsprop_steps({&one, 1}); }

enum class UpdateKind : std::uint8_t {
  scale,  ///< to = a·to
  lerp,   ///< to = a·to + (1−a)·from, where both are equal to stays as it is: moving averages of weights
  add,    ///< to += a·from
  clamp,  ///< to = min(max(to, −a), a); NaN stays
};
struct Update {
  UpdateKind kind = UpdateKind::scale;
  double a = 1;
  OptionalView from;  ///< lerp and add
  View to;
};
/// What surrounds the steps: clipping, averages of weights. As for the steps, tensors are on one device and apart.
FOVEA_API void update_all(std::span<const Update> all);

/// Σ x² in double: for gradient clipping and LAMB.
FOVEA_API double sum_of_squares(ConstView x);
/// True if every element is finite.
FOVEA_API bool all_finite(ConstView x);
/// The same of many tensors at once (a model's gradients, all on one device): on a GPU the answers are waited for once.
FOVEA_API std::vector<double> sums_of_squares(std::span<const ConstView> x);
FOVEA_API std::vector<bool> all_finite_of(std::span<const ConstView> x);
/// update_all() of one tensor.
FOVEA_API void scale_in_place(double factor, View x);
FOVEA_API void lerp_in_place(double decay, ConstView from, View to);

}  // namespace fovea::kernels
