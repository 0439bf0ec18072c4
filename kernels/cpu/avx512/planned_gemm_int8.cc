// Products of u8 with i8, summed in i32 (vpdpbusd): a step of the tile is four. The end of a tile is in f32, where
// bias, zero points and scales are one multiply-add by column.
#include "kernels/cpu/avx512/int8.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/gemm_tile-inl.h"
#include "kernels/cpu/avx512/rounded_activation-inl.h"

namespace fovea::kernels::simd {
namespace {

struct Int8 {
  using Acc = __m512i;
  using Half = __m256i;
  static constexpr int kBytes = 1, kShallow = 0;  // rows are stored in pairs: halves of 7 were 1 % slower
  static constexpr bool kFetches = false;         // only training fetches; the registers cost 1.3 % of a picture
  static FOVEA_INLINE inline Acc start(const Tile&, int) { return _mm512_setzero_si512(); }
  static FOVEA_INLINE inline Half start_half(const Tile&, int) { return _mm256_setzero_si256(); }
  static FOVEA_INLINE inline Acc zero() { return _mm512_setzero_si512(); }
  static FOVEA_INLINE inline Acc add(Acc a, Acc b) { return _mm512_add_epi32(a, b); }
  static FOVEA_INLINE inline Acc whole(Half h) { return _mm512_castsi256_si512(h); }
  static FOVEA_INLINE inline Acc dot(Acc sum, __m512i a, __m512i b) { return FOVEA_DOT(vpdpbusd, sum, a, b); }
  static FOVEA_INLINE inline Half dot_half(Half sum, __m256i a, __m256i b) { return _mm256_dpbusd_epi32(sum, a, b); }
  struct Finish {
    V scale, bias;
    FOVEA_INLINE inline Finish(const Tile& t, int v)
        : scale(_mm512_loadu_ps(t.scale + v * 16)), bias(_mm512_loadu_ps(t.bias + v * 16)) {}
    FOVEA_INLINE inline V value(Acc a) const { return _mm512_fmadd_ps(_mm512_cvtepi32_ps(a), scale, bias); }
  };
};

/// Dwords of two packed rows, lane after lane [row 0: columns 4L…, 16 + 4L…; row 1: the same], to row after row.
alignas(64) constexpr int kRowAfterRow[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};

struct OutU8 {
  using T = unsigned char;
  static FOVEA_INLINE inline V load(const T* p, __mmask16 m) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, p)));
  }
  /// Rounds to nearest even and saturates to 0 … 255.
  template <int MR, int NV>
  static FOVEA_INLINE inline void store(const Tile& t, __mmask16 last, V (&y)[MR][NV]) {
    auto* to = static_cast<T*>(t.c);
    if (t.rounded) {
      // In memory, and in a copy: y itself stays in registers otherwise.
      V z[MR * NV];
      FOVEA_UNROLL(32)
      for (int i = 0; i < MR * NV; ++i) z[i] = y[i / NV][i % NV];
      activate(*t.rounded, z, MR * NV);
      FOVEA_UNROLL(32)
      for (int i = 0; i < MR * NV; ++i) y[i / NV][i % NV] = z[i];
    }
    if constexpr (NV == 2) {
      const __m512i order = _mm512_load_si512(kRowAfterRow);
      const __mmask32 m = static_cast<__mmask32>(last) << 16 | 0xffffu;
      const auto words = [&](int i) FOVEA_INLINE {
        return _mm512_packs_epi32(_mm512_cvtps_epi32(y[i][0]), _mm512_cvtps_epi32(y[i][1]));
      };
      FOVEA_UNROLL(8)
      for (int i = 0; i < MR; i += 2, to += 2 * t.c_stride) {
        const __m512i first = words(i), second = i + 1 < MR ? words(i + 1) : first;
        const __m512i both = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        _mm256_mask_storeu_epi8(to, m, _mm512_castsi512_si256(both));
        if (i + 1 < MR) _mm256_mask_storeu_epi8(to + t.c_stride, m, _mm512_extracti64x4_epi64(both, 1));
      }
    } else {
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i, to += t.c_stride) {
        const __m512i v = _mm512_max_epi32(_mm512_cvtps_epi32(y[i][0]), _mm512_setzero_si512());
        _mm_mask_storeu_epi8(to, last, _mm512_cvtusepi32_epi8(v));
      }
    }
  }
};

}  // namespace

void planned_gemm_int8(const PlannedGemm& job) {
  job.out == Element::u8 ? run_gemm<Int8, OutU8>(job) : run_gemm<Int8, OutF32>(job);
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void planned_gemm_int8(const PlannedGemm&) { __builtin_trap(); }  // has_int8() is false
}  // namespace fovea::kernels::simd
#endif
