// Dense layers and matrix products.
#pragma once

#include "kernels/activation.h"

namespace fovea::kernels {

/// c[M,N] = op(a)·op(b) (+ c if accumulate), row-major; op(a) is [M,K] or, transposed, a is [K,M]. f32 or f64.
FOVEA_API void matmul(ConstView a, bool transpose_a, ConstView b, bool transpose_b, View c, bool accumulate = false);
/// y[M,N] = act(x[M,K]·w[K,N] + bias[N]).
FOVEA_API void dense_forward(ConstView x, ConstView w, OptionalView bias, View y,
                             ActivationParams act = {Activation::none});
/// dx = dy·wᵀ.
FOVEA_API void dense_backward_data(ConstView dy, ConstView w, View dx);
/// dw = xᵀ·dy, dbias = column sums of dy.
FOVEA_API void dense_backward_weights(ConstView x, ConstView dy, View dw, std::optional<View> dbias);

}  // namespace fovea::kernels
