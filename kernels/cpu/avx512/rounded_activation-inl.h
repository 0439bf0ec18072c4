// Activations that are no clamp, on sums that are about to become u8: sixteen at a time, where they are in registers or
// have just left them. SiLU by an exponential took more than half of EfficientNet-B0's first blocks. For files compiled
// with flags of their own, hence internal linkage: see tests/structure/isa_symbols.sh.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/simd/loops.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {
namespace {

/// v[i] = f(v[i]) in steps of the result.
__attribute__((noinline)) inline void activate(const RoundedActivation& a, __m512* v, int count) {
  const __m512 scale = _mm512_set1_ps(a.piece_scale), half = _mm512_set1_ps(RoundedActivation::kPieces / 2),
               last = _mm512_set1_ps(RoundedActivation::kPieces - 0.5f), none = _mm512_setzero_ps();
  const __m512 c0 = _mm512_loadu_ps(a.constant), d0 = _mm512_loadu_ps(a.constant + 16), c1 = _mm512_loadu_ps(a.linear),
               d1 = _mm512_loadu_ps(a.linear + 16), c2 = _mm512_loadu_ps(a.square), d2 = _mm512_loadu_ps(a.square + 16);
  FOVEA_UNROLL(2)
  for (int i = 0; i < count; ++i) {
    const __m512 x = v[i];
    const __m512 at = _mm512_min_ps(last, _mm512_max_ps(none, _mm512_fmadd_ps(x, scale, half)));
    const __m512i piece = _mm512_cvttps_epi32(at);
    const __m512 slope =
        _mm512_fmadd_ps(_mm512_permutex2var_ps(c2, piece, d2), x, _mm512_permutex2var_ps(c1, piece, d1));
    v[i] = _mm512_fmadd_ps(slope, x, _mm512_permutex2var_ps(c0, piece, d0));
  }
}

}  // namespace
}  // namespace fovea::kernels::simd
