// A network as a list of ops: what capturing a forward pass gives, what a model file stores, and what summaries and
// compilation read. The first extent of activations is the batch and is symbolic: a list captured at one batch size
// runs at any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/graph/op.h"
#include "core/graph/op_records.h"

namespace fovea {

struct FOVEA_API OpList {
  using ValueKind = OpRecords::ValueKind;
  using Value = OpRecords::Value;
  struct Node {
    OpPtr op;
    std::vector<int> inputs;   ///< value indices; -1 for an absent operand
    std::vector<int> outputs;  ///< value indices
    std::string scope;         ///< path of the module that ran it: "features.0"
  };

  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<int> inputs;
  std::vector<int> outputs;

  /// Computes the outputs through run_op(), so a tape records it. Intermediates are released after their last use.
  std::vector<Tensor> run(std::span<const Tensor> in) const;
  /// The same as plain data; tensors are shared.
  OpRecords records() const;
  /// Error{format} for unknown ops.
  static OpList from_records(OpRecords records);
  /// JSON text without tensor data (parameters by name).
  std::string to_json() const;
  /// Error{format} for anything malformed: indices out of range, unknown ops, values used before they are made.
  static OpList from_json(std::string_view json);
  /// Specs of all values for other inputs, by the ops' shape rules.
  std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const;
};

/// While alive, every op applied on this thread is appended to a list. Captures nest; the innermost one records.
class FOVEA_API Capture {
 public:
  Capture();
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// Marks a tensor as an input of the list; call it before the pass.
  void input(const Tensor& tensor);
  /// Names a parameter or buffer; one without a name becomes "constant.<n>".
  void parameter(const Tensor& tensor, std::string name);
  /// Ends the capture with these results. Error{usage} if a result does not come from a captured op or input.
  OpList finish(std::span<const Tensor> outputs);

 private:
  friend struct CaptureAccess;
  int value_of(const Tensor& tensor);
  OpList list_;
  std::unordered_map<const void*, int> index_;
  std::vector<Tensor> alive_;  // keeps identities from being reused
  Capture* outer_;
};

/// While alive, ops captured on this thread carry this path segment: modules open one around their forward pass.
class FOVEA_API NameScope {
 public:
  explicit NameScope(std::string_view segment);
  ~NameScope();
  NameScope(const NameScope&) = delete;
  NameScope& operator=(const NameScope&) = delete;
  static const std::string& current();

 private:
  std::size_t outer_length_;
};

namespace detail {
/// Whether a Capture is alive on this thread.
FOVEA_API bool is_capturing();
/// Called by run_op().
FOVEA_API void capture_op(const OpPtr& op, std::span<const Tensor> in, std::span<const Tensor> out);
}  // namespace detail

}  // namespace fovea
