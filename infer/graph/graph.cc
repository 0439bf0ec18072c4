// Reading an op list into nodes: a captured one, or what a model file holds.
#include "infer/graph/graph_internal.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "kernels/attributes.h"

namespace fovea::infer {
namespace {

using kernels::Activation;

/// Turns ops into nodes of the graph, or into other names of their operand's memory.
class Reader {
 public:
  Reader(const OpRecords& list, Graph& graph) : list_(list), graph_(graph) {}

  void read(const OpRecords::Node& from) {
    const std::string_view type = from.type;
    const Attributes& a = from.attributes;
    node_ = Node{};
    node_.name = from.scope;
    if (from.outputs.size() != 1) refuse(from, str(" with ", from.outputs.size(), " results"));
    node_.output = from.outputs[0];
    if (type == "identity" || type == "dropout" || type == "flatten" || type == "reshape") {
      read_alias(from);
      return;
    }
    if (type == "conv2d") {
      node_.kind = Kind::conv2d;
      node_.conv.stride = kernels::get_size(a, "stride", 1);
      node_.conv.padding = kernels::get_padding(a);
      node_.conv.dilation = kernels::get_size(a, "dilation", 1);
      node_.conv.groups = a.get_int_in("groups", 1, 1 << 20);
      read_weights(from, a);
      node_.residual = a.has("residual") && a.get_bool("residual");
      if (node_.residual) node_.inputs.push_back(computed(from, 4));
    } else if (type == "dense") {
      node_.kind = Kind::dense;
      read_weights(from, a);
    } else if (type == "scale_shift") {
      node_.kind = Kind::scale_shift;
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
      node_.pool.window = kernels::get_size(a, "window", 1);
      node_.pool.stride = kernels::get_size(a, "stride", 1);
      node_.pool.padding = kernels::get_padding(a);
      node_.pool.ceil_mode = a.get_bool("ceil_mode");
      if (node_.pool.kind == kernels::PoolKind::average) node_.pool.count_include_pad = a.get_bool("count_include_pad");
    } else if (type == "global_average_pool" || type == "adaptive_average_pool") {
      node_.kind = type == "global_average_pool" ? Kind::global_average_pool : Kind::adaptive_average_pool;
      node_.inputs = {computed(from, 0)};
      if (node_.kind == Kind::adaptive_average_pool) node_.size = kernels::get_size(a, "size", 1);
    } else if (type == "softmax" || type == "log_softmax") {
      node_.kind = type == "softmax" ? Kind::softmax : Kind::log_softmax;
      node_.inputs = {computed(from, 0)};
    } else if (!read_activation(from, a)) {
      refuse(from, "");
    }
    read_fused(a);
    graph_.nodes.push_back(std::move(node_));
  }

 private:
  [[noreturn]] static void refuse(const OpRecords::Node& from, std::string_view with) {
    throw Error(ErrorKind::usage, "compile", str("'", from.type, "' (", from.scope, ")", with, " cannot be compiled"),
                "run the model itself instead: model(x)");
  }

  const OpRecords::Value& value(const OpRecords::Node& from, std::size_t i) const {
    return list_.values[static_cast<std::size_t>(from.inputs.at(i))];
  }

  /// Operand i, which must depend on the picture.
  int computed(const OpRecords::Node& from, std::size_t i) const {
    const int v = i < from.inputs.size() ? from.inputs[i] : -1;
    if (v < 0 || list_.values[static_cast<std::size_t>(v)].kind == OpRecords::ValueKind::parameter)
      refuse(from, " with a constant operand");
    return v;
  }

  /// Operand i, which must be a parameter; undefined where it is absent.
  Tensor constant(const OpRecords::Node& from, std::size_t i, DType dtype = DType::f32) const {
    if (i >= from.inputs.size() || from.inputs[i] < 0) return {};
    const OpRecords::Value& v = value(from, i);
    if (v.kind != OpRecords::ValueKind::parameter || !v.tensor.defined()) refuse(from, " with computed weights");
    if (v.tensor.dtype() != dtype) refuse(from, str(" with weights of ", to_string(v.tensor.dtype())));
    return v.tensor;
  }

  /// A vector of `count`; undefined where it is absent.
  Tensor vector(const OpRecords::Node& from, std::size_t i, std::int64_t count) const {
    Tensor t = constant(from, i);
    if (t.defined() && t.shape() != Shape{count}) {
      throw Error(
          ErrorKind::format, "compile",
          str("'", from.type, "' (", from.scope, ") expects ", count, " values as operand ", i, ", got ", t.shape()));
    }
    return t;
  }

  void read_alias(const OpRecords::Node& from) {
    using Rule = Alias::Rule;
    Alias alias;
    alias.rule = from.type == "flatten" ? Rule::flatten : from.type == "reshape" ? Rule::reshape : Rule::same;
    alias.of = computed(from, 0);
    if (alias.rule == Rule::reshape) alias.extents = from.attributes.get_ints("shape");
    graph_.memory[static_cast<std::size_t>(node_.output)] = graph_.root(alias.of);
    graph_.aliases[static_cast<std::size_t>(node_.output)] = std::move(alias);
  }

  void read_weights(const OpRecords::Node& from, const Attributes& a) {
    node_.inputs = {computed(from, 0)};
    const bool quantised = from.inputs.size() > 3 && from.inputs[3] >= 0;
    node_.weight = constant(from, 1, quantised ? DType::i8 : DType::f32);
    if (!node_.weight.defined() || node_.weight.numel() == 0) refuse(from, " with weights of no elements");
    node_.weight_shape = node_.weight.shape();
    const int rank = node_.kind == Kind::dense ? 2 : node_.kind == Kind::conv2d ? 4 : 1;
    if (node_.weight_shape.rank() != rank) {
      throw Error(ErrorKind::format, "compile",
                  str("'", from.type, "' (", from.scope, ") cannot have weights ", node_.weight_shape));
    }
    node_.bias = vector(from, 2, node_.weight_shape.dim(-1));
    if (quantised) {
      if (rank == 1) refuse(from, " in integers");
      node_.weight_scale = vector(from, 3, node_.weight_shape.dim(-1));
      for (const float s : node_.weight_scale.to_vector<float>()) {
        if (!(s >= 0 && s < 1e12f))
          throw Error(ErrorKind::format, "compile",
                      str("'", from.type, "' (", from.scope, ") has weights of scale ", s));
      }
    }
    node_.activation = kernels::get_activation(a);
  }

  void read_norm(const OpRecords::Node& from, const Attributes& a) {
    node_.kind = Kind::scale_shift;
    node_.inputs = {computed(from, 0)};
    node_.activation = kernels::get_activation(a);
    const Tensor mean = constant(from, 3);
    if (!mean.defined()) refuse(from, " without statistics");
    const std::int64_t channels = mean.numel();
    const Tensor gamma = vector(from, 1, channels), beta = vector(from, 2, channels),
                 variance = vector(from, 4, channels);
    if (!variance.defined()) refuse(from, " without statistics");
    node_.weight_shape = mean.shape();
    const double epsilon = kernels::get_double_in(a, "epsilon", 0, 1e6);
    node_.weight = Tensor(mean.shape());
    node_.bias = Tensor(mean.shape());
    float *scale = node_.weight.mutable_data<float>(), *shift = node_.bias.mutable_data<float>();
    for (std::int64_t c = 0; c < channels; ++c) {
      const double g = gamma.defined() ? static_cast<double>(gamma.data<float>()[c]) : 1.0;
      const double s = g / std::sqrt(static_cast<double>(variance.data<float>()[c]) + epsilon);
      const double b = beta.defined() ? static_cast<double>(beta.data<float>()[c]) : 0.0;
      scale[c] = static_cast<float>(s);
      shift[c] = static_cast<float>(b - static_cast<double>(mean.data<float>()[c]) * s);
    }
    node_.fused = {"batch_norm"};
  }

  bool read_activation(const OpRecords::Node& from, const Attributes& a) {
    Activation kind{};
    try {
      kind = kernels::activation_from(from.type);
    } catch (const Error&) {
      return false;
    }
    if (kind == Activation::none) return false;
    node_.kind = Kind::activation;
    node_.inputs = {computed(from, 0)};
    node_.activation.kind = kind;
    if (kind == Activation::leaky_relu) node_.activation.alpha = kernels::get_double_in(a, "alpha", 0, 1e6);
    return true;
  }

  /// What compiled networks say for listings.
  void read_fused(const Attributes& a) {
    if (!a.has("fused")) return;
    const std::string& text = a.get_string("fused");
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find(' ', begin), text.size());
      std::string part = text.substr(begin, end - begin);
      if (part != "batch_norm" && part != "add") kernels::activation_from(part);
      node_.fused.push_back(std::move(part));
      begin = end + 1;
    }
  }

  const OpRecords& list_;
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

int maker_of(const Graph& graph, int value) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].output == graph.root(value)) return static_cast<int>(i);
  }
  return -1;
}

int reads_of(const Graph& graph, int value) {
  int reads = 0;
  for (const Node& node : graph.nodes) {
    for (const int v : node.inputs) reads += graph.root(v) == graph.root(value) ? 1 : 0;
  }
  return reads;
}

bool is_depthwise(const Node& node) {
  const Shape& w = node.weight_shape;
  return node.kind == Kind::conv2d && node.conv.groups > 1 && w[2] == 1 && w[3] == node.conv.groups;
}

bool has_integer_weights(const Node& node) { return node.weight.defined() && node.weight.dtype() == DType::i8; }

Tensor real_weight(const Node& node) {
  if (!has_integer_weights(node)) return node.weight;
  Tensor real(node.weight.shape());
  const auto* const q = node.weight.data<std::int8_t>();
  const float* const scale = node.weight_scale.data<float>();
  float* const to = real.mutable_data<float>();
  const std::int64_t columns = node.weight.shape().dim(-1);
  for (std::int64_t i = 0, n = real.numel(); i < n; ++i) to[i] = static_cast<float>(q[i]) * scale[i % columns];
  return real;
}

Graph make_graph(const OpRecords& list) {
  if (list.inputs.size() != 1 || list.outputs.size() != 1) {
    throw Error(ErrorKind::usage, "compile",
                str("a network of one input and one result is expected, this has ", list.inputs.size(), " and ",
                    list.outputs.size()));
  }
  Graph graph;
  graph.input_shape = list.values[static_cast<std::size_t>(list.inputs[0])].spec.shape;
  graph.aliases.resize(list.values.size());
  graph.memory.resize(list.values.size());
  std::iota(graph.memory.begin(), graph.memory.end(), 0);
  graph.input = list.inputs[0];
  Reader reader(list, graph);
  for (const OpRecords::Node& node : list.nodes) reader.read(node);
  graph.output = list.outputs[0];
  return graph;
}

}  // namespace fovea::infer
