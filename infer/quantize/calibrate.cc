// Runs over the calibration pictures: what values are, and what rounding does to their means.
#include <algorithm>

#include "core/error.h"
#include "infer/quantize/quantize_internal.h"
#include "layers/ops/shape_ops.h"

namespace fovea::infer {

Tensor some_pictures(std::span<const Tensor> batches, std::int64_t count) {
  std::vector<Tensor> all, chosen;
  for (const Tensor& batch : batches) {
    for (std::int64_t i = 0; i < batch.dim(0); ++i) all.push_back(batch.slice(i, i + 1));
  }
  const auto n = static_cast<std::int64_t>(all.size());
  count = std::min(count, n);
  for (std::int64_t i = 0; i < count; ++i) chosen.push_back(all[static_cast<std::size_t>(i * n / count)]);
  return concat(chosen, 0);
}

std::vector<Histogram> observe(const Graph& graph, std::span<const Tensor> pictures) {
  const Simulation network(graph);
  std::vector<bool> wanted(graph.memory.size(), false);
  for (const Node& node : graph.nodes) {
    if (!can_be_integer(node)) continue;
    for (const int v : node.inputs) wanted[static_cast<std::size_t>(graph.root(v))] = true;
  }
  std::vector<Histogram> histograms(graph.memory.size());
  const auto look = [&](int value, const Simulation::Values& values) {
    const auto root = static_cast<std::size_t>(graph.root(value));
    if (wanted[root]) histograms[root].add(values[root]);
  };
  for (const Tensor& x : pictures) {
    Simulation::Values values = network.start(x);
    look(graph.input, values);
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      network.step(i, values);
      look(graph.nodes[i].output, values);
      network.release(i, values);
    }
  }
  return histograms;
}

Tensor corrected_bias(const Tensor& bias, const Tensor& want, const Tensor& have) {
  const std::int64_t channels = want.dim(-1), rows = want.numel() / channels;
  std::vector<double> sums(static_cast<std::size_t>(channels), 0.0);
  const float *a = want.data<float>(), *b = have.data<float>();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < channels; ++c, ++a, ++b)
      sums[static_cast<std::size_t>(c)] += static_cast<double>(*a - *b);
  }
  Tensor corrected = bias.defined() ? bias.clone() : Tensor::zeros({channels});
  float* const to = corrected.mutable_data<float>();
  for (std::int64_t c = 0; c < channels; ++c)
    to[c] += static_cast<float>(sums[static_cast<std::size_t>(c)] / static_cast<double>(rows));
  return corrected;
}

void correct_bias(Graph& quantized, const Graph& reference, const Tensor& pictures) {
  const Simulation f32(reference);
  Simulation rounded(quantized);
  Simulation::Values want = f32.start(pictures), have = rounded.start(pictures);
  for (std::size_t i = 0; i < quantized.nodes.size(); ++i) {
    Node& node = quantized.nodes[i];
    if (has_integer_weights(node)) {
      // Before the activation: that is where the bias acts.
      const Tensor bias = corrected_bias(node.bias, f32.result(i, want, f32.weights(i), true),
                                         rounded.result(i, have, rounded.weights(i), true));
      node.bias = bias;
      rounded.weights(i).bias = bias;
    }
    f32.step(i, want);
    rounded.step(i, have);
    f32.release(i, want);
    rounded.release(i, have);
  }
}

}  // namespace fovea::infer
