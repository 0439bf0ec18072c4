// The register tile of products whose operands come four bytes at a time (two of bf16, four of u8 and i8): 14 rows × 2
// vectors as in simd/planned_gemm.cc. Highway 1.0.3 has no such instructions, so these are intrinsics, compiled with
// flags of their own and called after a look at the CPU. Internal linkage throughout: see
// tests/structure/isa_symbols.sh.
//
// A Product says what is summed (type In, Acc in a whole vector, Half in a half one, value() as f32) and how few of
// them go in tiles of half the rows (kShallow), whether PlannedGemm::fetch is heeded (kFetches), an Out what is stored.
#pragma once

#include "kernels/cpu/avx512/dot.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {
namespace {

inline constexpr int kRows = 14;
inline constexpr int kPrefetch = 2048;  // bytes

using V = __m512;

/// An array of no vectors still needs an element.
constexpr int at_least_one(int n) { return n < 1 ? 1 : n; }

/// Four bytes, which begin at any of them, in all lanes.
FOVEA_INLINE inline __m512i quad(const void* p) {
  int all;
  __builtin_memcpy(&all, p, sizeof all);
  return _mm512_set1_epi32(all);
}

struct Tile {
  const char* a;
  long stride;  // bytes
  const Run* runs;
  int run_count;
  const char* b;
  const float *bias, *scale;
  const void* residual;
  long residual_stride;  // elements
  float residual_scale;
  void* c;
  long c_stride;
  int columns;
  bool clamp;
  float low, high;
  const RoundedActivation* rounded;
  Fetch fetch;
};

struct OutF32 {
  using T = float;
  static FOVEA_INLINE inline V load(const T* p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
  /// Vector v of row i for all rows and vectors; the last vector's lanes by mask.
  template <int MR, int NV>
  static FOVEA_INLINE inline void store(const Tile& t, __mmask16 last, V (&y)[MR][NV]) {
    auto* to = static_cast<T*>(t.c);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i, to += t.c_stride) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) _mm512_mask_storeu_ps(to + v * 16, v + 1 < NV ? 0xffff : last, y[i][v]);
    }
  }
};

/// kFull vectors of columns and kHalf = 0 or 1 half one: 24 columns are one and a half vectors' work where two units of
/// 256 bits do that of one of 512 (Zen 4), and no more than two elsewhere.
template <class Product, class Out, int MR, int kFull, int kHalf>
__attribute__((noinline)) void tile(const Tile& t) {
  constexpr int kBases = (MR + 2) / 3, kRow = (kFull + kHalf) * 64;
  typename Product::Acc sum[MR][at_least_one(kFull)];
  typename Product::Half tail[MR];
  FOVEA_UNROLL(2)
  for (int v = 0; v < kFull; ++v) {
    const auto start = Product::start(t, v);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) sum[i][v] = start;
  }
  if (kHalf) {
    const auto start = Product::start_half(t, kFull);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) tail[i] = start;
  }
  const char* b = t.b;
  const char* fetch = t.fetch.at;
  const long stride = t.stride, fetch_step = t.fetch.step;
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const char* base[kBases];
    base[0] = t.a + t.runs[r].offset * Product::kBytes;
    FOVEA_UNROLL(5)
    for (int i = 1; i < kBases; ++i) base[i] = base[i - 1] + 3 * stride;
    const int quads = t.runs[r].length * Product::kBytes / 4;
    const auto step = [&](int q) FOVEA_INLINE {
      __m512i bv[at_least_one(kFull)];
      __m256i bh = _mm256_setzero_si256();
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull; ++v) bv[v] = _mm512_loadu_si512(b + q * kRow + v * 64);
      if (kHalf) bh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + q * kRow + kFull * 64));
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull + kHalf; ++v)
        _mm_prefetch(Product::kFetches ? fetch + v * fetch_step : b + q * kRow + v * 64 + kPrefetch, _MM_HINT_T0);
      if (Product::kFetches) fetch += (kFull + kHalf) * fetch_step;
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) {
        const __m512i av = quad(base[i / 3] + i % 3 * stride + q * 4);
        FOVEA_UNROLL(2)
        for (int v = 0; v < kFull; ++v) sum[i][v] = Product::dot(sum[i][v], av, bv[v]);
        if (kHalf) tail[i] = Product::dot_half(tail[i], _mm512_castsi512_si256(av), bh);
      }
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + 4 <= quads; k += 4) {
      step(0);
      step(1);
      step(2);
      step(3);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 16;
      b += 4 * kRow;
    }
    FOVEA_UNROLL(1)
    for (; k < quads; ++k) {
      step(0);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 4;
      b += kRow;
    }
  }
  // The half vector ends as a whole one whose upper lanes are masked.
  constexpr int kVectors = kFull + kHalf;
  V y[MR][kVectors];
  FOVEA_UNROLL(2)
  for (int v = 0; v < kFull; ++v) {
    const typename Product::Finish finish(t, v);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) y[i][v] = finish.value(sum[i][v]);
  }
  if (kHalf) {
    const typename Product::Finish finish(t, kFull);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) y[i][kVectors - 1] = finish.value(Product::whole(tail[i]));
  }
  const auto last = static_cast<__mmask16>((1u << (t.columns - (kVectors - 1) * 16)) - 1);
  if (t.residual) {
    const auto* from = static_cast<const typename Out::T*>(t.residual);
    const V scale = _mm512_set1_ps(t.residual_scale);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i, from += t.residual_stride) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kVectors; ++v)
        y[i][v] = _mm512_fmadd_ps(Out::load(from + v * 16, v + 1 < kVectors ? 0xffff : last), scale, y[i][v]);
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
  Out::store(t, last, y);
}

/// One to three rows in all: the weights' way from memory is all the time; four partial sums hide the latency.
template <class Product, class Out, int MR, int NV>
__attribute__((noinline)) void thin_tile(const Tile& t) {
  constexpr int kParts = 4;
  typename Product::Acc sum[kParts][MR][NV];
  FOVEA_UNROLL(4)
  for (int q = 0; q < kParts; ++q) {
    FOVEA_UNROLL(4)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) sum[q][i][v] = q == 0 ? Product::start(t, v) : Product::zero();
    }
  }
  const char* b = t.b;
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const char* a = t.a + t.runs[r].offset * Product::kBytes;
    const int quads = t.runs[r].length * Product::kBytes / 4;
    const auto step = [&](int q, int k) FOVEA_INLINE {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) {
        const __m512i bv = _mm512_loadu_si512(b + v * 64);
        _mm_prefetch(b + v * 64 + 4 * kPrefetch, _MM_HINT_T0);
        FOVEA_UNROLL(4)
        for (int i = 0; i < MR; ++i) sum[q][i][v] = Product::dot(sum[q][i][v], quad(a + i * t.stride + k * 4), bv);
      }
      b += NV * 64;
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + kParts <= quads; k += kParts) {
      step(0, k);
      step(1, k + 1);
      step(2, k + 2);
      step(3, k + 3);
    }
    FOVEA_UNROLL(1)
    for (; k < quads; ++k) step(0, k);
  }
  const auto last = static_cast<__mmask16>((1u << (t.columns - (NV - 1) * 16)) - 1);
  const V low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high);
  V y[MR][NV];
  for (int v = 0; v < NV; ++v) {
    const typename Product::Finish finish(t, v);
    for (int i = 0; i < MR; ++i) {
      const __mmask16 m = v + 1 < NV ? 0xffff : last;
      y[i][v] = finish.value(Product::add(Product::add(sum[0][i][v], sum[1][i][v]),  //
                                          Product::add(sum[2][i][v], sum[3][i][v])));
      if (t.residual) {
        const auto* from = static_cast<const typename Out::T*>(t.residual);
        y[i][v] = _mm512_fmadd_ps(Out::load(from + i * t.residual_stride + v * 16, m), _mm512_set1_ps(t.residual_scale),
                                  y[i][v]);
      }
      if (t.clamp) y[i][v] = _mm512_min_ps(high, _mm512_max_ps(low, y[i][v]));
    }
  }
  Out::store(t, last, y);
}

using TileFn = void (*)(const Tile&);
template <class Product, class Out, int kFull, int kHalf>
struct Table {
  static constexpr TileFn kThin[4] = {nullptr, thin_tile<Product, Out, 1, kFull + kHalf>,
                                      thin_tile<Product, Out, 2, kFull + kHalf>,
                                      thin_tile<Product, Out, 3, kFull + kHalf>};
  static constexpr TileFn kFn[kRows + 1] = {nullptr,
                                            tile<Product, Out, 1, kFull, kHalf>,
                                            tile<Product, Out, 2, kFull, kHalf>,
                                            tile<Product, Out, 3, kFull, kHalf>,
                                            tile<Product, Out, 4, kFull, kHalf>,
                                            tile<Product, Out, 5, kFull, kHalf>,
                                            tile<Product, Out, 6, kFull, kHalf>,
                                            tile<Product, Out, 7, kFull, kHalf>,
                                            tile<Product, Out, 8, kFull, kHalf>,
                                            tile<Product, Out, 9, kFull, kHalf>,
                                            tile<Product, Out, 10, kFull, kHalf>,
                                            tile<Product, Out, 11, kFull, kHalf>,
                                            tile<Product, Out, 12, kFull, kHalf>,
                                            tile<Product, Out, 13, kFull, kHalf>,
                                            tile<Product, Out, 14, kFull, kHalf>};
};

template <class Product, class Out>
void run_gemm(const PlannedGemm& job) {
  using T = typename Out::T;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const std::int64_t rest = job.columns - p * 32;
    const int columns = static_cast<int>(rest < 32 ? rest : 32);
    const bool narrow = columns <= 16;
    const auto residual_at = [&](const void* base, std::int64_t i) {
      return base ? static_cast<const T*>(base) + i : nullptr;
    };
    Tile t{static_cast<const char*>(job.a),
           job.a_stride * Product::kBytes,
           job.runs,
           job.run_count,
           static_cast<const char*>(job.packed) + p * 32 * job.k * Product::kBytes,
           job.bias + p * 32,
           job.scale ? job.scale + p * 32 : nullptr,
           residual_at(job.residual, p * 32),
           job.residual_stride,
           job.residual_scale,
           static_cast<T*>(job.c) + p * 32,
           job.c_stride,
           columns,
           job.clamp,
           job.low,
           job.high,
           job.rounded,
           job.fetch};
    if (!job.fetch.at) t.fetch = {t.b + kPrefetch, 64};
    const std::int64_t fetched =
        job.fetch.at ? job.k * Product::kBytes / 4 * asks_per_row(columns) * job.fetch.step : 0;
    const bool half = columns <= (narrow ? 8 : 24);
    const TileFn* table = narrow ? (half ? Table<Product, Out, 0, 1>::kFn : Table<Product, Out, 1, 0>::kFn)
                                 : (half ? Table<Product, Out, 1, 1>::kFn : Table<Product, Out, 2, 0>::kFn);
    if (job.thin && job.rows <= 3) {
      table = narrow ? (half ? Table<Product, Out, 0, 1>::kThin : Table<Product, Out, 1, 0>::kThin)
                     : (half ? Table<Product, Out, 1, 1>::kThin : Table<Product, Out, 2, 0>::kThin);
    }
    // As kShallow in simd/planned_gemm.cc says.
    const std::int64_t most = !narrow && job.k <= Product::kShallow && halves_vectors() ? kRows / 2 : kRows;
    for (std::int64_t left = job.rows; left > 0;) {
      // Full tiles while there are at least two tiles' rows, the rest evenly: no thin last tile.
      std::int64_t size = most;
      if (left < 2 * most) size = left <= most ? left : (left + 1) / 2;
      table[size](t);
      left -= size;
      t.a += size * t.stride;
      t.c = static_cast<T*>(t.c) + size * job.c_stride;
      t.residual = residual_at(t.residual, size * job.residual_stride);
      t.fetch.at += fetched;
    }
  }
}

}  // namespace
}  // namespace fovea::kernels::simd
