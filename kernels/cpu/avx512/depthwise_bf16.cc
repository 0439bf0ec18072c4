// Depthwise convolution on bf16 for CPUs with AVX-512 BF16, by vdpbf16ps: the values of one channel in two rows of the
// kernel are brought together, so that one instruction does two taps of 16 channels; of the last row, which is without
// a partner, those of two neighbouring columns. 5 instructions for 9 taps, 13 for 25, sums in f32.
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/simd/loops.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/depthwise_tiles-inl.h"
#include "kernels/cpu/avx512/dot.h"

namespace fovea::kernels::simd {
namespace {

alignas(64) constexpr unsigned short kZeros[32] = {};
alignas(64) constexpr long long kInOrder32[8] = {0, 4, 1, 5, 2, 6, 3, 7};
alignas(32) constexpr long long kInOrder16[4] = {0, 2, 1, 3};

// The same operations on 32 and 16 channels; the last 16 may be fewer. Unpacking leaves the channels 8L … 8L+3 of each
// 128-bit lane L in one vector of sums and 8L+4 … 8L+7 in another, storing brings them in order.
#define FOVEA_CHANNELS(NAME, COUNT, P, SI, CAST, LOAD, STORE)                                                   \
  struct NAME {                                                                                                 \
    static constexpr int kChannels = COUNT;                                                                     \
    using I = SI;                                                                                               \
    using F = decltype(P##_set1_ps(0));                                                                         \
    static FOVEA_INLINE inline I load([[maybe_unused]] __mmask16 m, const void* p) { return LOAD; }             \
    static FOVEA_INLINE inline I weight(const void* p) { return P##_loadu_epi32(p); }                           \
    static FOVEA_INLINE inline F floats(const float* p) { return P##_loadu_ps(p); }                             \
    static FOVEA_INLINE inline F all(float x) { return P##_set1_ps(x); }                                        \
    static FOVEA_INLINE inline I low(I a, I b) { return P##_unpacklo_epi16(a, b); }                             \
    static FOVEA_INLINE inline I high(I a, I b) { return P##_unpackhi_epi16(a, b); }                            \
    /* The second operand is returned if either is NaN: a NaN stays visible. */                                 \
    static FOVEA_INLINE inline F clamp(F x, F least, F most) { return P##_min_ps(most, P##_max_ps(least, x)); } \
    static FOVEA_INLINE inline void store([[maybe_unused]] __mmask16 m, void* p, F a, F b) {                    \
      const I both = reinterpret_cast<I>(P##_cvtne2ps_pbh(b, a));                                               \
      const I v = P##_permutexvar_epi64(CAST(kInOrder##COUNT), both);                                           \
      STORE;                                                                                                    \
    }                                                                                                           \
  };
FOVEA_CHANNELS(C32, 32, _mm512, __m512i, _mm512_load_si512, _mm512_loadu_epi16(p), _mm512_storeu_epi16(p, v))
FOVEA_CHANNELS(C16, 16, _mm256, __m256i, _mm256_load_epi64, _mm256_maskz_loadu_epi16(m, p),
               _mm256_mask_storeu_epi16(p, m, v))
#undef FOVEA_CHANNELS

/// One block of channels of a row: all pointers at its first channel. Settled in memory, because GCC otherwise mixes
/// them into the addresses of every column and runs out of registers.
struct Block {
  const unsigned short* x[5];
  long next[5];  ///< from pixel to pixel; 0 where the row is outside the image
  const unsigned short* weights;
  const float* bias;
  unsigned short* out;
  __mmask16 mask;
  long out_pitch, width;
  float low, high;
};

/// kPixels results, of which the first begins at input `column`, to `out`. At an edge, columns outside are zeros.
template <class C, int kSize, int kStep, int kPixels, bool kEdge>
__attribute__((noinline)) void pixels(const Block& p, long column, unsigned short* out) {
  using I = typename C::I;
  // Pairs of rows; the terms of the last row begin behind those of the pairs.
  constexpr int kInputs = (kPixels - 1) * kStep + kSize, kPairs = kSize / 2, kLast = kPairs * kSize;
  constexpr int kTerms = kLast + (kSize + 1) / 2;
  const unsigned short* x[kSize];
  FOVEA_UNROLL(8)
  for (int r = 0; r < kSize; ++r) x[r] = p.x[r] + column * p.next[r];
  I weight[kTerms][2];
  FOVEA_UNROLL(16)
  for (int t = 0; t < kTerms; ++t) {
    FOVEA_UNROLL(2)
    for (int k = 0; k < 2; ++k) weight[t][k] = C::weight(p.weights + (t * 2 + k) * C::kChannels);
  }
  const typename C::F start[2] = {C::floats(p.bias), C::floats(p.bias + C::kChannels / 2)};
  const typename C::F low = C::all(p.low), high = C::all(p.high);
  typename C::F sum[kPixels][2];
  I before = C::load(p.mask, kZeros);
  FOVEA_UNROLL(32)
  for (int i = 0; i < kInputs; ++i) {
    const bool outside = kEdge && static_cast<unsigned long>(column + i) >= static_cast<unsigned long>(p.width);
    I in[kSize];
    FOVEA_UNROLL(8)
    for (int r = 0; r < kSize; ++r) {
      in[r] = C::load(p.mask, outside ? kZeros : x[r]);
      x[r] += p.next[r];
    }
    FOVEA_UNROLL(2)
    for (int q = 0; q < kPairs; ++q) {
      const I v[2] = {C::low(in[2 * q], in[2 * q + 1]), C::high(in[2 * q], in[2 * q + 1])};
      FOVEA_UNROLL(8)
      for (int t = 0; t < kSize; ++t) {
        const int to = (i - t) / kStep;
        if (i < t || (i - t) % kStep != 0 || to >= kPixels) continue;
        FOVEA_UNROLL(2)
        for (int k = 0; k < 2; ++k)
          sum[to][k] = FOVEA_DOT(vdpbf16ps, q == 0 && t == 0 ? start[k] : sum[to][k], v[k], weight[q * kSize + t][k]);
      }
    }
    // The last row: columns (i−1, i) are taps (t, t+1) of a result for even t; the last tap is the second of a pair
    // whose first has weight 0.
    const I v[2] = {C::low(before, in[kSize - 1]), C::high(before, in[kSize - 1])};
    before = in[kSize - 1];
    FOVEA_UNROLL(8)
    for (int t = 0; t < kSize; ++t) {
      const bool tail = t == kSize - 2;
      if ((t % 2 != 0 && !tail) || t == kSize - 1) continue;
      const int first = i - 1 - t, to = first / kStep;
      if (first < 0 || first % kStep != 0 || to >= kPixels) continue;
      const int term = kLast + (tail ? kSize / 2 : t / 2);
      FOVEA_UNROLL(2)
      for (int k = 0; k < 2; ++k) sum[to][k] = FOVEA_DOT(vdpbf16ps, sum[to][k], v[k], weight[term][k]);
    }
    if (i < kSize - 1 || (i - kSize + 1) % kStep != 0) continue;
    const int done = (i - kSize + 1) / kStep;
    C::store(p.mask, out + done * p.out_pitch, C::clamp(sum[done][0], low, high), C::clamp(sum[done][1], low, high));
  }
}

template <class C, int kSize, int kStep>
void channels(const DepthwiseRowBf16& p, long c) {
  const long left = p.channels - c;
  constexpr int kTerms = kSize / 2 * kSize + (kSize + 1) / 2;
  Block b{{},          {},        p.packed + c * kTerms * 2,
          p.bias + c,  p.out + c, static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1),
          p.out_pitch, p.width,   p.low,
          p.high};
  set_rows<kSize>(p, c, kZeros, b);
  each_tile<kSize, kStep>(p, b, pixels<C, kSize, kStep, kTile, false>, pixels<C, kSize, kStep, kTile, true>,
                          pixels<C, kSize, kStep, 3, true>, pixels<C, kSize, kStep, 1, true>);
}

template <int kSize, int kStep>
void row(const DepthwiseRowBf16& p) {
  long c = 0;
  for (; c + 32 <= p.channels; c += 32) channels<C32, kSize, kStep>(p, c);
  for (; c < p.channels; c += 16) channels<C16, kSize, kStep>(p, c);
}

}  // namespace

void depthwise_row_bf16(const DepthwiseRowBf16& p) {
  if (p.step == 1) return p.size == 3 ? row<3, 1>(p) : row<5, 1>(p);
  return p.size == 3 ? row<3, 2>(p) : row<5, 2>(p);
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void depthwise_row_bf16(const DepthwiseRowBf16&) { __builtin_trap(); }  // has_bf16() is false
}  // namespace fovea::kernels::simd
#endif
