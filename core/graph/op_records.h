// An op list as plain data: each op is its type and attributes. A model file holds this, and inference reads it without
// the op classes, which hold all that training needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/attributes.h"
#include "core/tensor.h"

namespace fovea {

struct FOVEA_API OpRecords {
  enum class ValueKind : std::uint8_t { input, parameter, intermediate };
  struct Value {
    ValueKind kind = ValueKind::intermediate;
    TensorSpec spec;   ///< at the captured batch size; of intermediates it may be left out
    std::string name;  ///< of a parameter, buffer or constant: its name in the model's tree
    Tensor tensor;     ///< of a parameter, buffer or constant
  };
  struct Node {
    std::string type;
    Attributes attributes;
    std::vector<int> inputs;   ///< value indices; -1 for an absent operand
    std::vector<int> outputs;  ///< value indices
    std::string scope;         ///< path of the module that ran it: "features.0"
  };

  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<int> inputs;
  std::vector<int> outputs;

  /// JSON text without tensor data (parameters by name).
  std::string to_json() const;
  /// Error{format} for anything malformed: indices out of range, values used before they are made or made twice. Types
  /// and attributes of ops are left to whoever knows ops.
  static OpRecords from_json(std::string_view json);
};

}  // namespace fovea
