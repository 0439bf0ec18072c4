#include "infer/quantize/simulation_internal.h"

#include <algorithm>

#include "core/error.h"
#include "layers/ops/activation.h"
#include "layers/ops/arithmetic.h"
#include "layers/ops/conv2d.h"
#include "layers/ops/dense.h"
#include "layers/ops/norm.h"
#include "layers/ops/pool2d.h"
#include "layers/ops/quantize.h"
#include "layers/ops/reduce.h"
#include "layers/ops/shape_ops.h"

namespace fovea::infer {

Tensor fake_quantized(const Tensor& x, const Quantization& q) {
  if (q.scale <= 0) return x;
  return fake_quantize(x, Tensor::from<float>({1}, {q.scale}), {.zero = q.zero, .low = 0, .high = 255});
}

Simulation::Simulation(const Graph& graph) : graph_(graph), last_use_(graph.memory.size(), 0) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    weights_.push_back({real_weight(node), node.bias});
    for (const int v : node.inputs) last_use_[static_cast<std::size_t>(graph.root(v))] = i;
  }
  last_use_[static_cast<std::size_t>(graph.root(graph.output))] = graph.nodes.size();
}

Simulation::Values Simulation::start(const Tensor& x) const {
  Values values(graph_.memory.size());
  const auto root = static_cast<std::size_t>(graph_.root(graph_.input));
  values[root] = graph_.quantization.empty() ? x : fake_quantized(x, graph_.quantization[root]);
  return values;
}

Tensor Simulation::operand(int value, const Values& values) const {
  const Alias& alias = graph_.aliases[static_cast<std::size_t>(value)];
  if (alias.rule == Alias::Rule::none) return values[static_cast<std::size_t>(value)];
  const Tensor x = operand(alias.of, values);
  if (alias.rule == Alias::Rule::same) return x;
  return alias.rule == Alias::Rule::flatten ? flatten(x) : reshape(x, alias.extents);
}

Tensor Simulation::result(std::size_t i, const Values& values, const Weights& w, bool linear) const {
  const Node& node = graph_.nodes[i];
  const ActivationParams activation = linear ? kNoActivation : node.activation;
  const Tensor x = operand(node.inputs[0], values);
  switch (node.kind) {
    case Kind::conv2d: {
      if (!node.residual) return conv2d(x, w.weight, w.bias, node.conv, activation);
      const Tensor sum = add(conv2d(x, w.weight, w.bias, node.conv), operand(node.inputs.back(), values));
      return fovea::activation(sum, activation);
    }
    case Kind::dense: return dense(x, w.weight, w.bias, activation);
    case Kind::scale_shift: {
      BatchNormOptions options;
      options.epsilon = 0;
      options.frozen = true;
      options.activation = activation;
      const Shape channels = w.weight.shape();
      return batch_norm(x, w.weight, w.bias, Tensor::zeros(channels), Tensor::ones(channels), options);
    }
    case Kind::affine: return affine(x, node.factor, node.offset);
    case Kind::activation: return fovea::activation(x, activation);
    case Kind::add: return add(x, operand(node.inputs[1], values));
    case Kind::multiply: return multiply(x, operand(node.inputs[1], values));
    case Kind::concat: {
      std::vector<Tensor> parts;
      for (const int v : node.inputs) parts.push_back(operand(v, values));
      return concat(parts, node.axis);
    }
    case Kind::pool2d:
      return node.pool.kind == kernels::PoolKind::max ? max_pool2d(x, node.pool) : avg_pool2d(x, node.pool);
    case Kind::global_average_pool: return global_average_pool(x);
    case Kind::adaptive_average_pool: return adaptive_average_pool(x, node.size);
    case Kind::softmax: return softmax(x);
    case Kind::log_softmax: return log_softmax(x);
  }
  throw Error(ErrorKind::usage, "quantize", str("'", to_string(node.kind), "' cannot be simulated"));
}

void Simulation::step(std::size_t i, Values& values) const {
  const auto root = static_cast<std::size_t>(graph_.root(graph_.nodes[i].output));
  Tensor y = result(i, values, weights_[i]);
  values[root] = graph_.quantization.empty() ? std::move(y) : fake_quantized(y, graph_.quantization[root]);
}

void Simulation::release(std::size_t i, Values& values) const {
  for (const int v : graph_.nodes[i].inputs) {
    const auto root = static_cast<std::size_t>(graph_.root(v));
    if (last_use_[root] <= i) values[root] = Tensor();
  }
}

const Tensor& Simulation::output(const Values& values) const {
  return values[static_cast<std::size_t>(graph_.root(graph_.output))];
}

Tensor Simulation::operator()(const Tensor& x) const {
  Values values = start(x);
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    step(i, values);
    release(i, values);
  }
  return output(values);
}

}  // namespace fovea::infer
