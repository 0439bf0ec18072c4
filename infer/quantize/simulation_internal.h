// A graph run op by op on tensors: every value can be seen and changed, quantised values and weights are rounded to
// their integers and back in f32, and a tape may record it. The twin that integer kernels are tested against, and what
// calibration, sensitivity and quantisation-aware training stand on. Internal to infer/.
#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"
#include "infer/graph/graph_internal.h"

namespace fovea::infer {

/// Scale of a per-tensor value as an operand of fake_quantize.
Tensor fake_quantized(const Tensor& x, const Quantization& q);
class Simulation {
 public:
  /// Shares the graph's tensors. The graph must outlive it.
  explicit Simulation(const Graph& graph);

  /// By root value; undefined where nothing is kept.
  using Values = std::vector<Tensor>;

  /// What a node multiplies with.
  struct Weights {
    Tensor weight, bias;
  };

  const Graph& graph() const { return graph_; }
  /// Weights in f32, i8 ones times their scales.
  const Weights& weights(std::size_t node) const { return weights_[node]; }
  Weights& weights(std::size_t node) { return weights_[node]; }

  /// Values with the input set: rounded where the graph quantises it.
  Values start(const Tensor& x) const;
  /// Operand as nodes read it: the root's memory under the value's own shape.
  Tensor operand(int value, const Values& values) const;
  /// The result of node i from its operands' values, before it is rounded; without its activation where `linear`.
  Tensor result(std::size_t i, const Values& values, const Weights& weights, bool linear = false) const;
  /// Puts node i's result, rounded where the graph says so, into `values`.
  void step(std::size_t i, Values& values) const;
  /// Lets go of what no node after i reads.
  void release(std::size_t i, Values& values) const;
  /// The network's result.
  const Tensor& output(const Values& values) const;
  Tensor operator()(const Tensor& x) const;

 private:
  const Graph& graph_;
  std::vector<Weights> weights_;
  std::vector<std::size_t> last_use_;  // by root value
};

}  // namespace fovea::infer
