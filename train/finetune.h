// Fine-tuning a pretrained network: which layers learn, and how fast each of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"
#include "train/optimizer.h"

namespace fovea {

struct FinetuneOptions {
  /// What learns besides the classifier: "all", "none", or a stage (models/transfer.h stage_names()) with all behind
  /// it.
  std::string unfreeze = "all";
  /// Each stage further from the classifier learns at this fraction of the rate of the one behind it, above 0 to 1
  /// (the classifier and the stage before it at the full rate): the
  /// first layers of a network hold what every picture needs, and a small data set would spoil them.
  double lr_decay = 0.9;
  /// Batch norms learn and follow the batches' statistics too. By default they stay as they are (scale, shift and
  /// statistics): those of ImageNet are better than what batches of a few hundred pictures say.
  bool train_norm = false;
};

/// Freezes and unfreezes the network's parameters accordingly and returns the rates of its stages, for
/// OptimizerOptions::lr_scales. Frozen tensors, batch norms' statistics among them, keep their bits in training.
/// Error{usage} for a network that is no chain of stages, an unknown stage (listing them), or values out of range.
FOVEA_API std::vector<LearningRateScale> begin_finetuning(Model& model, const FinetuneOptions& options = {});

}  // namespace fovea
