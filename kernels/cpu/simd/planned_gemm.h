// The register tile of compiled inference: rows at one distance from each other times packed columns, with everything
// that follows a convolution (bias, residual, clamp) done before the result leaves the registers. Plain data, so that
// only planned_gemm.cc is compiled per instruction set. Weights are packed as in panels.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {

/// c[m, n] = clamp(bias[n] + residual[m, n] + Σ_k a[m, k]·b[k, n], low, high) for n in [32·panel_begin, 32·panel_end)
/// (on AVX-512; panel_width() in general). NaN passes the clamp.
struct PlannedGemm {
  const float* a = nullptr;
  std::int64_t a_stride = 0;  ///< floats from row to row
  std::int64_t rows = 0;
  const Run* runs = nullptr;  ///< k along these, from a row's beginning
  int run_count = 0;
  std::int64_t k = 0;             ///< sum of the runs' lengths
  const float* packed = nullptr;  ///< k × columns in panels
  std::int64_t columns = 0;
  std::int64_t panel_begin = 0, panel_end = 0;
  const float* bias = nullptr;      ///< padded_columns(columns) floats
  const float* residual = nullptr;  ///< rows like c's, or null
  std::int64_t residual_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool clamp = false;
  float low = 0, high = 0;
};
void planned_gemm_f32(const PlannedGemm&);

/// Rows of a full tile on this CPU: work is best cut at multiples of it.
int planned_tile_rows();

}  // namespace fovea::kernels::simd
