// Pointwise activations on plain arrays of floats, single-threaded: for the activation kernels and for kernels that
// fuse an activation by applying it to blocks still in the L1 cache.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/simd/element.h"

namespace fovea::kernels::simd {

/// y[i] = f(x[i]); y may be x.
void activation_forward_f32(Activation kind, float alpha, const float* x, float* y, std::int64_t n);
/// y = f(y) on `rows` rows of `columns` values each, `stride` values apart; f32 or bf16.
void activation_rows(ActivationParams activation, void* y, Element element, std::int64_t stride, std::int64_t rows,
                     std::int64_t columns);
/// dx[i] = dy[i]·f'; `source` is the result where derivative_from_result(kind), the operand otherwise. dx may be dy.
void activation_backward_f32(Activation kind, float alpha, const float* source, const float* dy, float* dx,
                             std::int64_t n);

}  // namespace fovea::kernels::simd
