// fovea train --dry-run and --batch-size auto: what a training takes, before it begins. Internal to tools/.
#pragma once

#include "tools/train_options.h"

namespace fovea::tools {

/// Puts the batch size that fits into both options, and says on standard error why that one.
void choose_batch(TrainOptions& options, TrainerOptions& trainer, const TrainData& data, const Model& model);

/// Prints memory and seconds per epoch; nothing is written. Returns the exit code.
int dry_run(const TrainOptions& options, const TrainerOptions& trainer, const TrainData& data, const Model& model);

}  // namespace fovea::tools
