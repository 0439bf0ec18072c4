// Exponential moving average of a network's weights, which often generalises better than the weights themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/module.h"

namespace fovea {

struct EmaOptions {
  double decay = 0.999;
  /// Early on the decay is min(decay, (1 + t)/(10 + t)), TensorFlow's rule, so that the initial weights are soon
  /// forgotten.
  bool warmup = true;
};

/// average = decay·average + (1−decay)·weight after each optimizer step, over parameters and floating buffers alike (a
/// batch norm's running statistics must belong to the averaged weights; timm's ModelEmaV2 does the same). Other buffers
/// are copied.
class FOVEA_API WeightAverage {
 public:
  /// Starts at the current values. Error{usage} unless 0 ≤ decay < 1.
  WeightAverage(std::vector<NamedTensor> tensors, const EmaOptions& options);

  void update();
  /// Exchanges the network's values with the averages, in place: call it before and after an evaluation.
  void swap();
  /// Number of update() calls.
  std::int64_t updates() const { return updates_; }
  /// The averages under the network's names, sharing memory.
  std::vector<NamedTensor> averages() const;
  /// Error{format} unless names, shapes and types agree; then nothing changed.
  void load(const std::vector<NamedTensor>& averages, std::int64_t updates);

 private:
  std::vector<NamedTensor> live_;
  std::vector<Tensor> average_;
  EmaOptions options_;
  std::int64_t updates_ = 0;
};

/// While alive, the network holds its averaged weights. Nothing happens for nullptr.
class FOVEA_API UseAverage {
 public:
  explicit UseAverage(WeightAverage* average) : average_(average) {
    if (average_) average_->swap();
  }
  ~UseAverage() {
    if (average_) average_->swap();
  }
  UseAverage(const UseAverage&) = delete;
  UseAverage& operator=(const UseAverage&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace fovea
