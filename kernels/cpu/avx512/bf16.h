// Kernels on bf16 operands for CPUs with AVX-512 BF16 (has_bf16()). Plain data: the implementations are compiled for
// them.
#pragma once

#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

/// planned_gemm for in = bf16: a_stride, runs and k even.
void planned_gemm_bf16(const PlannedGemm&);
/// depthwise_row for what takes_depthwise_bf16().
void depthwise_row_bf16(const DepthwiseRowBf16&);

/// Rows of 32 values by twos: pairs[r/2·32 + c] holds rows r and r+1 of column c. A missing last row is zero.
void pair_rows_bf16(const std::uint16_t* rows, std::int64_t count, std::uint32_t* pairs);
/// out[k·pitch + n] (+)= Σ over positions of x[·, k]·d[·, n] for k in [0, channels ≤ 32), n in [0, 32), both as from
/// pair_rows_bf16.
void outer_pairs_bf16(const std::uint32_t* x, const std::uint32_t* d, std::int64_t pairs, std::int64_t channels,
                      float* out, std::int64_t pitch, bool accumulate);

}  // namespace fovea::kernels::simd
