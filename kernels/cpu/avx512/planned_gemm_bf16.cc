// Products of bf16 with sums in f32 (vdpbf16ps): a step of the tile is a pair.
#include "kernels/cpu/avx512/bf16.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/gemm_tile-inl.h"

namespace fovea::kernels::simd {
namespace {

struct Bf16 {
  using Acc = __m512;
  using Half = __m256;
  static constexpr int kBytes = 2, kShallow = 32;  // MobileNetV2: 1.1 % of a picture
  static constexpr bool kFetches = true;
  static FOVEA_INLINE inline Acc start(const Tile& t, int v) { return _mm512_loadu_ps(t.bias + v * 16); }
  static FOVEA_INLINE inline Half start_half(const Tile& t, int v) { return _mm256_loadu_ps(t.bias + v * 16); }
  static FOVEA_INLINE inline Acc zero() { return _mm512_setzero_ps(); }
  static FOVEA_INLINE inline Acc add(Acc a, Acc b) { return _mm512_add_ps(a, b); }
  static FOVEA_INLINE inline Acc whole(Half h) { return _mm512_castps256_ps512(h); }
  static FOVEA_INLINE inline Acc dot(Acc sum, __m512i a, __m512i b) { return FOVEA_DOT(vdpbf16ps, sum, a, b); }
  static FOVEA_INLINE inline Half dot_half(Half sum, __m256i a, __m256i b) { return FOVEA_DOT(vdpbf16ps, sum, a, b); }
  struct Finish {
    FOVEA_INLINE inline Finish(const Tile&, int) {}
    FOVEA_INLINE inline V value(Acc a) const { return a; }
  };
};

struct OutBf16 {
  using T = unsigned short;
  static FOVEA_INLINE inline V load(const T* p, __mmask16 m) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
  }
  template <int MR, int NV>
  static FOVEA_INLINE inline void store(const Tile& t, __mmask16 last, V (&y)[MR][NV]) {
    auto* to = static_cast<T*>(t.c);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i, to += t.c_stride) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) {
        _mm256_mask_storeu_epi16(to + v * 16, v + 1 < NV ? 0xffff : last,
                                 reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(y[i][v])));
      }
    }
  }
};

}  // namespace

void planned_gemm_bf16(const PlannedGemm& job) {
  job.out == Element::bf16 ? run_gemm<Bf16, OutBf16>(job) : run_gemm<Bf16, OutF32>(job);
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void planned_gemm_bf16(const PlannedGemm&) { __builtin_trap(); }  // has_bf16() is false
}  // namespace fovea::kernels::simd
#endif
