// One fused pass per parameter tensor for each optimizer: reads the gradient, updates state and parameter. f32 or f64
// (for tests). The update rules, with their sources, are in train/optimizer.h; here are the formulas as implemented.
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
FOVEA_API void sgd_step(const SgdStep&, ConstView grad, View param, std::optional<View> momentum);

/// m = b1·m + (1−b1)·g; v = b2·v + (1−b2)·g²; p −= lr·m̂/(√v̂ + eps) (PyTorch), or p −= lr·√c2/c1·m/(√v + eps) (Keras)
/// with c = 1 − bᵗ.
struct AdamStep {
  double lr, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  std::int64_t step = 1;  ///< t, from 1
  bool decoupled = false, keras = false;
};
FOVEA_API void adam_step(const AdamStep&, ConstView grad, View param, View m, View v);

/// epsilon_inside: √(v + eps) (TensorFlow, Keras), otherwise √v + eps (PyTorch). lr_in_momentum: b = momentum·b +
/// lr·g/denominator, p −= b (TensorFlow, Keras), otherwise b = momentum·b + g/denominator, p −= lr·b. centered: v − a²
/// with a = alpha·a + (1−alpha)·g.
struct RmspropStep {
  double lr, alpha = 0.9, epsilon = 1e-8, momentum = 0, weight_decay = 0;
  bool epsilon_inside = false, lr_in_momentum = false;
};
FOVEA_API void rmsprop_step(const RmspropStep&, ConstView grad, View param, View v, std::optional<View> momentum,
                            std::optional<View> mean_grad);

/// Σ x² in double: for gradient clipping and LAMB.
FOVEA_API double sum_of_squares(ConstView x);
/// True if every element is finite.
FOVEA_API bool all_finite(ConstView x);
/// The same of many tensors at once (a model's gradients, all on one device): on a GPU the answers are waited for once.
FOVEA_API std::vector<double> sums_of_squares(std::span<const ConstView> x);
FOVEA_API std::vector<bool> all_finite_of(std::span<const ConstView> x);
/// x = min(max(x, −limit), limit); NaN stays. limit ≥ 0.
FOVEA_API void clamp_in_place(double limit, View x);
/// x *= factor.
FOVEA_API void scale_in_place(double factor, View x);
/// to = decay·to + (1−decay)·from: moving averages of weights.
FOVEA_API void lerp_in_place(double decay, ConstView from, View to);

}  // namespace fovea::kernels
