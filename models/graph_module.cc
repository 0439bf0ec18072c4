#include "models/graph_module.h"

#include <algorithm>

namespace fovea {

GraphModule::GraphModule(OpList list, const std::vector<std::string>& buffers,
                         const std::map<std::string, ParameterRole>& roles)
    : list_(std::move(list)) {
  if (list_.inputs.size() != 1 || list_.outputs.size() != 1) {
    throw Error(ErrorKind::format, "model",
                str("expected a network with one input and one output, got ", list_.inputs.size(), " and ",
                    list_.outputs.size()));
  }
  for (std::size_t v = 0; v < list_.values.size(); ++v) {
    const OpList::Value& value = list_.values[v];
    if (value.kind != OpList::ValueKind::parameter) continue;
    if (std::find(buffers.begin(), buffers.end(), value.name) != buffers.end()) {
      register_buffer(value.name, value.tensor);
    } else {
      const auto role = roles.find(value.name);
      register_parameter(value.name, value.tensor, role == roles.end() ? ParameterRole::weight : role->second);
    }
    parameter_values_.push_back(v);
  }
  for (std::size_t n = 0; n < list_.nodes.size(); ++n) {
    const OpList::Node& node = list_.nodes[n];
    if (node.op->type() != "batch_norm") continue;
    Attributes attributes = node.op->attributes();
    attributes.set("frozen", Attribute(true));
    frozen_norms_[n] = make_op("batch_norm", attributes);
  }
}

Tensor GraphModule::forward(const Tensor& x) {
  OpList run = list_;
  for (std::size_t i = 0; i < parameter_values_.size(); ++i) run.values[parameter_values_[i]].tensor = own_at(i);
  // A batch norm whose scale and shift are frozen uses its running statistics, in training too.
  for (const auto& [n, frozen] : frozen_norms_) {
    OpList::Node& node = run.nodes[n];
    bool has_parameters = false, trainable = false;
    for (const std::size_t operand : {1u, 2u}) {
      const int v = node.inputs[operand];
      if (v < 0) continue;
      has_parameters = true;
      trainable |= run.values[static_cast<std::size_t>(v)].tensor.requires_grad();
    }
    if (has_parameters && !trainable) node.op = frozen;
  }
  return run.run({&x, 1})[0];
}

}  // namespace fovea
