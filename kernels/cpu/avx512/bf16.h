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

}  // namespace fovea::kernels::simd
