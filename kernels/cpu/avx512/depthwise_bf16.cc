// Depthwise convolution on bf16 for CPUs with AVX-512 BF16: 32 channels at a time, those of even and of odd number as
// two vectors of f32 (a shift and a mask instead of two conversions), rounded together by one instruction. Half as fast
// again as the same through Highway (simd/depthwise.cc), which lacks that instruction.
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/simd/loops.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace fovea::kernels::simd {
namespace {

constexpr int kTile = 7;

/// Words 0, 16, 1, 17, …: from evens behind odds to channels in order.
alignas(64) constexpr unsigned short kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
alignas(64) constexpr unsigned short kZeros[32] = {};

struct Pair {
  __m512 even, odd;
};

FOVEA_INLINE inline Pair split(__m512i v) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(v, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}

/// 32 split f32 values.
FOVEA_INLINE inline Pair load(const float* p) { return {_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16)}; }

/// Result pixels j … j+kPixels−1 of the 32 channels from c (those of the mask). At an edge, columns outside are zeros.
template <int kTaps, int kStep, int kPixels, bool kEdge>
FOVEA_INLINE inline void pixels(const DepthwiseRow& p, long j, long c, __mmask32 m) {
  constexpr int kInputs = (kPixels - 1) * kStep + kTaps;
  const long channels = p.channels, column = p.first + j * kStep;
  Pair sum[kPixels];
  const Pair start = load(p.bias + c);
  FOVEA_UNROLL(8)
  for (int i = 0; i < kPixels; ++i) sum[i] = start;
  FOVEA_UNROLL(1)
  for (int r = 0; r < p.rows; ++r) {
    const auto* x = static_cast<const unsigned short*>(p.in[r]) + column * channels + c;
    const float* w = p.weights[r] + c;
    Pair weight[kTaps];
    FOVEA_UNROLL(8)
    for (int t = 0; t < kTaps; ++t, w += p.split_pitch) weight[t] = load(w);
    FOVEA_UNROLL(32)
    for (int i = 0; i < kInputs; ++i, x += channels) {
      const bool outside = kEdge && static_cast<unsigned long>(column + i) >= static_cast<unsigned long>(p.width);
      const Pair v = split(_mm512_maskz_loadu_epi16(m, outside ? kZeros : x));
      FOVEA_UNROLL(8)
      for (int t = 0; t < kTaps; ++t) {
        const int to = (i - t) / kStep;
        if (i < t || (i - t) % kStep != 0 || to >= kPixels) continue;
        sum[to].even = _mm512_fmadd_ps(v.even, weight[t].even, sum[to].even);
        sum[to].odd = _mm512_fmadd_ps(v.odd, weight[t].odd, sum[to].odd);
      }
    }
  }
  // The second operand is returned if either is NaN: a NaN stays visible.
  const __m512 low = _mm512_set1_ps(p.low), high = _mm512_set1_ps(p.high);
  const __m512i order = _mm512_load_si512(kInterleave);
  auto* out = static_cast<unsigned short*>(p.out) + j * p.out_step * channels + c;
  FOVEA_UNROLL(8)
  for (int i = 0; i < kPixels; ++i, out += p.out_step * channels) {
    const __m512 even = _mm512_min_ps(high, _mm512_max_ps(low, sum[i].even));
    const __m512 odd = _mm512_min_ps(high, _mm512_max_ps(low, sum[i].odd));
    const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
    _mm512_mask_storeu_epi16(out, m, _mm512_permutexvar_epi16(order, both));
  }
}

template <int kTaps, int kStep, int kPixels>
__attribute__((noinline)) void tile(const DepthwiseRow& p, long j, long c, __mmask32 m) {
  const long first = p.first + j * kStep;
  if (first >= 0 && first + (kPixels - 1) * kStep + kTaps <= p.width) {
    pixels<kTaps, kStep, kPixels, false>(p, j, c, m);
  } else {
    pixels<kTaps, kStep, kPixels, true>(p, j, c, m);
  }
}

template <int kTaps, int kStep>
void row(const DepthwiseRow& p) {
  for (long c = 0; c < p.channels; c += 32) {
    const long left = p.channels - c;
    const __mmask32 m = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
    if (p.count >= kTile) {  // the last tile may do again what the one before it did
      for (long j = 0; j < p.count; j += kTile)
        tile<kTaps, kStep, kTile>(p, j < p.count - kTile ? j : p.count - kTile, c, m);
      continue;
    }
    long j = 0;
    for (; j + 2 <= p.count; j += 2) tile<kTaps, kStep, 2>(p, j, c, m);
    if (j < p.count) tile<kTaps, kStep, 1>(p, j, c, m);
  }
}

}  // namespace

void depthwise_row_bf16(const DepthwiseRow& p) {
  if (p.step == 1) return p.taps == 3 ? row<3, 1>(p) : row<5, 1>(p);
  return p.taps == 3 ? row<3, 2>(p) : row<5, 2>(p);
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void depthwise_row_bf16(const DepthwiseRow&) { __builtin_trap(); }  // has_bf16() is false
}  // namespace fovea::kernels::simd
#endif
