// What happens to gradients between backward and the optimizer: clipping, averaging, and the search for NaN and Inf.
#pragma once

#include <string>
#include <vector>

#include "layers/module.h"

namespace fovea {

/// √Σ g² over all gradients that are there.
FOVEA_API double gradient_norm(const std::vector<NamedTensor>& parameters);
/// Scales all gradients by max_norm/(norm + 1e-6) where their common norm exceeds max_norm (PyTorch's clip_grad_norm_;
/// Pascanu et al. 2013). Returns the norm before. Error{usage} unless max_norm is positive. A norm that is not finite
/// clips nothing.
FOVEA_API double clip_gradients_by_norm(const std::vector<NamedTensor>& parameters, double max_norm);
/// Clamps every element to [−limit, limit]; NaN stays NaN. CPU, f32 or f64. Error{usage} unless limit is positive.
FOVEA_API void clip_gradients_by_value(const std::vector<NamedTensor>& parameters, double limit);
/// Multiplies all gradients.
FOVEA_API void scale_gradients(const std::vector<NamedTensor>& parameters, double factor);

/// The first tensor with an element that is NaN or Inf, as "gradient of features.0.weight", or empty.
FOVEA_API std::string first_bad_gradient(const std::vector<NamedTensor>& parameters);
/// The same for values: "parameter features.0.weight" or "buffer features.1.running_var".
FOVEA_API std::string first_bad_tensor(const std::vector<NamedTensor>& tensors);

}  // namespace fovea
