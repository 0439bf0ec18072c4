// Runs a model over a dataset without training it.
#include "train/evaluation.h"

#include <algorithm>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "layers/ops/reduce.h"

namespace fovea {

TrainObserver::~TrainObserver() = default;

Tensor predict(const Model& model, const Tensor& images) {
  InferenceMode inference;
  NoGrad no_grad;
  return softmax(model(images));
}

Evaluation evaluate(const Model& model, Loader& loader, int classes, const EvaluateOptions& options) {
  InferenceMode inference;
  NoGrad no_grad;
  Evaluation result;
  ClassificationMetrics metrics(classes, options.metrics);
  std::vector<float> probabilities, all_logits;
  loader.start_epoch(0);
  const std::int64_t batches = loader.batches_per_epoch();
  Batch batch;
  for (std::int64_t done = 0; loader.next(batch); ++done) {
    if (options.cancel && options.cancel->requested())
      throw Error(ErrorKind::cancelled, "evaluate", "stopped by the user");
    const Tensor logits = options.forward ? options.forward(batch.images) : model(batch.images);
    if (logits.rank() != 2 || logits.dim(1) != classes) {
      throw Error(ErrorKind::usage, "evaluate",
                  str("the model gives ", logits.to_string(), ", the dataset has ", classes, " classes"),
                  "load the model with a head of as many classes");
    }
    metrics.add_logits(logits, batch.labels);
    const Tensor p = softmax(logits).to(DType::f32);
    probabilities.insert(probabilities.end(), p.values<float>().begin(), p.values<float>().end());
    const Tensor z = logits.to(DType::f32);
    all_logits.insert(all_logits.end(), z.values<float>().begin(), z.values<float>().end());
    const auto labels = batch.labels.values<std::int64_t>();
    result.labels.insert(result.labels.end(), labels.begin(), labels.end());
    result.indices.insert(result.indices.end(), batch.indices.begin(), batch.indices.end());
    if (options.observer) options.observer->on_validation_batch(done + 1, batches);
  }
  if (metrics.count() == 0) throw Error(ErrorKind::usage, "evaluate", "there is no readable picture");
  result.metrics = metrics.compute();
  result.probabilities = Tensor::from({metrics.count(), classes}, probabilities);
  result.logits = Tensor::from({metrics.count(), classes}, all_logits);
  result.skipped = loader.skipped();
  return result;
}

Evaluation evaluate(const Model& model, const DatasetPtr& dataset, const EvaluateOptions& options) {
  if (!dataset || dataset->size() == 0) throw Error(ErrorKind::usage, "evaluate", "the dataset is empty");
  LoaderOptions loading;
  loading.batch_size = std::min(options.batch_size, std::max<std::int64_t>(dataset->size(), 1));
  loading.workers = options.workers;
  loading.preprocessing = model.preprocessing;
  loading.skip_corrupt = options.skip_corrupt;
  // Each picture is needed once.
  loading.cache = false;
  Loader loader(dataset, loading);
  return evaluate(model, loader, static_cast<int>(dataset->class_names().size()), options);
}

}  // namespace fovea
