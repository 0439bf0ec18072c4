// The matrix tile on bf16 operands, for CPUs with AVX-512 BF16. Plain data: the implementation is compiled for them.
#pragma once

#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

/// planned_gemm for in = bf16: a_stride, runs and k even. Only where has_bf16().
void planned_gemm_bf16(const PlannedGemm&);

}  // namespace fovea::kernels::simd
