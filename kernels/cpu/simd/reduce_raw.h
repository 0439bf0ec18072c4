// Sums over rows of plain arrays of floats, on all threads.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

/// y[c] = factor·Σ_r x[r·channels + c]; f32 in blocks of 256 rows, blocks in double.
void sum_over_rows_f32(const float* x, std::int64_t rows, std::int64_t channels, double factor, float* y);
/// The same for `groups` blocks of [rows, channels] one after another; y is [groups, channels].
void sum_over_rows_f32(const float* x, std::int64_t groups, std::int64_t rows, std::int64_t channels, double factor,
                       float* y);
/// Σ x² in double.
double sum_of_squares_f32(const float* x, std::int64_t n);
bool all_finite_f32(const float* x, std::int64_t n);

}  // namespace fovea::kernels::simd
