// Optimizer steps on plain arrays of floats; formulas in kernels/optimizer.h.
#pragma once

#include <cstdint>

#include "kernels/optimizer.h"

namespace fovea::kernels::simd {

/// Null momentum: plain steps.
void sgd_f32(const SgdStep&, const float* grad, float* param, float* momentum, std::int64_t n);
void adam_f32(const AdamStep&, const float* grad, float* param, float* m, float* v, std::int64_t n);
/// mean_grad: centered.
void rmsprop_f32(const RmspropStep&, const float* grad, float* param, float* v, float* momentum, float* mean_grad,
                 std::int64_t n);
/// `from` may be null where the kind has none.
void update_f32(UpdateKind kind, double a, const float* from, float* to, std::int64_t n);

}  // namespace fovea::kernels::simd
