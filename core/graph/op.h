// The one description of an operation: shape rule, attributes, forward and backward. The tape records ops, a saved
// model stores them, and a compiled network is made from them. Layers (layers/ops) implement this interface; core knows
// no kernel.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/attributes.h"
#include "core/rng.h"
#include "core/tensor.h"

namespace fovea {

class Communicator;

/// What an op's forward works on.
struct ForwardContext {
  std::span<const Tensor> in;            ///< operands; an absent optional operand is undefined
  std::span<const TensorSpec> out_spec;  ///< what infer() said
  std::span<Tensor> out;                 ///< to be set by forward (fresh tensors, or views of operands)
  bool recording = false;                ///< backward may follow: put what it needs into `saved`
  bool training = false;                 ///< training mode: batch statistics, dropout
  bool update_statistics = false;        ///< batch norm updates its running statistics
  Rng rng{0};                            ///< a stream of this call's own (dropout)
  /// Ranks whose batches make one: batch statistics are taken over all of it. nullptr: this batch is the whole.
  Communicator* batch_ranks = nullptr;
  std::int64_t first_example = 0;  ///< number in the whole batch of this one's first example
  std::vector<Tensor> saved;

  /// Allocates out[i] as infer() described it and returns it.
  Tensor& allocate(std::size_t i = 0) {
    out[i] = Tensor(out_spec[i], in.empty() || !in[0].defined() ? kCpu : in[0].device());
    return out[i];
  }
};

/// What an op's backward works on.
struct BackwardContext {
  std::span<const Tensor> in;           ///< operands as kept by keep(); undefined otherwise
  std::span<const Tensor> out;          ///< results as kept by keep(); undefined otherwise
  std::span<const TensorSpec> in_spec;  ///< always there
  std::span<const TensorSpec> out_spec;
  /// Gradients of the results; undefined where nothing depends on a result. One that is unique() may be overwritten and
  /// reused.
  std::span<Tensor> grad_out;
  std::span<const bool> needs;  ///< which operands need a gradient
  std::span<Tensor> grad_in;    ///< to be set for those
  std::span<Tensor> saved;
  bool training = false;
  Communicator* batch_ranks = nullptr;  ///< as in forward
  Device device = kCpu;
};

/// Which operands and results backward reads (bit i: index i). The tape lets go of the others at once.
struct Keep {
  std::uint32_t inputs = ~0u;
  std::uint32_t outputs = 0;
};

class FOVEA_API Op {
 public:
  virtual ~Op();
  /// The name in listings, errors and files: "conv2d".
  virtual std::string_view type() const = 0;
  virtual Attributes attributes() const = 0;
  /// Shapes and types of the results. Throws Error{shape} with the op's name when the operands do not fit.
  virtual std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const = 0;
  virtual void forward(ForwardContext& context) const = 0;
  /// Default: Error{usage}, "has no gradient".
  virtual void backward(BackwardContext& context) const;
  virtual Keep keep() const { return {}; }
  /// Multiply-adds of one forward pass, for summaries.
  virtual std::int64_t macs(std::span<const TensorSpec> in, std::span<const TensorSpec> out) const;
};

using OpPtr = std::shared_ptr<const Op>;

/// Makes an op from its attributes when a saved model is read.
using OpFactory = OpPtr (*)(const Attributes&);
/// Explicit registration (static objects vanish from static libraries): layers/register_ops.cc calls this for every op.
FOVEA_API void register_op(std::string_view type, OpFactory factory);
/// The registered types, sorted.
FOVEA_API std::vector<std::string> registered_ops();
/// Error{format} for an unknown type.
FOVEA_API OpPtr make_op(std::string_view type, const Attributes& attributes);

}  // namespace fovea
