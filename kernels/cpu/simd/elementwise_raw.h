// Sums, products, copies, softmax and dropout on plain arrays of floats, single-threaded.
#pragma once

#include <cstdint>

#include "kernels/elementwise.h"

namespace fovea::kernels::simd {

/// y[i] = a[i] ∘ b[i].
void binary_f32(Binary kind, const float* a, const float* b, float* y, std::int64_t n);
/// y[i] = a[i] ∘ b[i mod period], or b ∘ a where swapped; i counts from a multiple of the period.
void binary_row_f32(Binary kind, bool swapped, const float* a, const float* b, std::int64_t period, float* y,
                    std::int64_t n);
/// y[i] = scale·x[i] + shift.
void affine_f32(float scale, float shift, const float* x, float* y, std::int64_t n);

/// Rows of `classes`. log: the logarithm.
void softmax_f32(bool log, const float* x, float* y, std::int64_t rows, std::int64_t classes);
void softmax_backward_f32(bool log, const float* y, const float* dy, float* dx, std::int64_t rows,
                          std::int64_t classes);

/// mask[i] = bits[i] ≥ threshold (threshold below 2^32), y[i] = mask[i] ? x[i]·scale : 0.
void dropout_f32(const std::uint32_t* bits, std::uint32_t threshold, float scale, const float* x, float* y,
                 std::uint8_t* mask, std::int64_t n);
void dropout_backward_f32(const std::uint8_t* mask, float scale, const float* dy, float* dx, std::int64_t n);

}  // namespace fovea::kernels::simd
