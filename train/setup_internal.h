// What a training run is made of. Internal to train.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "augment/loader.h"
#include "layers/ops/loss.h"
#include "train/trainer.h"

namespace fovea {

/// Error{usage} for options out of range.
void check_options(const TrainerOptions& options);
/// Error{usage} for f16 on a CPU, Error{device} for bf16 on a GPU that has none.
void check_precision(DType precision, Device device);
LoaderOptions training_loader_options(const Model& model, const Dataset& train, const TrainerOptions& options);
LoaderOptions validation_loader_options(const Model& model, const Dataset& val, const TrainerOptions& options);
/// [classes], or undefined where all are 1.
Tensor make_class_weights(const Dataset& dataset, const TrainerOptions& options, DType dtype);
Tensor training_loss(const Tensor& logits, const Batch& batch, int classes, const LossOptions& options,
                     const Tensor& class_weights, LossReduction reduction = LossReduction::mean);

/// How many rows have their largest logit at the label. Labels on the CPU.
std::int64_t correct_rows(const Tensor& logits, const Tensor& labels);

/// What the mean of training_loss() divides by: pictures, or their classes' weights where those weigh.
double loss_divisor(const Batch& batch, const Tensor& class_weights);

/// Puts values back into tensors of the same names. Error{format} naming what does not fit `where`; then nothing
/// changed.
void restore(const std::vector<NamedTensor>& live, const std::vector<NamedTensor>& values, const std::string& where);

/// Name and value of each setting that the result depends on.
using Settings = std::vector<std::pair<std::string, std::string>>;
Settings describe_settings(const TrainerOptions& options, Monitor monitor, const Model& model,
                           const std::vector<NamedTensor>& tensors, const Dataset& train, const Dataset* val);
/// Error{usage} where a checkpoint at `path` was made under other settings. Those that change only the last bits are
/// told.
void check_resumable(const std::string& path, const Settings& old, const Settings& now,
                     const std::function<void(const std::string&)>& warn);

}  // namespace fovea
