// Finds where NaN or Inf came from. Internal to train.
#pragma once

#include <string>
#include <vector>

#include "core/autograd/modes.h"
#include "models/model.h"

namespace fovea {

/// Repeats a training pass without changing anything and names its first tensor with NaN or Inf: "input images",
/// "parameter …", "buffer …", "output of features.3 (batch_norm)", or "loss" when everything before it is finite.
std::string first_bad_in_pass(const Model& model, const std::vector<NamedTensor>& tensors, const Tensor& images,
                              TrainingMode::Options mode);

}  // namespace fovea
