// Which layers cost accuracy: the noise at the logits when only one layer is quantised. Pictures pass a few at a time:
// all values of one picture of EfficientNet-Lite0 at 224 take 27 MB.
#include <algorithm>
#include <cmath>

#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {
namespace {

/// Logits less their mean over the classes, which changes no answer.
Tensor centred(const Tensor& logits) {
  Tensor result = logits.clone();
  const std::int64_t classes = logits.dim(-1);
  float* row = result.mutable_data<float>();
  for (std::int64_t r = 0; r < logits.numel() / classes; ++r, row += classes) {
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += static_cast<double>(row[c]);
    for (std::int64_t c = 0; c < classes; ++c) row[c] -= static_cast<float>(sum / static_cast<double>(classes));
  }
  return result;
}

/// `values` with the operands of node i rounded as integer kernels read them.
Simulation::Values with_rounded_operands(const Prepared& prepared, std::size_t i, const Simulation::Values& values) {
  Simulation::Values run = values;
  for (const int v : prepared.reference.nodes[i].inputs) {
    const auto root = static_cast<std::size_t>(prepared.reference.root(v));
    run[root] = fake_quantized(values[root], prepared.values[root]);
  }
  return run;
}

}  // namespace

std::vector<double> sensitivity(const Prepared& prepared, const Tensor& pictures, bool correct) {
  const Graph& graph = prepared.reference;
  const Simulation network(graph);
  const std::size_t n = graph.nodes.size();
  const std::vector<Tensor> passes = in_passes({&pictures, 1}, bytes_of_values(graph));
  std::vector<Simulation::Weights> rounded(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (!prepared.weights[i].weight.defined()) continue;
    Node node = graph.nodes[i];
    node.weight = prepared.weights[i].weight;
    node.weight_scale = prepared.weights[i].scale;
    rounded[i] = {real_weight(node), node.bias};
  }
  if (correct) {
    std::vector<ChannelMeans> want(n), have(n);
    for (const Tensor& x : passes) {
      Simulation::Values values = network.start(x);
      for (std::size_t i = 0; i < n; ++i) {
        if (rounded[i].weight.defined()) {
          want[i].add(network.result(i, values, network.weights(i), true));
          have[i].add(network.result(i, with_rounded_operands(prepared, i, values), rounded[i], true));
        }
        network.step(i, values);
        network.release(i, values);
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (rounded[i].weight.defined()) rounded[i].bias = corrected_bias(graph.nodes[i].bias, want[i], have[i]);
    }
  }
  std::vector<Noise> at_logits(n);
  for (const Tensor& x : passes) {
    // All values are kept. From the last node to the first: what lies before the node at hand is untouched.
    Simulation::Values values = network.start(x);
    for (std::size_t i = 0; i < n; ++i) network.step(i, values);
    const Tensor clean = centred(network.output(values));
    for (std::size_t i = n; i-- > 0;) {
      if (!rounded[i].weight.defined()) continue;
      Tensor y = network.result(i, with_rounded_operands(prepared, i, values), rounded[i]);
      // Other readers of the operands would read them rounded too, but then that is their part of the noise.
      Simulation::Values run = values;
      run[static_cast<std::size_t>(graph.root(graph.nodes[i].output))] = std::move(y);
      for (std::size_t k = i + 1; k < n; ++k) {
        network.step(k, run);
        network.release(k, run);
      }
      at_logits[i].add(clean, centred(network.output(run)));
    }
  }
  std::vector<double> noise(n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    if (rounded[i].weight.defined()) noise[i] = std::pow(10.0, -at_logits[i].db() / 10);
  }
  return noise;
}

}  // namespace fovea::infer
