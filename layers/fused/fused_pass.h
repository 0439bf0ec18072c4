// Training passes in which convolutions, batch norms and activations are one: a pass is captured on tensors without
// data, and run from its list of ops with the patterns below replaced. Nothing else changes: results, gradients and
// running statistics are those of the network's own forward pass up to rounding, dropout's masks the same bits.
//
//   conv2d → batch_norm [→ activation]      conv_norm, where the convolution is pointwise, depthwise, or reads the
//                                           network's input; what reads its result normalises it while reading
//   add of such a result [→ relu, relu6]    normalize with a residual
//
// Kept for backward is what each convolution made, once, instead of that and the normalised copy.
//
// On a GPU such passes run in bf16 or f16 where the TrainingMode asks for that: op by op, with casts around those that
// compute in f32 (half.cc).
#pragma once

#include <functional>

#include "core/graph/op_list.h"
#include "core/tensor.h"

namespace fovea {

/// Whether such a pass would be run here for x: a tape records, training mode is on, x is f32 on the CPU, and nothing
/// captures. PerExampleMode, NoFusion, and FOVEA_IMPL=reference or FOVEA_IMPL=-fused in the environment turn it off.
FOVEA_API bool fuses_training(const Tensor& x);

/// Whether such a pass would be run in bf16 or f16 for x, on a GPU: the TrainingMode asks for it, a tape records, and
/// nothing captures. PerExampleMode turns it off. Error{usage} where it asks for f16 and x is on the CPU, Error{device}
/// where a GPU has no bf16.
FOVEA_API bool halves_training(const Tensor& x);

/// Whether a pass over x is captured and run from its list of ops: to be fused or halved, or because the TrainingMode
/// asks that blocks be computed again instead of kept.
FOVEA_API bool rewrites_training(const Tensor& x);

/// What maps are kept in on this device: what the TrainingMode asks for on a GPU; bf16 where it asks for it and the CPU
/// computes it (AVX-512 BF16); else f32.
FOVEA_API DType fused_precision(Device device = kCpu);

/// forward(x), run from its list of ops where rewrites_training(x), otherwise as it is. A forward pass that cannot be
/// captured, because it looks at values, runs as it is too.
FOVEA_API Tensor fused_forward(const std::function<Tensor(const Tensor&)>& forward, const Tensor& x);

/// While alive, this thread's passes run op by op: for comparisons.
class FOVEA_API NoFusion {
 public:
  NoFusion();
  ~NoFusion();
  NoFusion(const NoFusion&) = delete;
  NoFusion& operator=(const NoFusion&) = delete;

 private:
  bool outer_;
};

}  // namespace fovea
