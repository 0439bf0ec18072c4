// The rewrites between capture and planning. Each keeps the results, to rounding.
#include <map>

#include "infer/graph/graph_internal.h"

namespace fovea::infer {
namespace {

using kernels::Activation;

/// Memory → how many nodes (and the network's result) read it.
std::map<int, int> uses_of(const Graph& graph) {
  std::map<int, int> uses;
  for (const Node& node : graph.nodes) {
    for (const int v : node.inputs) ++uses[graph.root(v)];
  }
  ++uses[graph.root(graph.output)];
  return uses;
}

/// Whether a value is what the node computes, not a reshape of it: whatever the node takes in must not change its
/// shape.
bool is_result_of(const Graph& graph, const Node& node, int value) {
  const auto alias = [&](int v) -> const Alias& { return graph.aliases[static_cast<std::size_t>(v)]; };
  while (alias(value).rule == Alias::Rule::same) value = alias(value).of;
  return value == node.output;
}

/// Removes node i, whose result becomes that of `by`, its operand's maker.
void absorb(Graph& graph, std::size_t i, Node& by) {
  by.output = graph.nodes[i].output;
  graph.nodes.erase(graph.nodes.begin() + static_cast<std::ptrdiff_t>(i));
}

bool linear(const Node& node) {
  return (node.kind == Kind::conv2d || node.kind == Kind::dense) && !node.residual &&
         node.activation.kind == Activation::none;
}

/// y·scale + shift by result channel becomes part of the weights. New tensors: the old ones belong to the model.
void scale_weights(Node& node, const Tensor& scale, const Tensor& shift) {
  const std::int64_t channels = node.weight.shape().dim(-1);
  Tensor weight(node.weight.shape()), bias({channels});
  const float *from = node.weight.data<float>(), *s = scale.data<float>(), *t = shift.data<float>();
  float *to = weight.mutable_data<float>(), *b = bias.mutable_data<float>();
  for (std::int64_t i = 0, n = weight.numel(); i < n; ++i) to[i] = from[i] * s[i % channels];
  for (std::int64_t c = 0; c < channels; ++c)
    b[c] = (node.bias.defined() ? node.bias.data<float>()[c] * s[c] : 0.0f) + t[c];
  node.weight = std::move(weight);
  node.bias = std::move(bias);
}

}  // namespace

void fold_norms(Graph& graph) {
  const std::map<int, int> uses = uses_of(graph);
  for (std::size_t i = 0; i < graph.nodes.size();) {
    const Node& node = graph.nodes[i];
    if (node.kind == Kind::scale_shift) {
      const int maker = maker_of(graph, node.inputs[0]);
      if (maker >= 0 && uses.at(graph.root(node.inputs[0])) == 1 &&
          linear(graph.nodes[static_cast<std::size_t>(maker)]) &&
          is_result_of(graph, graph.nodes[static_cast<std::size_t>(maker)], node.inputs[0])) {
        Node& before = graph.nodes[static_cast<std::size_t>(maker)];
        scale_weights(before, node.weight, node.bias);
        before.activation = node.activation;
        before.fused.emplace_back("batch_norm");
        if (node.activation.kind != Activation::none)
          before.fused.emplace_back(kernels::to_string(node.activation.kind));
        absorb(graph, i, before);
        continue;
      }
    }
    ++i;
  }
}

void fuse_epilogues(Graph& graph) {
  const std::map<int, int> uses = uses_of(graph);
  const std::vector<Shape> shapes = shapes_of(graph, graph.input_shape);
  // What a convolution adds has the type of its own result: not f32, as the network's input and result are.
  for (std::size_t i = 0; i < graph.nodes.size();) {
    const Node& node = graph.nodes[i];
    if (node.kind == Kind::activation) {
      const int maker = maker_of(graph, node.inputs[0]);
      if (maker >= 0 && uses.at(graph.root(node.inputs[0])) == 1) {
        Node& before = graph.nodes[static_cast<std::size_t>(maker)];
        const bool hosts =
            before.kind == Kind::conv2d || before.kind == Kind::dense || before.kind == Kind::scale_shift;
        if (hosts && before.activation.kind == Activation::none && is_result_of(graph, before, node.inputs[0]) &&
            !(before.residual && graph.at_the_edge(node.output))) {
          before.activation = node.activation;
          before.fused.emplace_back(kernels::to_string(node.activation.kind));
          absorb(graph, i, before);
          continue;
        }
      }
    } else if (node.kind == Kind::add && node.inputs[0] != node.inputs[1]) {
      // The later operand's maker takes the addition in, because the other operand is there by then.
      const int makers[2] = {maker_of(graph, node.inputs[0]), maker_of(graph, node.inputs[1])};
      const int late = makers[0] > makers[1] ? 0 : 1;
      const int host = makers[late];
      const auto shape = [&](int v) { return shapes[static_cast<std::size_t>(v)]; };
      if (host >= 0 && linear(graph.nodes[static_cast<std::size_t>(host)]) &&
          is_result_of(graph, graph.nodes[static_cast<std::size_t>(host)], node.inputs[late]) &&
          uses.at(graph.root(node.inputs[late])) == 1 &&
          graph.nodes[static_cast<std::size_t>(host)].kind == Kind::conv2d &&
          shape(node.inputs[0]) == shape(node.inputs[1]) && !graph.at_the_edge(node.inputs[1 - late]) &&
          !graph.at_the_edge(node.output)) {
        Node& before = graph.nodes[static_cast<std::size_t>(host)];
        before.inputs.push_back(node.inputs[1 - late]);
        before.residual = true;
        before.fused.emplace_back("add");
        absorb(graph, i, before);
        continue;
      }
    }
    ++i;
  }
}

}  // namespace fovea::infer
