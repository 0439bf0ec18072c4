// The tape: while one is alive on a thread, ops whose operands need gradients are recorded there; backward() walks them
// in reverse. It is a flat list, so neither a pass nor its destruction recurses (a 100 000-node tape must not overflow
// the stack).
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "core/graph/op.h"

namespace fovea {

/// Takes the gradients of leaves out of a backward pass, node by node, before they are summed over the batch: what
/// gradients of single examples are made of (train/privacy/per_example.h).
class FOVEA_API LeafSink {
 public:
  virtual ~LeafSink();
  /// Called for every node that the loss depends on, last first. `leaves[i]` is operand i where that is a leaf that
  /// wants a gradient, otherwise undefined; those are this function's to compute, the tape computes the others.
  /// `context` is as the op's backward gets it, with room for results in grad_in; its gradients of results are read
  /// again afterwards and must stay as they are.
  virtual void node(const Op& op, const BackwardContext& context, std::span<const Tensor> leaves) = 0;
};

/// Hears from a backward pass which gradients are complete, while it still computes the others: what is sent to other
/// ranks meanwhile.
class FOVEA_API GradientListener {
 public:
  virtual ~GradientListener();
  /// leaf.grad() has what this pass adds to it. Called once for each leaf that the pass meets, in the order in which
  /// they are done; a leaf that the loss turns out not to depend on is told as well, its gradient as it was.
  virtual void complete(const Tensor& leaf) = 0;
};

class FOVEA_API Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Adds d(loss)/d(leaf) to the grad() of every leaf that requires_grad and that `loss` depends on, then empties the
  /// tape. `loss` needs one element unless `seed`, d(something)/d(loss) of the same shape, is given. Error{usage} if
  /// `loss` was not recorded here, or if a tensor that backward reads was overwritten since.
  void backward(const Tensor& loss, const Tensor& seed = {});
  /// The same, but gradients of leaves go to `sink`; their grad() stays as it is.
  void backward(const Tensor& loss, const Tensor& seed, LeafSink& sink);
  /// The same of Σ results·seeds; results without a seed, and such as were not recorded here, do not count.
  void backward(std::vector<Tensor> results, std::vector<Tensor> seeds);
  /// The same as the first, telling `listener`. After an exception some leaves have their gradients and some have not.
  void backward(const Tensor& loss, const Tensor& seed, GradientListener& listener);
  /// Number of recorded ops.
  std::size_t size() const;
  void clear();

 private:
  friend struct TapeAccess;
  struct State;
  void backward(const Tensor& loss, const Tensor& seed, LeafSink* sink, GradientListener* listener);
  void walk(std::vector<Tensor> results, std::vector<Tensor> seeds, LeafSink* sink, GradientListener* listener);
  std::unique_ptr<State> state_;
};

/// Runs an op: checks shapes and devices, computes (or only infers, on the meta device), and records on this thread's
/// tape and captures. Every differentiable function in layers/ ends here.
FOVEA_API std::vector<Tensor> run_op(const OpPtr& op, std::span<const Tensor> in);
/// The same for ops with one result.
FOVEA_API Tensor run_op1(const OpPtr& op, std::initializer_list<Tensor> in);

}  // namespace fovea
