// The register tile of compiled inference: rows at one distance from each other times packed columns, with everything
// that follows a convolution (bias, residual, clamp) done before the result leaves the registers. Plain data, so that
// only planned_gemm.cc is compiled per instruction set. Weights are packed as in panels.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/element.h"
#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {

/// c[m, n] = clamp(bias[n] + residual[m, n] + Σ_k a[m, k]·b[k, n], low, high) for n in [32·panel_begin, 32·panel_end)
/// (on AVX-512; panel_width() in general). NaN passes the clamp.
struct PlannedGemm {
  Element in = Element::f32, out = Element::f32;  ///< of a; of c and residual
  const void* a = nullptr;
  std::int64_t a_stride = 0;  ///< elements from row to row
  std::int64_t rows = 0;
  const Run* runs = nullptr;  ///< k along these, from a row's beginning
  int run_count = 0;
  std::int64_t k = 0;            ///< sum of the runs' lengths
  const void* packed = nullptr;  ///< k × columns in panels: f32 (panels.h), or bf16 (pack_bf16)
  std::int64_t columns = 0;
  std::int64_t panel_begin = 0, panel_end = 0;
  const float* bias = nullptr;     ///< padded_columns(columns) floats
  const void* residual = nullptr;  ///< rows like c's, or null
  std::int64_t residual_stride = 0;
  void* c = nullptr;
  std::int64_t c_stride = 0;
  bool clamp = false;
  float low = 0, high = 0;
};
/// With bf16 operands: sums in f32, on CPUs with AVX-512 BF16 (see has_bf16()); runs of even length.
void planned_gemm(const PlannedGemm&);

/// Rows of a full tile on this CPU: work is best cut at multiples of it.
int planned_tile_rows();

/// True where products of bf16 are computed: AVX-512 BF16.
bool has_bf16();
/// Packs a k×n matrix (row-major f32, k even) for bf16 operands: panels of 32 columns, pairs of rows side by side. The
/// last panel is 16 wide if the rest fits. packed_floats(k, n) halves.
void pack_bf16(const float* b, std::int64_t k, std::int64_t n, std::uint16_t* packed);

/// Conversions of n values; bf16 rounds to nearest even.
void to_bf16(const float* from, std::uint16_t* to, std::int64_t n);
void from_bf16(const std::uint16_t* from, float* to, std::int64_t n);

}  // namespace fovea::kernels::simd
