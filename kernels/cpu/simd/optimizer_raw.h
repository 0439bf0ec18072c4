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
/// to = a·to + b·from; from may be null (then to = a·to).
void scale_add_f32(float a, float b, const float* from, float* to, std::int64_t n);

}  // namespace fovea::kernels::simd
