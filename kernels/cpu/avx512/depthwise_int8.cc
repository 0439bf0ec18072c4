// Depthwise convolution on u8 with i8 weights for CPUs with AVX-512 VNNI. The bytes of one channel in up to four rows
// of a column are brought together (unpacking twice), so that one vpdpbusd does a column of the kernel in four channels
// of each 128-bit lane; packing the sums undoes the order that unpacking made. A column serves all results it meets.
#include "kernels/cpu/avx512/int8.h"
#include "kernels/cpu/simd/loops.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace fovea::kernels::simd {
namespace {

constexpr int kTile = 7;

// The same operations on 64, 32 and 16 channels: a tail of 16 costs a quarter where vectors are halves (Zen 4).
#define FOVEA_CHANNELS(NAME, COUNT, P, SI)                                                                 \
  struct NAME {                                                                                            \
    static constexpr int kChannels = COUNT;                                                                \
    using I = SI;                                                                                          \
    static FOVEA_INLINE inline I load(unsigned long long m, const void* p) {                               \
      return P##_maskz_loadu_epi8(static_cast<__mmask##COUNT>(m), p);                                      \
    }                                                                                                      \
    static FOVEA_INLINE inline void store(unsigned long long m, void* p, I v) {                            \
      P##_mask_storeu_epi8(p, static_cast<__mmask##COUNT>(m), v);                                          \
    }                                                                                                      \
    static FOVEA_INLINE inline I weight(const void* p) { return P##_loadu_epi32(p); }                      \
    static FOVEA_INLINE inline I zero() { return P##_set1_epi32(0); }                                      \
    static FOVEA_INLINE inline I dot(I sum, I a, I b) { return P##_dpbusd_epi32(sum, a, b); }              \
    /* Dwords of four rows' bytes: v[k] has channels 4k … 4k+3 of each lane's 16. */                     \
    static FOVEA_INLINE inline void interleave(I a, I b, I c, I d, I* v) {                                 \
      const I low = P##_unpacklo_epi8(a, b), high = P##_unpackhi_epi8(a, b);                               \
      const I low2 = P##_unpacklo_epi8(c, d), high2 = P##_unpackhi_epi8(c, d);                             \
      v[0] = P##_unpacklo_epi16(low, low2);                                                                \
      v[1] = P##_unpackhi_epi16(low, low2);                                                                \
      v[2] = P##_unpacklo_epi16(high, high2);                                                              \
      v[3] = P##_unpackhi_epi16(high, high2);                                                              \
    }                                                                                                      \
    static FOVEA_INLINE inline I rounded(I sum, const float* scale, const float* bias) {                   \
      return P##_cvtps_epi32(P##_fmadd_ps(P##_cvtepi32_ps(sum), P##_loadu_ps(scale), P##_loadu_ps(bias))); \
    }                                                                                                      \
    static FOVEA_INLINE inline I packed(const I* v, I low, I high) {                                       \
      const I all = P##_packus_epi16(P##_packs_epi32(v[0], v[1]), P##_packs_epi32(v[2], v[3]));            \
      return P##_min_epu8(high, P##_max_epu8(low, all));                                                   \
    }                                                                                                      \
    static FOVEA_INLINE inline I byte(unsigned char b) { return P##_set1_epi8(static_cast<char>(b)); }     \
  };
FOVEA_CHANNELS(C64, 64, _mm512, __m512i)
FOVEA_CHANNELS(C32, 32, _mm256, __m256i)
FOVEA_CHANNELS(C16, 16, _mm, __m128i)
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
  unsigned long long mask;
  long channels, width;
  unsigned char low, high;
};

/// kPixels results, of which the first begins at input `column`, to `out`. At an edge, columns outside are the zero
/// point.
template <class C, int kSize, int kStep, int kPixels, bool kEdge>
__attribute__((noinline)) void pixels(const Block& p, long column, unsigned char* out) {
  using I = typename C::I;
  constexpr int kInputs = (kPixels - 1) * kStep + kSize, kGroups = (kSize + 3) / 4;
  const unsigned char* x[kSize];
  FOVEA_UNROLL(8)
  for (int r = 0; r < kSize; ++r) x[r] = p.x[r] + column * p.next[r];
  const signed char* const weights = p.weights;
  const float *const scale = p.scale, *const bias = p.bias;
  const I low = C::byte(p.low), high = C::byte(p.high);
  I sum[kPixels][4];
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
      I v[4];
      C::interleave(in[g * 4], in[g * 4 + 1], in[g * 4 + 2], in[g * 4 + 3], v);
      FOVEA_UNROLL(8)
      for (int t = 0; t < kSize; ++t) {
        const int to = (i - t) / kStep;
        if (i < t || (i - t) % kStep != 0 || to >= kPixels) continue;
        FOVEA_UNROLL(4)
        for (int k = 0; k < 4; ++k) {
          const I start = g == 0 && t == 0 ? C::zero() : sum[to][k];
          sum[to][k] = C::dot(start, v[k], C::weight(weights + ((g * kSize + t) * 4 + k) * C::kChannels));
        }
      }
    }
    if (i < kSize - 1 || (i - kSize + 1) % kStep != 0) continue;
    I* const done = sum[(i - kSize + 1) / kStep];
    FOVEA_UNROLL(4)
    for (int k = 0; k < 4; ++k)
      done[k] = C::rounded(done[k], scale + k * (C::kChannels / 4), bias + k * (C::kChannels / 4));
    C::store(p.mask, out, C::packed(done, low, high));
    out += p.channels;
  }
}

template <class C, int kSize, int kStep>
void channels(const DepthwiseRowU8& p, long c) {
  const long left = p.channels - c;
  Block b{{},          {},         p.outside, p.packed + c * ((kSize + 3) / 4) * kSize * 4,
          p.scale + c, p.bias + c, p.out + c, left >= 64 ? ~0ull : (1ull << left) - 1,
          p.channels,  p.width,    p.low,     p.high};
  for (int r = 0; r < kSize; ++r) {
    b.x[r] = p.in[r] ? p.in[r] + c : p.outside;
    b.next[r] = p.in[r] ? p.channels : 0;
  }
  const auto tile = [&](auto fast, auto edge, int count, long j) {
    const long column = p.first + j * kStep;
    const bool inside = column >= 0 && column + (count - 1) * kStep + kSize <= p.width;
    (inside ? fast : edge)(b, column, b.out + j * p.channels);
  };
  long j = 0;
  if (p.count >= kTile) {  // the last tile may do again what the one before it did
    for (; j < p.count; j += kTile)
      tile(pixels<C, kSize, kStep, kTile, false>, pixels<C, kSize, kStep, kTile, true>, kTile,
           j < p.count - kTile ? j : p.count - kTile);
    return;
  }
  const auto few = pixels<C, kSize, kStep, 3, true>, one = pixels<C, kSize, kStep, 1, true>;
  for (; j + 3 <= p.count; j += 3) tile(few, few, 3, j);
  for (; j < p.count; ++j) tile(one, one, 1, j);
}

template <int kSize, int kStep>
void row(const DepthwiseRowU8& p) {
  const long padded = (p.channels + 15) / 16 * 16;
  long c = 0;
  for (; c + 64 <= padded; c += 64) channels<C64, kSize, kStep>(p, c);
  if (c + 32 <= padded) {
    channels<C32, kSize, kStep>(p, c);
    c += 32;
  }
  if (c < padded) channels<C16, kSize, kStep>(p, c);
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
