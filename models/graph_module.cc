#include "models/graph_module.h"

#include <algorithm>

namespace fovea {

class GraphModule::Group final : public Module {
 public:
  std::string_view kind() const override { return "Group"; }
  Tensor forward(const Tensor&) override {
    throw Error(ErrorKind::usage, "model", "a part of a model read from a file cannot run alone");
  }
  std::size_t add(const std::string& name, const Tensor& tensor, bool buffer, ParameterRole role) {
    if (buffer) {
      register_buffer(name, tensor);
    } else {
      register_parameter(name, tensor, role);
    }
    return count_++;
  }
  void add(const std::string& name, ModulePtr child) { register_module(name, std::move(child)); }
  Tensor at(std::size_t index) const { return own_at(index); }

 private:
  std::size_t count_ = 0;
};

std::shared_ptr<GraphModule::Group> GraphModule::group_of(const std::string& path) {
  std::shared_ptr<Group>& group = groups_[path];
  if (group) return group;
  group = std::make_shared<Group>();
  const std::shared_ptr<Group> made = group;
  const std::size_t dot = path.rfind('.');
  if (dot == std::string::npos) {
    register_module(path, ModulePtr(made));
  } else {
    group_of(path.substr(0, dot))->add(path.substr(dot + 1), made);
  }
  return made;
}

GraphModule::GraphModule(OpList list, const std::map<std::string, ParameterRole>& roles) : list_(std::move(list)) {
  if (list_.inputs.size() != 1 || list_.outputs.size() != 1) {
    throw Error(ErrorKind::format, "model",
                str("expected a network with one input and one output, got ", list_.inputs.size(), " and ",
                    list_.outputs.size()));
  }
  std::size_t own_count = 0;
  for (std::size_t v = 0; v < list_.values.size(); ++v) {
    const OpList::Value& value = list_.values[v];
    if (value.kind != OpList::ValueKind::parameter) continue;
    if (std::count(value.name.begin(), value.name.end(), '.') > 64) {
      throw Error(ErrorKind::format, "model", "a name is nested more than 64 deep");
    }
    const auto role = roles.find(value.name);
    const bool buffer = role == roles.end();
    const std::size_t dot = value.name.rfind('.');
    if (dot != std::string::npos) {
      const std::shared_ptr<Group> group = group_of(value.name.substr(0, dot));
      const std::size_t index =
          group->add(value.name.substr(dot + 1), value.tensor, buffer, buffer ? ParameterRole::weight : role->second);
      slots_.push_back({v, group.get(), index});
    } else {
      if (buffer) {
        register_buffer(value.name, value.tensor);
      } else {
        register_parameter(value.name, value.tensor, role->second);
      }
      slots_.push_back({v, nullptr, own_count++});
    }
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
  for (const Slot& slot : slots_)
    run.values[slot.value].tensor = slot.group ? slot.group->at(slot.index) : own_at(slot.index);
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
