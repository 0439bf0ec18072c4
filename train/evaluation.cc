// Runs a model over a dataset without training it.
#include "train/evaluation.h"

#include <algorithm>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "image/views.h"
#include "layers/ops/reduce.h"

namespace fovea {

TrainObserver::~TrainObserver() = default;

namespace {

/// Logits of as many views as the model asks for.
Tensor logits_of(const Model& model, const Tensor& images) {
  return image::forward_views(model.preprocessing, images, [&](const Tensor& view) { return model(view); });
}

}  // namespace

Tensor predict(const Model& model, const Tensor& images) {
  InferenceMode inference;
  NoGrad no_grad;
  return softmax(logits_of(model, images));
}

namespace {

/// What was computed, picture by picture.
struct Answers {
  std::vector<float> logits;
  std::vector<std::int64_t> labels, indices;
};

/// All ranks' answers, in the order of the pictures.
Answers gathered(Communicator& ranks, const Answers& mine, const Dataset& dataset, std::int64_t classes) {
  // Each rank adds its own to zeros; the column behind the logits tells who has answered.
  const std::int64_t width = classes + 1;
  Tensor all = Tensor::zeros({dataset.size(), width});
  float* const to = all.mutable_data<float>();
  for (std::size_t i = 0; i < mine.indices.size(); ++i) {
    const float* const from = mine.logits.data() + static_cast<std::int64_t>(i) * classes;
    float* const row = to + mine.indices[i] * width;
    std::copy(from, from + classes, row);
    row[classes] = 1;
  }
  ranks.sum(all.mutable_view());
  Answers answers;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const float* const row = to + i * width;
    if (row[classes] == 0) continue;  // unreadable
    answers.logits.insert(answers.logits.end(), row, row + classes);
    answers.labels.push_back(dataset.label(i));
    answers.indices.push_back(i);
  }
  return answers;
}

}  // namespace

Evaluation evaluate(const Model& model, Loader& loader, int classes, const EvaluateOptions& options) {
  InferenceMode inference;
  NoGrad no_grad;
  Answers answers;
  loader.start_epoch(0);
  const Device device = options.forward ? kCpu : model.device();
  const std::int64_t batches = loader.batches_per_epoch();
  const auto cancelled = [&] { return options.cancel && options.cancel->requested(); };
  Batch batch;
  for (std::int64_t done = 0; !cancelled() && loader.next(batch); ++done) {
    if (batch.indices.empty()) continue;  // this rank's part of the last batch, perhaps
    const Tensor images = images_on(batch, device);
    const Tensor logits = (options.forward ? options.forward(images) : logits_of(model, images)).to(kCpu);
    if (logits.rank() != 2 || logits.dim(1) != classes) {
      throw Error(ErrorKind::usage, "evaluate",
                  str("the model gives ", logits.to_string(), ", the dataset has ", classes, " classes"),
                  "load the model with a head of as many classes");
    }
    const Tensor z = logits.to(DType::f32);
    answers.logits.insert(answers.logits.end(), z.values<float>().begin(), z.values<float>().end());
    const auto labels = batch.labels.values<std::int64_t>();
    answers.labels.insert(answers.labels.end(), labels.begin(), labels.end());
    answers.indices.insert(answers.indices.end(), batch.indices.begin(), batch.indices.end());
    if (options.observer) options.observer->on_validation_batch(done + 1, batches);
  }
  double stop = cancelled() ? 1 : 0;
  const bool parted = options.ranks && options.ranks->size() > 1;
  if (parted) options.ranks->sum({&stop, 1});
  if (stop > 0) throw Error(ErrorKind::cancelled, "evaluate", "stopped by the user");
  if (parted) answers = gathered(*options.ranks, answers, loader.dataset(), classes);
  const auto count = static_cast<std::int64_t>(answers.indices.size());
  if (count == 0) throw Error(ErrorKind::usage, "evaluate", "there is no readable picture");

  Evaluation result;
  ClassificationMetrics metrics(classes, options.metrics);
  result.logits = Tensor::from({count, classes}, answers.logits);
  const Tensor labels = Tensor::from({count}, answers.labels);
  constexpr std::int64_t kRows = 256;  // at a time: they are converted to double
  for (std::int64_t at = 0; at < count; at += kRows) {
    const std::int64_t to = std::min(at + kRows, count);
    metrics.add_logits(result.logits.slice(at, to), labels.slice(at, to));
  }
  result.metrics = metrics.compute();
  result.probabilities = softmax(result.logits);
  result.labels = std::move(answers.labels);
  result.indices = std::move(answers.indices);
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
  loading.unfinished = !options.forward && model.device() != kCpu;
  if (options.ranks) loading.part = {options.ranks->rank(), options.ranks->size()};
  Loader loader(dataset, loading);
  return evaluate(model, loader, static_cast<int>(dataset->class_names().size()), options);
}

}  // namespace fovea
