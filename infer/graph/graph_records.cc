// A graph as an op list, which make_graph() reads back.
#include "infer/graph/network_file_internal.h"
#include "kernels/attributes.h"

namespace fovea::infer {
namespace {

class Writer {
 public:
  explicit Writer(const Graph& graph) : graph_(graph), number_(graph.memory.size(), -1) {}

  GraphRecords write() {
    to_.list.inputs = {add(graph_.input, graph_.input_shape)};
    to_.list.values[0].kind = OpRecords::ValueKind::input;
    for (const Node& node : graph_.nodes) write(node);
    to_.list.outputs = {value(graph_.output)};
    to_.quantization.resize(to_.list.values.size());
    for (std::size_t v = 0; v < graph_.quantization.size(); ++v) {
      if (number_[v] >= 0) to_.quantization[static_cast<std::size_t>(number_[v])] = graph_.quantization[v];
    }
    return std::move(to_);
  }

 private:
  int add(int v, const Shape& shape = {}) {
    int& number = number_[static_cast<std::size_t>(v)];
    number = static_cast<int>(to_.list.values.size());
    to_.list.values.push_back({OpRecords::ValueKind::intermediate, {shape, DType::f32}, {}, {}});
    return number;
  }

  /// A value's number. An alias is written when it is first asked for, behind what it is an alias of.
  int value(int v) {
    std::vector<int> chain;
    for (; number_[static_cast<std::size_t>(v)] < 0; v = alias(v).of) chain.push_back(v);
    int number = number_[static_cast<std::size_t>(v)];
    for (; !chain.empty(); chain.pop_back()) {
      const Alias& a = alias(chain.back());
      OpRecords::Node record;
      record.type = a.rule == Alias::Rule::reshape   ? "reshape"
                    : a.rule == Alias::Rule::flatten ? "flatten"
                                                     : "identity";
      if (a.rule == Alias::Rule::reshape) record.attributes.set("shape", Attribute(a.extents));
      record.inputs = {number};
      number = add(chain.back());
      record.outputs = {number};
      to_.list.nodes.push_back(std::move(record));
    }
    return number;
  }
  const Alias& alias(int v) const { return graph_.aliases[static_cast<std::size_t>(v)]; }

  int tensor(const char* what, const Tensor& t) {
    if (!t.defined()) return -1;
    // Numbers and no paths: the header of a small network is to be small.
    to_.list.values.push_back({OpRecords::ValueKind::parameter, t.spec(), str(to_.list.nodes.size(), ".", what), t});
    return static_cast<int>(to_.list.values.size()) - 1;
  }

  void write(const Node& node) {
    OpRecords::Node record;
    record.scope = node.name;
    for (const int v : node.inputs) record.inputs.push_back(value(v));
    record.type = type_of(node);
    Attributes& a = record.attributes;
    if (node.kind == Kind::conv2d || node.kind == Kind::dense || node.kind == Kind::scale_shift) {
      const int residual = node.residual ? record.inputs.back() : -1;
      record.inputs = {record.inputs[0], tensor("weight", node.weight), tensor("bias", node.bias)};
      if (node.weight_scale.defined() || node.residual) record.inputs.push_back(tensor("scale", node.weight_scale));
      if (node.residual) record.inputs.push_back(residual);
      if (node.residual) a.set("residual", Attribute(true));
      kernels::set_activation(a, node.activation);
    }
    switch (node.kind) {
      case Kind::conv2d:
        kernels::set_size(a, "stride", node.conv.stride);
        kernels::set_padding(a, node.conv.padding);
        kernels::set_size(a, "dilation", node.conv.dilation);
        a.set("groups", node.conv.groups);
        break;
      case Kind::affine:
        a.set("scale", Attribute(node.factor));
        a.set("shift", Attribute(node.offset));
        break;
      case Kind::activation:
        if (node.activation.kind == kernels::Activation::leaky_relu) a.set("alpha", Attribute(node.activation.alpha));
        break;
      case Kind::concat: a.set("axis", node.axis); break;
      case Kind::pool2d:
        kernels::set_size(a, "window", node.pool.window);
        kernels::set_size(a, "stride", node.pool.stride);
        kernels::set_padding(a, node.pool.padding);
        a.set("ceil_mode", Attribute(node.pool.ceil_mode));
        if (node.pool.kind == kernels::PoolKind::average)
          a.set("count_include_pad", Attribute(node.pool.count_include_pad));
        break;
      case Kind::adaptive_average_pool: kernels::set_size(a, "size", node.size); break;
      default: break;
    }
    if (!node.fused.empty()) {
      std::string fused;
      for (const std::string& part : node.fused) fused += (fused.empty() ? "" : " ") + part;
      a.set("fused", Attribute(fused));
    }
    record.outputs = {add(node.output)};
    to_.list.nodes.push_back(std::move(record));
  }

  static std::string type_of(const Node& node) {
    if (node.kind == Kind::activation) return std::string(kernels::to_string(node.activation.kind));
    if (node.kind == Kind::pool2d) return node.pool.kind == kernels::PoolKind::max ? "max_pool2d" : "avg_pool2d";
    return std::string(to_string(node.kind));
  }

  const Graph& graph_;
  std::vector<int> number_;  // value of the graph → of the list
  GraphRecords to_;
};

}  // namespace

GraphRecords records_of(const Graph& graph) { return Writer(graph).write(); }

}  // namespace fovea::infer
