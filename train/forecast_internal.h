// A training step on noise, for forecasts. Internal to train.
#pragma once

#include <cstdint>
#include <vector>

#include "augment/loader.h"
#include "models/model.h"
#include "train/trainer.h"

namespace fovea {

/// Forward and backward of batches as the trainer does them; the model's values stay as they are.
class StepRehearsal {
 public:
  /// Error{usage} for private training and other devices than the CPU.
  StepRehearsal(const Model& model, const Dataset& train, const TrainerOptions& options);

  Batch noise(std::int64_t size) const;
  void pass(const Batch& batch);
  /// As validation does it.
  void answer(const Batch& batch);
  void drop_gradients();
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

 private:
  Model model_;
  const TrainerOptions& options_;
  std::vector<NamedTensor> tensors_;
  int classes_;
  Tensor class_weights_;
};

}  // namespace fovea
