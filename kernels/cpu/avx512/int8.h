// Kernels on u8 activations and i8 weights for CPUs with AVX-512 VNNI (has_int8()). Plain data: the implementations are
// compiled for them.
#pragma once

#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

/// planned_gemm for in = u8: runs and k multiples of 4.
void planned_gemm_int8(const PlannedGemm&);
/// depthwise_row_u8 for the sizes that depthwise_u8_takes().
void depthwise_row_int8(const DepthwiseRowU8&);

}  // namespace fovea::kernels::simd
