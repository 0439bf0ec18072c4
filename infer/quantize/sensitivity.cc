// Which layers cost accuracy: the noise at the logits when only one layer is quantised.
#include <cmath>

#include "core/error.h"
#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {

double signal_to_noise(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) throw Error(ErrorKind::shape, "quantize", str(a.shape(), " and ", b.shape(), " differ"));
  double signal = 0, noise = 0;
  const float *pa = a.data<float>(), *pb = b.data<float>();
  for (std::int64_t i = 0, n = a.numel(); i < n; ++i) {
    const auto x = static_cast<double>(pa[i]), e = x - static_cast<double>(pb[i]);
    signal += x * x;
    noise += e * e;
  }
  constexpr double kMost = 200;
  if (noise <= 0) return kMost;
  if (signal <= 0) return -kMost;
  return std::min(kMost, 10 * std::log10(signal / noise));
}

std::vector<double> sensitivity(const Prepared& prepared, const Tensor& pictures, bool correct) {
  const Graph& graph = prepared.reference;
  const Simulation network(graph);
  const std::size_t n = graph.nodes.size();
  // All values are kept. From the last node to the first: what lies before the node at hand is untouched.
  Simulation::Values values = network.start(pictures);
  for (std::size_t i = 0; i < n; ++i) network.step(i, values);
  const Tensor clean = network.output(values);
  std::vector<double> noise(n, 0.0);
  for (std::size_t i = n; i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (!prepared.weights[i].weight.defined()) continue;
    Node rounded = node;
    rounded.weight = prepared.weights[i].weight;
    rounded.weight_scale = prepared.weights[i].scale;
    Simulation::Values run = values;
    for (const int v : node.inputs) {
      const auto root = static_cast<std::size_t>(graph.root(v));
      run[root] = fake_quantized(values[root], prepared.values[root]);
    }
    Simulation::Weights weights{real_weight(rounded), node.bias};
    if (correct) {
      weights.bias = corrected_bias(node.bias, network.result(i, values, network.weights(i), true),
                                    network.result(i, run, weights, true));
    }
    Tensor y = network.result(i, run, weights);
    // Other readers of the operands would read them rounded too, but then that is their part of the noise.
    run = values;
    run[static_cast<std::size_t>(graph.root(node.output))] = std::move(y);
    for (std::size_t k = i + 1; k < n; ++k) network.step(k, run);
    noise[i] = std::pow(10.0, -signal_to_noise(clean, network.output(run)) / 10);
  }
  return noise;
}

}  // namespace fovea::infer
