// Dense layers and matrix products as differentiable ops.
#pragma once

#include "core/tensor.h"
#include "layers/ops/params.h"

namespace fovea {

/// y = act(x·w + bias) over the last axis. x [..., K], w [K,M], bias [M] or undefined; y [..., M].
FOVEA_API Tensor dense(const Tensor& x, const Tensor& w, const Tensor& bias = {},
                       ActivationParams activation = kNoActivation);

/// op(a)·op(b) of matrices; transpose_a: a is [K,M] and stands for its transpose.
FOVEA_API Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace fovea
