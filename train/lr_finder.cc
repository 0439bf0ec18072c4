// Learning-rate range test.
#include "train/lr_finder.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "train/gradients.h"
#include "train/plot.h"
#include "train/setup_internal.h"

namespace fovea {
namespace {

/// Puts values and gradients back at the end, also after an exception.
class KeepNetwork {
 public:
  explicit KeepNetwork(std::vector<NamedTensor> tensors) : live_(std::move(tensors)) {
    for (const NamedTensor& t : live_) values_.push_back(t.tensor.clone());
  }
  ~KeepNetwork() {
    for (std::size_t i = 0; i < live_.size(); ++i) {
      live_[i].tensor.copy_from(values_[i]);
      live_[i].tensor.zero_grad();
    }
  }
  KeepNetwork(const KeepNetwork&) = delete;
  KeepNetwork& operator=(const KeepNetwork&) = delete;

 private:
  std::vector<NamedTensor> live_;
  std::vector<Tensor> values_;
};

void suggest(LrFinderResult& r) {
  if (r.loss.size() < 3) return;
  const auto lowest = static_cast<std::size_t>(std::min_element(r.loss.begin(), r.loss.end()) - r.loss.begin());
  r.tenth_of_minimum = r.lr[lowest] / 10;
  double steepest = 0;
  // The first points are dominated by the start of the average; beyond the minimum the loss only recovers.
  for (std::size_t i = 1; i + 1 < r.loss.size() && i <= lowest; ++i) {
    const double slope = (r.loss[i + 1] - r.loss[i - 1]) / (std::log(r.lr[i + 1]) - std::log(r.lr[i - 1]));
    if (slope < steepest) {
      steepest = slope;
      r.suggestion = r.lr[i];
    }
  }
}

}  // namespace

LrFinderResult find_learning_rate(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                                  const LrFinderOptions& finder) {
  if (!(finder.low > 0 && finder.high > finder.low && std::isfinite(finder.high)) || finder.steps < 10 ||
      !(finder.smoothing >= 0 && finder.smoothing < 1) || !(finder.stop_factor > 1)) {
    throw Error(ErrorKind::usage, "lr finder",
                "needs 0 < low < high, at least 10 steps, smoothing in [0, 1) and a stop factor above 1");
  }
  if (!train || train->size() == 0) throw Error(ErrorKind::usage, "lr finder", "the dataset is empty");
  const int classes = static_cast<int>(train->class_names().size());
  Loader loader(train, training_loader_options(model, *train, options));
  const std::vector<NamedTensor> tensors = model.network().named_tensors();
  const DType dtype = tensors.front().tensor.dtype();
  const Tensor class_weights = make_class_weights(*train, options, dtype);
  KeepNetwork keep(tensors);
  Optimizer optimizer = make_optimizer(options.optimizer, model.network(), options.optimizer_options);
  optimizer.zero_grad();

  LrFinderResult result;
  double average = 0, lowest = 0;
  std::int64_t epoch = 0;
  loader.start_epoch(epoch);
  Batch batch;
  for (int step = 0; step < finder.steps; ++step) {
    if (options.cancel && options.cancel->requested())
      throw Error(ErrorKind::cancelled, "lr finder", "stopped by the user");
    if (!loader.next(batch)) {
      loader.start_epoch(++epoch);
      if (!loader.next(batch)) throw Error(ErrorKind::usage, "lr finder", "there is no readable picture");
    }
    TrainingMode training({.seed = options.seed,
                           .step = static_cast<std::uint64_t>(step),
                           .precision = options.precision,
                           .checkpoint_blocks = options.checkpoint_blocks});
    Tape tape;
    const Tensor loss = training_loss(model(batch.images.to(dtype)), batch, classes, options.loss, class_weights);
    const double value = loss.item();
    if (!std::isfinite(value)) break;
    const double lr = finder.low * std::pow(finder.high / finder.low, static_cast<double>(step) / (finder.steps - 1));
    average = finder.smoothing * average + (1 - finder.smoothing) * value;
    const double smoothed = average / (1 - std::pow(finder.smoothing, step + 1));
    if (step == 0 || smoothed < lowest) lowest = smoothed;
    if (step > 10 && smoothed > finder.stop_factor * lowest) break;
    result.lr.push_back(lr);
    result.loss.push_back(smoothed);
    tape.backward(loss);
    if (options.clip_value > 0) clip_gradients_by_value(optimizer.parameters(), options.clip_value);
    if (options.clip_norm > 0) clip_gradients_by_norm(optimizer.parameters(), options.clip_norm);
    optimizer.set_learning_rate(lr);
    optimizer.step();
    optimizer.zero_grad();
  }
  suggest(result);
  return result;
}

std::string lr_finder_svg(const LrFinderResult& result) {
  char label[48] = "";
  if (result.suggestion > 0) std::snprintf(label, sizeof label, "suggestion %.2g", result.suggestion);
  return line_plot_svg({.title = "Learning-rate range test",
                        .x_label = "learning rate",
                        .y_label = "smoothed loss",
                        .series = {{"loss", result.lr, result.loss}},
                        .log_x = true,
                        .mark_x = result.suggestion,
                        .mark_label = label});
}

}  // namespace fovea
