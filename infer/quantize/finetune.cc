#include "infer/quantize/finetune.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "infer/graph/network_file_internal.h"
#include "infer/quantize/quantize_internal.h"
#include "layers/ops/quantize.h"

namespace fovea::infer {

struct QuantizedModule::Impl {
  explicit Impl(const QuantizedModel& from) : start(from), simulation(from.file().graph) {}
  /// A layer in integers, and where its parameters stand among the module's.
  struct Layer {
    std::size_t node, weight, bias;
  };
  QuantizedModel start;
  Simulation simulation;
  std::vector<Layer> layers;
};

QuantizedModule::QuantizedModule(const QuantizedModel& start) : impl_(std::make_unique<Impl>(start)) {
  const Graph& graph = start.file().graph;
  std::size_t count = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!has_integer_weights(node)) continue;
    // Numbers keep names apart that differ in dots only, which names of one module may not hold.
    std::string name = std::to_string(i) + "_" + node.name;
    std::replace(name.begin(), name.end(), '.', '_');
    register_parameter(name + "_weight", real_weight(node));
    register_parameter(name + "_bias",
                       node.bias.defined() ? node.bias.clone() : Tensor::zeros({node.weight.shape().dim(-1)}),
                       ParameterRole::bias);
    impl_->layers.push_back({i, count, count + 1});
    count += 2;
  }
}

QuantizedModule::~QuantizedModule() = default;

Tensor QuantizedModule::forward(const Tensor& x) {
  const Graph& graph = impl_->simulation.graph();
  for (const Impl::Layer& l : impl_->layers) {
    Simulation::Weights& w = impl_->simulation.weights(l.node);
    w.weight = fake_quantize(own_at(l.weight), graph.nodes[l.node].weight_scale, {.zero = 0, .low = -127, .high = 127});
    w.bias = own_at(l.bias);
  }
  return impl_->simulation(x);
}

QuantizedModel QuantizedModule::quantized() const {
  auto file = std::make_shared<NetworkFile>(impl_->start.file());
  for (const Impl::Layer& l : impl_->layers) {
    Node& node = file->graph.nodes[l.node];
    const Tensor weight = own_at(l.weight);
    const std::int64_t columns = weight.shape().dim(-1);
    Tensor integers(weight.shape(), DType::i8);
    auto* const to = integers.mutable_data<std::int8_t>();
    for (std::int64_t i = 0, n = weight.numel(); i < n; ++i) {
      const float scaled = weight.data<float>()[i] / node.weight_scale.data<float>()[i % columns];
      to[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(scaled), -127.0f, 127.0f));
    }
    node.weight = integers;
    node.bias = own_at(l.bias).clone();
  }
  return {file, impl_->start.report()};
}

}  // namespace fovea::infer
