// Training passes on a GPU as a CUDA graph (kernels/device_graph.h). Internal to train.
#pragma once

#include <functional>
#include <vector>

#include "augment/loader.h"
#include "core/autograd/modes.h"
#include "kernels/device_graph.h"
#include "models/model.h"

namespace fovea {

/// Forward pass, loss and backward pass of one batch shape: the first that comes twice is recorded and from then on
/// started with one call, others run as usual. Bits are those of usual passes.
class RecordedPass {
 public:
  using Loss = std::function<Tensor(const Tensor& logits, const Batch&)>;
  struct Result {
    Tensor logits, loss;  ///< on the GPU, overwritten by the next pass
  };

  /// @param tensors parameters and buffers of the network, which stay where they are
  RecordedPass(const Model& model, std::vector<NamedTensor> tensors, Loss loss);
  /// Gradients take the place of those that were there. Of `batch` its images, in the network's type,
  /// and labels count, on the CPU or the GPU.
  /// @param scale what gradients are multiplied by: the loss's own
  Result run(const Batch& batch, const TrainingMode::Options& mode, double scale = 1);
  bool recorded() const { return graph_.defined(); }

 private:
  Result pass(const Batch& batch, const TrainingMode::Options& mode) const;
  void record(const TrainingMode::Options& mode);

  Model model_;
  std::vector<NamedTensor> tensors_;
  Loss loss_;
  Tensor seed_;       // the loss's gradient
  double scale_ = 1;  // its value
  bool refused_ = false;
  Shape last_;     // of the batch before
  Batch batch_;    // what the graph reads
  Result result_;  // and what it makes
  std::vector<Tensor> gradients_;
  std::uint64_t step_ = 0;  // of the recorded TrainingMode
  DeviceGraph graph_;
};

}  // namespace fovea
