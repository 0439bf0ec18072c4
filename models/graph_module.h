// A network made from an op list: how a model file runs without the code that built it.
#pragma once

#include <map>

#include "core/graph/op_list.h"
#include "layers/module.h"

namespace fovea {

class FOVEA_API GraphModule final : public Module {
 public:
  /// Takes the list's parameters as its own (under their names). One input and one output are expected: Error{format}
  /// otherwise. Values named in `buffers` are buffers; all other parameters are trainable.
  GraphModule(OpList list, const std::vector<std::string>& buffers, const std::map<std::string, ParameterRole>& roles);

  std::string_view kind() const override { return "Graph"; }
  Tensor forward(const Tensor& x) override;
  const OpList& ops() const { return list_; }

 private:
  OpList list_;
  std::vector<std::size_t> parameter_values_;  // of each own tensor, its value in the list
  std::map<std::size_t, OpPtr> frozen_norms_;  // node → the same batch norm, frozen
};

}  // namespace fovea
