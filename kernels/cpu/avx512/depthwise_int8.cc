// Depthwise convolution on u8 with i8 weights for CPUs with AVX-512 VNNI. The bytes of one channel in up to four rows
// of a column are brought together (unpacking twice), so that one vpdpbusd does a column of the kernel in four channels
// of each 128-bit lane; packing the sums undoes the order that unpacking made. A column serves all results it meets.
#include "kernels/cpu/avx512/int8.h"
#include "kernels/cpu/simd/loops.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/depthwise_tiles-inl.h"
#include "kernels/cpu/avx512/dot.h"
#include "kernels/cpu/avx512/rounded_activation-inl.h"

namespace fovea::kernels::simd {
namespace {

using V = __m512;

// The same operations on 64, 32 and 16 channels: a tail of 16 costs a quarter where vectors are halves (Zen 4). The
// last 16 may be fewer.
#define FOVEA_CHANNELS(NAME, COUNT, P, SI, LOAD, STORE)                                                \
  struct NAME {                                                                                        \
    static constexpr int kChannels = COUNT;                                                            \
    using I = SI;                                                                                      \
    using F = decltype(P##_set1_ps(0));                                                                \
    static FOVEA_INLINE inline I load([[maybe_unused]] __mmask16 m, const void* p) { return LOAD; }    \
    static FOVEA_INLINE inline void store([[maybe_unused]] __mmask16 m, void* p, I v) { STORE; }       \
    static FOVEA_INLINE inline I weight(const void* p) { return P##_loadu_epi32(p); }                  \
    static FOVEA_INLINE inline F factor(const float* p) { return P##_loadu_ps(p); }                    \
    static FOVEA_INLINE inline I zero() { return P##_set1_epi32(0); }                                  \
    static FOVEA_INLINE inline I byte(unsigned char b) { return P##_set1_epi8(static_cast<char>(b)); } \
    static FOVEA_INLINE inline I low8(I a, I b) { return P##_unpacklo_epi8(a, b); }                    \
    static FOVEA_INLINE inline I high8(I a, I b) { return P##_unpackhi_epi8(a, b); }                   \
    static FOVEA_INLINE inline I low16(I a, I b) { return P##_unpacklo_epi16(a, b); }                  \
    static FOVEA_INLINE inline I high16(I a, I b) { return P##_unpackhi_epi16(a, b); }                 \
    static FOVEA_INLINE inline I rounded(I sum, F scale, F bias) {                                     \
      return P##_cvtps_epi32(P##_fmadd_ps(P##_cvtepi32_ps(sum), scale, bias));                         \
    }                                                                                                  \
    static FOVEA_INLINE inline I words(I a, I b) { return P##_packs_epi32(a, b); }                     \
    static FOVEA_INLINE inline void keep(short* p, I v) { P##_storeu_epi16(p, v); }                    \
    static FOVEA_INLINE inline I kept(const short* p) { return P##_loadu_epi16(p); }                   \
    static FOVEA_INLINE inline I bytes(I a, I b, I low, I high) {                                      \
      return P##_min_epu8(high, P##_max_epu8(low, P##_packus_epi16(a, b)));                            \
    }                                                                                                  \
  };
FOVEA_CHANNELS(C64, 64, _mm512, __m512i, _mm512_loadu_epi8(p), _mm512_storeu_epi8(p, v))
FOVEA_CHANNELS(C32, 32, _mm256, __m256i, _mm256_loadu_epi8(p), _mm256_storeu_epi8(p, v))
FOVEA_CHANNELS(C16, 16, _mm, __m128i, _mm_maskz_loadu_epi8(m, p), _mm_mask_storeu_epi8(p, m, v))
#undef FOVEA_CHANNELS

/// One block of channels of a row: all pointers at its first channel. Settled in memory, because GCC otherwise mixes
/// them into the addresses of every column and runs out of registers.
struct Block {
  const unsigned char* x[5];
  long next[5];  ///< from pixel to pixel; 0 where the row is outside the image
  const unsigned char* outside;
  const signed char* weights;
  const float *scale, *bias;
  unsigned char* out;
  __mmask16 mask;
  long out_pitch, width;
  unsigned char low, high;
  const RoundedActivation* rounded;
};

/// From `count` pixels' sums in 16 bits, as C::words makes them, to results: the activation, and the rounding.
template <class C>
__attribute__((noinline)) void finish(const Block& p, short* words, int count, unsigned char* out) {
  constexpr int kWords = C::kChannels, kVectors = kWords / 16;  // of 16 each
  for (int i = 0; i < count; ++i, words += kWords, out += p.out_pitch) {
    V v[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      const __m256i some = _mm256_loadu_epi16(words + k * 16);
      v[k] = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(some));
    }
    activate(*p.rounded, v, kVectors);
    for (int k = 0; k < kVectors; ++k) {
      _mm256_storeu_epi16(words + k * 16, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v[k])));
    }
    const auto low = C::kept(words), high = C::kept(words + kWords / 2);
    C::store(p.mask, out, C::bytes(low, high, C::byte(0), C::byte(255)));
  }
}

/// kPixels results, of which the first begins at input `column`, to `out`. At an edge, columns outside are the zero
/// point. The lower and the upper eight channels of each lane pass one after the other: so weights, scales and sums of
/// a 3×3 kernel stay in registers (loads were the limit: 90 GOP/s, now 160).
template <class C, int kSize, int kStep, int kPixels, bool kEdge>
__attribute__((noinline)) void pixels(const Block& p, long column, unsigned char* out) {
  using I = typename C::I;
  constexpr int kInputs = (kPixels - 1) * kStep + kSize, kGroups = (kSize + 3) / 4, kQuarter = C::kChannels / 4;
  const I low = C::byte(p.low), high = C::byte(p.high);
  I words[kPixels];
  short kept[kPixels * C::kChannels];
  FOVEA_UNROLL(2)
  for (int half = 0; half < 2; ++half) {
    const unsigned char* x[kSize];
    FOVEA_UNROLL(8)
    for (int r = 0; r < kSize; ++r) x[r] = p.x[r] + column * p.next[r];
    I weight[kGroups * kSize][2];
    FOVEA_UNROLL(16)
    for (int t = 0; t < kGroups * kSize; ++t) {
      FOVEA_UNROLL(2)
      for (int k = 0; k < 2; ++k) weight[t][k] = C::weight(p.weights + (t * 4 + half * 2 + k) * C::kChannels);
    }
    typename C::F scale[2], bias[2];
    FOVEA_UNROLL(2)
    for (int k = 0; k < 2; ++k) {
      scale[k] = C::factor(p.scale + (half * 2 + k) * kQuarter);
      bias[k] = C::factor(p.bias + (half * 2 + k) * kQuarter);
    }
    I sum[kPixels][2];
    FOVEA_UNROLL(32)
    for (int i = 0; i < kInputs; ++i) {
      const bool outside = kEdge && static_cast<unsigned long>(column + i) >= static_cast<unsigned long>(p.width);
      I in[kGroups * 4];
      FOVEA_UNROLL(8)
      for (int r = 0; r < kGroups * 4; ++r) {
        // Rows that fill up the last group meet weights of zero.
        if (r >= kSize) {
          in[r] = in[kSize - 1];
          continue;
        }
        in[r] = C::load(p.mask, outside ? p.outside : x[r]);
        x[r] += p.next[r];
      }
      FOVEA_UNROLL(2)
      for (int g = 0; g < kGroups; ++g) {
        const I* const four = in + g * 4;
        const I first = half == 0 ? C::low8(four[0], four[1]) : C::high8(four[0], four[1]);
        const I second = half == 0 ? C::low8(four[2], four[3]) : C::high8(four[2], four[3]);
        const I v[2] = {C::low16(first, second), C::high16(first, second)};
        FOVEA_UNROLL(8)
        for (int t = 0; t < kSize; ++t) {
          const int to = (i - t) / kStep;
          if (i < t || (i - t) % kStep != 0 || to >= kPixels) continue;
          FOVEA_UNROLL(2)
          for (int k = 0; k < 2; ++k) {
            const I start = g == 0 && t == 0 ? C::zero() : sum[to][k];
            sum[to][k] = FOVEA_DOT(vpdpbusd, start, v[k], weight[g * kSize + t][k]);
          }
        }
      }
      if (i < kSize - 1 || (i - kSize + 1) % kStep != 0) continue;
      const int done = (i - kSize + 1) / kStep;
      const I both = C::words(C::rounded(sum[done][0], scale[0], bias[0]), C::rounded(sum[done][1], scale[1], bias[1]));
      if (p.rounded) {
        C::keep(kept + done * C::kChannels + half * C::kChannels / 2, both);
      } else if (half == 0) {
        words[done] = both;
      } else {
        C::store(p.mask, out + done * p.out_pitch, C::bytes(words[done], both, low, high));
      }
    }
  }
  if (p.rounded) finish<C>(p, kept, kPixels, out);
}

template <class C, int kSize, int kStep>
void channels(const DepthwiseRowU8& p, long c) {
  const long left = p.channels - c;
  Block b{{},          {},         p.outside, p.packed + c * ((kSize + 3) / 4) * kSize * 4,
          p.scale + c, p.bias + c, p.out + c, static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1),
          p.out_pitch, p.width,    p.low,     p.high,
          p.rounded};
  set_rows<kSize>(p, c, p.outside, b);
  each_tile<kSize, kStep>(p, b, pixels<C, kSize, kStep, kTile, false>, pixels<C, kSize, kStep, kTile, true>,
                          pixels<C, kSize, kStep, 3, true>, pixels<C, kSize, kStep, 1, true>);
}

template <int kSize, int kStep>
void row(const DepthwiseRowU8& p) {
  long c = 0;
  for (; c + 64 <= p.channels; c += 64) channels<C64, kSize, kStep>(p, c);
  for (; c + 32 <= p.channels; c += 32) channels<C32, kSize, kStep>(p, c);
  for (; c < p.channels; c += 16) channels<C16, kSize, kStep>(p, c);
}

}  // namespace

void depthwise_row_int8(const DepthwiseRowU8& p) {
  if (p.step == 1) return p.size == 3 ? row<3, 1>(p) : row<5, 1>(p);
  return p.size == 3 ? row<3, 2>(p) : row<5, 2>(p);
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void depthwise_row_int8(const DepthwiseRowU8&) { __builtin_trap(); }  // has_int8() is false
}  // namespace fovea::kernels::simd
#endif
