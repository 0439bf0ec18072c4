// A training pass as it is run from its list of ops: with patterns as one (fused_pass.h), and with blocks whose inner
// values are not kept (blocks.cc). Internal to layers/fused.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/graph/op_list.h"
#include "layers/ops/conv_norm.h"

namespace fovea {

/// Nodes [begin, end) of a list.
struct NodeRange {
  std::size_t begin = 0, end = 0;
  friend bool operator==(const NodeRange&, const NodeRange&) = default;
};

/// The parts of a network whose inner values are worth computing twice, by the modules that ran them: runs of nodes
/// below one module, with two convolutions or more. A module that holds most of a network is looked into.
std::vector<NodeRange> blocks_of(const OpList& list);

/// Runs a list's nodes through the tape, those that belong together as one.
class FusedPass {
 public:
  enum class How : std::uint8_t {
    op_by_op,
    fused,  ///< patterns as one, on the CPU
    half,   ///< op by op on a GPU, those that can in bf16 or f16 (half.cc)
  };
  struct Value {
    Tensor plain;       ///< f32, as the ops of the list want it
    Tensor stored;      ///< the same in the type of maps
    Unnormalized lazy;  ///< or this, from which both can be made
  };

  /// @param dtype of maps between fused ops, or of those in half
  FusedPass(std::shared_ptr<const OpList> list, DType dtype, How how);

  /// The whole pass. Of `blocks`, ascending, what is inside is computed again in backward.
  std::vector<Tensor> run(std::span<const Tensor> in, std::span<const NodeRange> blocks = {});
  /// How many nodes became part of a fused step.
  int fused() const { return fused_; }

 private:
  friend class BlockOp;
  struct Block;

  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  const OpList& list() const { return *list_; }

  void run_nodes(NodeRange range);
  void run_block(NodeRange range);
  /// The operands of nodes that a block runs: [begin, end) and what those take with them.
  std::vector<int> entering(NodeRange range, const std::vector<char>& done_before) const;

  const OpList::Node* only_user(int v, std::string_view type) const;
  void mark(const OpList::Node& node) { done_[static_cast<std::size_t>(&node - list_->nodes.data())] = 1; }
  const Tensor& parameter(int v) const;
  const Tensor& plain(int v, DType dtype);
  Unnormalized readable(int v);
  const OpList::Node* activation_behind(int v, bool with_residual, ActivationParams& kind) const;
  bool conv_norm_at(std::size_t n);
  bool residual_at(std::size_t n);
  void as_it_is(std::size_t n);
  bool half_at(std::size_t n);
  void run_node(std::size_t n, std::span<const Tensor> in);

  std::shared_ptr<const OpList> list_;
  DType dtype_;
  How how_;
  std::vector<Value> values_;
  std::vector<std::vector<int>> uses_;
  std::vector<char> done_;
  std::uint64_t first_stream_ = 0;
  int fused_ = 0;
};

}  // namespace fovea
