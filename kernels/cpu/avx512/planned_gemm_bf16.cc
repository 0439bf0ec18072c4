// Products of bf16 with sums in f32 (vdpbf16ps): 14 rows × 2 vectors as in simd/planned_gemm.cc, a step of k is a pair.
// Highway 1.0.3 has no such instruction, so these are intrinsics, compiled with flags of their own and called after a
// look at the CPU. Internal linkage throughout: see tests/structure/isa_symbols.sh.
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/simd/loops.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace fovea::kernels::simd {
namespace {

constexpr int kRows = 14;
constexpr int kPrefetch = 2048;  // bytes

using V = __m512;

/// An array of no vectors still needs an element.
constexpr int at_least_one(int n) { return n < 1 ? 1 : n; }

FOVEA_INLINE inline V widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
/// Two values, which begin at any of them.
FOVEA_INLINE inline __m512i pair(const void* p) {
  int both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm512_set1_epi32(both);
}
FOVEA_INLINE inline V dot(V sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

struct OutF32 {
  using T = float;
  static FOVEA_INLINE inline V load(const T* p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
  static FOVEA_INLINE inline void store(T* p, __mmask16 m, V v) { _mm512_mask_storeu_ps(p, m, v); }
};
struct OutBf16 {
  using T = unsigned short;
  static FOVEA_INLINE inline V load(const T* p, __mmask16 m) { return widen(_mm256_maskz_loadu_epi16(m, p)); }
  static FOVEA_INLINE inline void store(T* p, __mmask16 m, V v) {
    _mm256_mask_storeu_epi16(p, m, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
};

struct Tile {
  const char* a;
  long stride;  // bytes
  const Run* runs;
  int run_count;
  const char* b;
  const float* bias;
  const void* residual;
  long residual_stride;  // elements
  void* c;
  long c_stride;
  int columns;
  bool clamp;
  float low, high;
};

/// kFull vectors of columns and kHalf = 0 or 1 half one: 24 columns are one and a half vectors' work where two units of
/// 256 bits do that of one of 512 (Zen 4), and no more than two elsewhere.
template <class Out, int MR, int kFull, int kHalf>
__attribute__((noinline)) void tile(const Tile& t) {
  constexpr int kBases = (MR + 2) / 3, kRow = (kFull + kHalf) * 64;
  V sum[MR][at_least_one(kFull)];
  __m256 tail[MR];
  FOVEA_UNROLL(2)
  for (int v = 0; v < kFull; ++v) {
    const V start = _mm512_loadu_ps(t.bias + v * 16);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) sum[i][v] = start;
  }
  if (kHalf) {
    const __m256 start = _mm256_loadu_ps(t.bias + kFull * 16);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) tail[i] = start;
  }
  const char* b = t.b;
  const long stride = t.stride;
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const char* base[kBases];
    base[0] = t.a + t.runs[r].offset * 2;
    FOVEA_UNROLL(5)
    for (int i = 1; i < kBases; ++i) base[i] = base[i - 1] + 3 * stride;
    const int pairs = t.runs[r].length / 2;
    const auto step = [&](int q) FOVEA_INLINE {
      __m512i bv[at_least_one(kFull)];
      __m256i bh = _mm256_setzero_si256();
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull; ++v) bv[v] = _mm512_loadu_si512(b + q * kRow + v * 64);
      if (kHalf) bh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + q * kRow + kFull * 64));
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull + kHalf; ++v) _mm_prefetch(b + q * kRow + v * 64 + kPrefetch, _MM_HINT_T0);
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) {
        const __m512i av = pair(base[i / 3] + i % 3 * stride + q * 4);
        FOVEA_UNROLL(2)
        for (int v = 0; v < kFull; ++v) sum[i][v] = dot(sum[i][v], av, bv[v]);
        if (kHalf) {
          tail[i] = _mm256_dpbf16_ps(tail[i], reinterpret_cast<__m256bh>(_mm512_castsi512_si256(av)),
                                     reinterpret_cast<__m256bh>(bh));
        }
      }
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + 4 <= pairs; k += 4) {
      step(0);
      step(1);
      step(2);
      step(3);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 16;
      b += 4 * kRow;
    }
    FOVEA_UNROLL(1)
    for (; k < pairs; ++k) {
      step(0);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 4;
      b += kRow;
    }
  }
  // The half vector ends as a whole one whose upper lanes are masked.
  constexpr int kVectors = kFull + kHalf;
  V y[MR][kVectors];
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    FOVEA_UNROLL(2)
    for (int v = 0; v < kFull; ++v) y[i][v] = sum[i][v];
    if (kHalf) y[i][kVectors - 1] = _mm512_castps256_ps512(tail[i]);
  }
  const auto last = static_cast<__mmask16>((1u << (t.columns - (kVectors - 1) * 16)) - 1);
  if (t.residual) {
    const auto* from = static_cast<const typename Out::T*>(t.residual);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i, from += t.residual_stride) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kVectors; ++v)
        y[i][v] = _mm512_add_ps(y[i][v], Out::load(from + v * 16, v + 1 < kVectors ? 0xffff : last));
    }
  }
  if (t.clamp) {
    // The second operand is returned if either is NaN: a NaN stays visible.
    const V low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) y[i][v] = _mm512_min_ps(high, _mm512_max_ps(low, y[i][v]));
    }
  }
  auto* to = static_cast<typename Out::T*>(t.c);
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i, to += t.c_stride) {
    FOVEA_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) Out::store(to + v * 16, v + 1 < kVectors ? 0xffff : last, y[i][v]);
  }
}

/// One to three rows: the weights' way from memory is all the time; four partial sums hide the latency.
template <class Out, int MR, int NV>
__attribute__((noinline)) void thin_tile(const Tile& t) {
  constexpr int kParts = 4;
  V sum[kParts][MR][NV];
  FOVEA_UNROLL(4)
  for (int q = 0; q < kParts; ++q) {
    FOVEA_UNROLL(4)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) sum[q][i][v] = q == 0 ? _mm512_loadu_ps(t.bias + v * 16) : _mm512_setzero_ps();
    }
  }
  const char* b = t.b;
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const char* a = t.a + t.runs[r].offset * 2;
    const int pairs = t.runs[r].length / 2;
    const auto step = [&](int q, int k) FOVEA_INLINE {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) {
        const __m512i bv = _mm512_loadu_si512(b + v * 64);
        _mm_prefetch(b + v * 64 + 4 * kPrefetch, _MM_HINT_T0);
        FOVEA_UNROLL(4)
        for (int i = 0; i < MR; ++i) sum[q][i][v] = dot(sum[q][i][v], pair(a + i * t.stride + k * 4), bv);
      }
      b += NV * 64;
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + kParts <= pairs; k += kParts) {
      step(0, k);
      step(1, k + 1);
      step(2, k + 2);
      step(3, k + 3);
    }
    FOVEA_UNROLL(1)
    for (; k < pairs; ++k) step(0, k);
  }
  const auto last = static_cast<__mmask16>((1u << (t.columns - (NV - 1) * 16)) - 1);
  const V low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high);
  for (int i = 0; i < MR; ++i) {
    for (int v = 0; v < NV; ++v) {
      const __mmask16 m = v + 1 < NV ? 0xffff : last;
      V y = _mm512_add_ps(_mm512_add_ps(sum[0][i][v], sum[1][i][v]), _mm512_add_ps(sum[2][i][v], sum[3][i][v]));
      if (t.residual) {
        const auto* from = static_cast<const typename Out::T*>(t.residual);
        y = _mm512_add_ps(y, Out::load(from + i * t.residual_stride + v * 16, m));
      }
      if (t.clamp) y = _mm512_min_ps(high, _mm512_max_ps(low, y));
      Out::store(static_cast<typename Out::T*>(t.c) + i * t.c_stride + v * 16, m, y);
    }
  }
}

using TileFn = void (*)(const Tile&);
template <class Out, int kFull, int kHalf>
struct Table {
  static constexpr TileFn kFn[kRows + 1] = {nullptr,
                                            thin_tile<Out, 1, kFull + kHalf>,
                                            thin_tile<Out, 2, kFull + kHalf>,
                                            thin_tile<Out, 3, kFull + kHalf>,
                                            tile<Out, 4, kFull, kHalf>,
                                            tile<Out, 5, kFull, kHalf>,
                                            tile<Out, 6, kFull, kHalf>,
                                            tile<Out, 7, kFull, kHalf>,
                                            tile<Out, 8, kFull, kHalf>,
                                            tile<Out, 9, kFull, kHalf>,
                                            tile<Out, 10, kFull, kHalf>,
                                            tile<Out, 11, kFull, kHalf>,
                                            tile<Out, 12, kFull, kHalf>,
                                            tile<Out, 13, kFull, kHalf>,
                                            tile<Out, 14, kFull, kHalf>};
};

template <class Out>
void run(const PlannedGemm& job) {
  using T = typename Out::T;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const std::int64_t rest = job.columns - p * 32;
    const int columns = static_cast<int>(rest < 32 ? rest : 32);
    const bool narrow = columns <= 16;
    const auto residual_at = [&](const void* base, std::int64_t i) {
      return base ? static_cast<const T*>(base) + i : nullptr;
    };
    Tile t{static_cast<const char*>(job.a),
           job.a_stride * 2,
           job.runs,
           job.run_count,
           static_cast<const char*>(job.packed) + p * 32 * job.k * 2,
           job.bias + p * 32,
           residual_at(job.residual, p * 32),
           job.residual_stride,
           static_cast<T*>(job.c) + p * 32,
           job.c_stride,
           columns,
           job.clamp,
           job.low,
           job.high};
    const bool half = columns <= (narrow ? 8 : 24);
    const TileFn* const table = narrow ? (half ? Table<Out, 0, 1>::kFn : Table<Out, 1, 0>::kFn)
                                       : (half ? Table<Out, 1, 1>::kFn : Table<Out, 2, 0>::kFn);
    for (std::int64_t left = job.rows; left > 0;) {
      // Full tiles while there are at least two tiles' rows, the rest evenly: no thin last tile.
      std::int64_t size = kRows;
      if (left < 2 * kRows) size = left <= kRows ? left : (left + 1) / 2;
      table[size](t);
      left -= size;
      t.a += size * t.stride;
      t.c = static_cast<T*>(t.c) + size * job.c_stride;
      t.residual = residual_at(t.residual, size * job.residual_stride);
    }
  }
}

}  // namespace

void planned_gemm_bf16(const PlannedGemm& job) { job.out == Element::bf16 ? run<OutBf16>(job) : run<OutF32>(job); }

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void planned_gemm_bf16(const PlannedGemm&) { __builtin_trap(); }  // has_bf16() is false
}  // namespace fovea::kernels::simd
#endif
