// Reading a captured op list into nodes.
#include "infer/compile/graph_internal.h"

#include <cmath>
#include <numeric>

#include "core/error.h"
#include "layers/ops/op_support.h"

namespace fovea::infer {
namespace {

using kernels::Activation;

/// Turns ops into nodes of the graph, or into other names of their operand's memory.
class Reader {
 public:
  Reader(const OpList& list, Graph& graph) : list_(list), graph_(graph) {}

  void read(const OpList::Node& from) {
    const std::string_view type = from.op->type();
    const Attributes a = from.op->attributes();
    node_ = Node{};
    node_.name = from.scope;
    node_.output = from.outputs.at(0);
    if (type == "identity" || type == "dropout" || type == "flatten" || type == "reshape") {
      graph_.memory[static_cast<std::size_t>(node_.output)] = graph_.root(computed(from, 0));
      return;
    }
    if (type == "conv2d") {
      node_.kind = Kind::conv2d;
      node_.conv.stride = ops::get_size(a, "stride", 1);
      node_.conv.padding = ops::get_padding(a);
      node_.conv.dilation = ops::get_size(a, "dilation", 1);
      node_.conv.groups = a.get_int_in("groups", 1, 1 << 20);
      read_weights(from, a);
    } else if (type == "dense") {
      node_.kind = Kind::dense;
      read_weights(from, a);
    } else if (type == "batch_norm") {
      read_norm(from, a);
    } else if (type == "add" || type == "multiply") {
      node_.kind = type == "add" ? Kind::add : Kind::multiply;
      node_.inputs = {computed(from, 0), computed(from, 1)};
    } else if (type == "affine") {
      node_.kind = Kind::affine;
      node_.inputs = {computed(from, 0)};
      node_.factor = a.get_double("scale");
      node_.offset = a.get_double("shift");
    } else if (type == "concat") {
      node_.kind = Kind::concat;
      node_.axis = a.get_int_in("axis", -8, 8);
      if (from.inputs.size() > kMaxParts) refuse(from, str(" of more than ", kMaxParts, " parts"));
      for (std::size_t i = 0; i < from.inputs.size(); ++i) node_.inputs.push_back(computed(from, i));
    } else if (type == "max_pool2d" || type == "avg_pool2d") {
      node_.kind = Kind::pool2d;
      node_.inputs = {computed(from, 0)};
      node_.pool.kind = type == "max_pool2d" ? kernels::PoolKind::max : kernels::PoolKind::average;
      node_.pool.window = ops::get_size(a, "window", 1);
      node_.pool.stride = ops::get_size(a, "stride", 1);
      node_.pool.padding = ops::get_padding(a);
      node_.pool.ceil_mode = a.get_bool("ceil_mode");
      if (node_.pool.kind == kernels::PoolKind::average) node_.pool.count_include_pad = a.get_bool("count_include_pad");
    } else if (type == "global_average_pool" || type == "adaptive_average_pool") {
      node_.kind = type == "global_average_pool" ? Kind::global_average_pool : Kind::adaptive_average_pool;
      node_.inputs = {computed(from, 0)};
    } else if (type == "softmax" || type == "log_softmax") {
      node_.kind = type == "softmax" ? Kind::softmax : Kind::log_softmax;
      node_.inputs = {computed(from, 0)};
    } else if (!read_activation(from, a)) {
      refuse(from, "");
    }
    graph_.nodes.push_back(std::move(node_));
  }

 private:
  [[noreturn]] static void refuse(const OpList::Node& from, std::string_view with) {
    throw Error(ErrorKind::usage, "compile",
                str("'", from.op->type(), "' (", from.scope, ")", with, " cannot be compiled"),
                "run the model itself instead: model(x)");
  }

  const OpList::Value& value(const OpList::Node& from, std::size_t i) const {
    return list_.values[static_cast<std::size_t>(from.inputs.at(i))];
  }

  /// Operand i, which must depend on the picture.
  int computed(const OpList::Node& from, std::size_t i) const {
    const int v = i < from.inputs.size() ? from.inputs[i] : -1;
    if (v < 0 || list_.values[static_cast<std::size_t>(v)].kind == OpList::ValueKind::parameter)
      refuse(from, " with a constant operand");
    return v;
  }

  /// Operand i, which must be a parameter; undefined where it is absent.
  Tensor constant(const OpList::Node& from, std::size_t i) const {
    if (i >= from.inputs.size() || from.inputs[i] < 0) return {};
    const OpList::Value& v = value(from, i);
    if (v.kind != OpList::ValueKind::parameter || !v.tensor.defined()) refuse(from, " with computed weights");
    return v.tensor.to(DType::f32);
  }

  void read_weights(const OpList::Node& from, const Attributes& a) {
    node_.inputs = {computed(from, 0)};
    node_.weight = constant(from, 1);
    if (node_.weight.numel() == 0) refuse(from, " with weights of no elements");
    node_.bias = constant(from, 2);
    node_.activation = ops::get_activation(a);
  }

  void read_norm(const OpList::Node& from, const Attributes& a) {
    node_.kind = Kind::scale_shift;
    node_.inputs = {computed(from, 0)};
    node_.activation = ops::get_activation(a);
    const Tensor gamma = constant(from, 1), beta = constant(from, 2), mean = constant(from, 3),
                 variance = constant(from, 4);
    const double epsilon = a.get_double("epsilon");
    node_.weight = Tensor(mean.shape());
    node_.bias = Tensor(mean.shape());
    float *scale = node_.weight.mutable_data<float>(), *shift = node_.bias.mutable_data<float>();
    for (std::int64_t c = 0; c < mean.numel(); ++c) {
      const double g = gamma.defined() ? static_cast<double>(gamma.data<float>()[c]) : 1.0;
      const double s = g / std::sqrt(static_cast<double>(variance.data<float>()[c]) + epsilon);
      const double b = beta.defined() ? static_cast<double>(beta.data<float>()[c]) : 0.0;
      scale[c] = static_cast<float>(s);
      shift[c] = static_cast<float>(b - static_cast<double>(mean.data<float>()[c]) * s);
    }
    node_.fused = {"batch_norm"};
  }

  bool read_activation(const OpList::Node& from, const Attributes& a) {
    Activation kind{};
    try {
      kind = kernels::activation_from(from.op->type());
    } catch (const Error&) {
      return false;
    }
    node_.kind = Kind::activation;
    node_.inputs = {computed(from, 0)};
    node_.activation.kind = kind;
    if (a.has("alpha")) node_.activation.alpha = a.get_double("alpha");
    return true;
  }

  const OpList& list_;
  Graph& graph_;
  Node node_;
};

}  // namespace

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::conv2d: return "conv2d";
    case Kind::dense: return "dense";
    case Kind::scale_shift: return "scale_shift";
    case Kind::affine: return "affine";
    case Kind::activation: return "activation";
    case Kind::add: return "add";
    case Kind::multiply: return "multiply";
    case Kind::concat: return "concat";
    case Kind::pool2d: return "pool2d";
    case Kind::global_average_pool: return "global_average_pool";
    case Kind::adaptive_average_pool: return "adaptive_average_pool";
    case Kind::softmax: return "softmax";
    case Kind::log_softmax: return "log_softmax";
  }
  return "?";
}

Graph make_graph(const OpList& list) {
  if (list.inputs.size() != 1 || list.outputs.size() != 1) {
    throw Error(ErrorKind::usage, "compile",
                str("a network of one input and one result is expected, this has ", list.inputs.size(), " and ",
                    list.outputs.size()));
  }
  Graph graph;
  graph.list = list;
  for (OpList::Value& v : graph.list.values) v.tensor = Tensor();
  graph.memory.resize(list.values.size());
  std::iota(graph.memory.begin(), graph.memory.end(), 0);
  graph.input = list.inputs[0];
  Reader reader(list, graph);
  for (const OpList::Node& node : list.nodes) reader.read(node);
  graph.output = list.outputs[0];
  return graph;
}

}  // namespace fovea::infer
