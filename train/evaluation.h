// Runs a model over a dataset without training it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "augment/loader.h"
#include "core/distributed/communicator.h"
#include "models/model.h"
#include "train/cancel.h"
#include "train/metrics.h"
#include "train/observer.h"

namespace fovea {

struct EvaluateOptions {
  std::int64_t batch_size = 64;
  int workers = 1;
  bool skip_corrupt = false;
  MetricOptions metrics;
  /// Computes the logits of a batch in place of the model, such as infer::fast_forward(model); empty: the model.
  std::function<Tensor(const Tensor&)> forward;
  const CancelToken* cancel = nullptr;  ///< not owned; Error{cancelled} when it fires
  /// Ranks that part the pictures among them; each gets the result of all, but for `skipped`. Not owned.
  Communicator* ranks = nullptr;
  TrainObserver* observer = nullptr;  ///< not owned; gets on_validation_batch
};

struct Evaluation {
  MetricValues metrics;
  Tensor logits;                      ///< f32 [n, classes]
  Tensor probabilities;               ///< f32 [n, classes]: softmax of the logits
  std::vector<std::int64_t> labels;   ///< [n]
  std::vector<std::int64_t> indices;  ///< [n], which item of the dataset
  std::vector<std::string> skipped;   ///< pictures that could not be read, with skip_corrupt
};

/// Inference over all items, in order. Error{usage} when the model's outputs do not match the dataset's classes;
/// Error{numeric} for logits that are NaN or Inf.
FOVEA_API Evaluation evaluate(const Model& model, const DatasetPtr& dataset, const EvaluateOptions& options = {});
/// The same over a loader's batches (one epoch), for preprocessing of one's own. With options.ranks the loader makes
/// this rank's parts (LoaderOptions::part), and does not shuffle or oversample.
FOVEA_API Evaluation evaluate(const Model& model, Loader& loader, int classes, const EvaluateOptions& options = {});

/// Class probabilities f32 [N, classes] of a batch of images as the model's preprocessing makes them.
FOVEA_API Tensor predict(const Model& model, const Tensor& images);

}  // namespace fovea
