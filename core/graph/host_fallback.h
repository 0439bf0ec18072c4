// Ops whose kernels have no implementation for a GPU, run by the CPU all the same: only where a program allows it.
#pragma once

#include <cstdint>

#include "core/error.h"
#include "core/graph/op.h"

namespace fovea {

/// While it lives, an op that has no kernel for the GPU its operands are on runs on the CPU: operands are copied there
/// and results back, which waits for the GPU. FOVEA_VERBOSE=1 tells of each. Off by default: then such an op is an
/// error. Ops of a forward pass and their gradients, not what trainers and optimizers ask of kernels directly. Per
/// thread.
class FOVEA_API AllowHostFallback {
 public:
  explicit AllowHostFallback(bool allow = true);
  ~AllowHostFallback();
  AllowHostFallback(const AllowHostFallback&) = delete;
  AllowHostFallback& operator=(const AllowHostFallback&) = delete;
  static bool allowed();
  /// How many forward and backward passes of ops this process has run so.
  static std::int64_t count();

 private:
  bool outer_;
};

/// What a kernel throws that has no implementation for its operands.
class FOVEA_API NoImplementation : public Error {
 public:
  using Error::Error;
  ~NoImplementation() override;
};

namespace detail {
/// op.forward(context), op.backward(context), on the CPU where they need it and the thread allows it.
void forward_anywhere(const Op& op, ForwardContext& context);
void backward_anywhere(const Op& op, BackwardContext& context);
}  // namespace detail

}  // namespace fovea
