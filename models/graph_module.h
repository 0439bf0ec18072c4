// A network made from an op list: how a model file runs without the code that built it.
#pragma once

#include <map>

#include "core/graph/op_list.h"
#include "layers/module.h"

namespace fovea {

class FOVEA_API GraphModule final : public Module {
 public:
  /// Takes the list's parameters as its own (under their names). One input and one output are expected: Error{format}
  /// otherwise. Values named in `roles` are trainable parameters, the others buffers.
  GraphModule(OpList list, const std::map<std::string, ParameterRole>& roles);

  std::string_view kind() const override { return "Graph"; }
  Tensor forward(const Tensor& x) override;
  const OpList& ops() const { return list_; }

 private:
  /// A node of the tree of names: "features.0.weight" is tensor "weight" of group "0" of group "features".
  class Group;
  struct Slot {
    std::size_t value;  // in the list
    const Group* group;
    std::size_t index;  // among the group's tensors
  };
  std::shared_ptr<Group> group_of(const std::string& path);

  OpList list_;
  std::map<std::string, std::shared_ptr<Group>> groups_;
  std::vector<Slot> slots_;
  std::map<std::size_t, OpPtr> frozen_norms_;  // node → the same batch norm, frozen
};

}  // namespace fovea
