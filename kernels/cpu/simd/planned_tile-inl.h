// The register tiles of planned_gemm.cc. Included once per target.
#if defined(FOVEA_KERNELS_CPU_SIMD_PLANNED_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_CPU_SIMD_PLANNED_TILE_INL_H_
#undef FOVEA_KERNELS_CPU_SIMD_PLANNED_TILE_INL_H_
#else
#define FOVEA_KERNELS_CPU_SIMD_PLANNED_TILE_INL_H_
#endif

#include <hwy/highway.h>
// After highway.h:
#include <hwy/cache_control.h>

#include <cstring>

#include "kernels/cpu/simd/bf16-inl.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/cpu/simd/planned_gemm.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
inline constexpr int kLanes = HWY_LANES(float);

/// Asks for a line that will be written and may be another core's.
HWY_INLINE void prefetch_for_writing(const void* at) {
#if HWY_ARCH_X86
  // The builtin reads unless the whole file is compiled for CPUs with the instruction; older ones take it for a no-op.
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(at)));
#else
  __builtin_prefetch(at, 1);
#endif
}

/// An array of no vectors still needs an element.
constexpr int at_least_one(int n) { return n < 1 ? 1 : n; }

struct Tile {
  const float* a;
  std::int64_t a_stride;
  const Run* runs;
  int run_count;
  const float* b;
  const float* bias;
  const void* residual;  ///< like c
  std::int64_t residual_stride;
  void* c;
  std::int64_t c_stride;
  int columns;  ///< of this panel
  bool clamp;
  float low, high;
  Fetch fetch;
  std::int64_t fetched;  ///< bytes from one tile's to the next one's
  std::int64_t tiles = 1;
};

/// sum = bias + a·b, kFull vectors of columns.
template <int MR, int kFull>
FOVEA_INLINE HWY_INLINE void multiply(const Tile& t, V (&sum)[MR][kFull]) {
  const D d;
  constexpr int kBases = (MR + 2) / 3;
  constexpr int kRow = kFull * kLanes;
  constexpr int kAsks = static_cast<int>(asks_per_row(kRow));
  FOVEA_UNROLL(2)
  for (int v = 0; v < kFull; ++v) {
    const V start = hn::LoadU(d, t.bias + v * kLanes);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) sum[i][v] = start;
  }
  const float* HWY_RESTRICT b = t.b;
  const char* fetch = t.fetch.at;
  const std::int64_t stride = t.a_stride, fetch_step = t.fetch.step;
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const float* base[kBases];
    base[0] = t.a + t.runs[r].offset;
    FOVEA_UNROLL(5)
    for (int i = 1; i < kBases; ++i) base[i] = base[i - 1] + 3 * stride;
    const int length = t.runs[r].length;
    const auto step = [&](int q) FOVEA_INLINE HWY_ATTR {
      V bv[kFull];
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull; ++v) bv[v] = hn::LoadU(d, b + q * kRow + v * kLanes);
      FOVEA_UNROLL(2)
      for (int v = 0; v < kAsks; ++v) hwy::Prefetch(fetch + v * fetch_step);
      fetch += kAsks * fetch_step;
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) {
        const V av = hn::Set(d, base[i / 3][i % 3 * stride + q]);
        FOVEA_UNROLL(2)
        for (int v = 0; v < kFull; ++v) sum[i][v] = hn::MulAdd(av, bv[v], sum[i][v]);
      }
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + 2 <= length; k += 2) {
      step(0);
      step(1);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 2;
      b += 2 * kRow;
    }
    FOVEA_UNROLL(1)
    for (; k < length; ++k) {
      step(0);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 1;
      b += kRow;
    }
  }
}

#if HWY_TARGET == HWY_AVX3
using H = hn::Vec<hn::Half<D>>;

/// The sums of even lanes and of the odd ones beside them: of `low` in the lower half, of `high` in the upper.
HWY_INLINE V add_pairs(V low, V high) {
  const D d;
  return hn::Add(hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low));
}

/// The same for kFull vectors of columns and half a one, from rows of b in pairs (pack_planned): a vector holds eight
/// columns of two rows, so that 24 columns are three quarters of what two vectors would be. In the end neighbouring
/// lanes are added.
template <int MR, int kFull>
FOVEA_INLINE HWY_INLINE void multiply_pairs(const Tile& t, V (&sum)[MR][at_least_one(kFull)], H (&tail)[MR]) {
  const D d;
  const hn::Half<D> h;
  const hn::Repartition<double, D> pairs;
  constexpr int kBases = (MR + 2) / 3;
  constexpr int kVectors = 2 * kFull + 1;
  constexpr int kRow = kVectors * kLanes, kFetches = 2 * (kFull + 1);
  V acc[MR][kVectors];
  FOVEA_UNROLL(3)
  for (int v = 0; v < kVectors; ++v) {
    const hn::Repartition<std::uint64_t, D> wide;
    const hn::Half<hn::Repartition<std::uint32_t, D>> bits;
    const V start = hn::BitCast(d, hn::PromoteTo(wide, hn::BitCast(bits, hn::LoadU(h, t.bias + v * kLanes / 2))));
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) acc[i][v] = start;
  }
  const float* HWY_RESTRICT b = t.b;
  const char* fetch = t.fetch.at;
  const std::int64_t stride = t.a_stride, fetch_step = t.fetch.step;
  const auto step = [&](int q, auto a_of) FOVEA_INLINE HWY_ATTR {
    V bv[kVectors];
    FOVEA_UNROLL(3)
    for (int v = 0; v < kVectors; ++v) bv[v] = hn::LoadU(d, b + q * kRow + v * kLanes);
    FOVEA_UNROLL(4)
    for (int v = 0; v < kFetches; ++v) hwy::Prefetch(fetch + v * fetch_step);
    fetch += kFetches * fetch_step;
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      const V av = a_of(i);
      FOVEA_UNROLL(3)
      for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::MulAdd(av, bv[v], acc[i][v]);
    }
  };
  FOVEA_UNROLL(1)
  for (int r = 0; r < t.run_count; ++r) {
    const float* base[kBases];
    base[0] = t.a + t.runs[r].offset;
    FOVEA_UNROLL(5)
    for (int i = 1; i < kBases; ++i) base[i] = base[i - 1] + 3 * stride;
    const int length = t.runs[r].length;
    const auto pair = [&](int q) FOVEA_INLINE HWY_ATTR {
      step(q, [&](int i) FOVEA_INLINE HWY_ATTR {
        double both;
        std::memcpy(&both, base[i / 3] + i % 3 * stride + 2 * q, sizeof(both));
        return hn::BitCast(d, hn::Set(pairs, both));
      });
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + 8 <= length; k += 8) {
      pair(0);
      pair(1);
      pair(2);
      pair(3);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 8;
      b += 4 * kRow;
    }
    FOVEA_UNROLL(1)
    for (; k + 2 <= length; k += 2) {
      pair(0);
      FOVEA_UNROLL(5)
      for (int i = 0; i < kBases; ++i) base[i] += 2;
      b += kRow;
    }
    if (k == length) continue;
    // What lies behind a run may be NaN: zero in its place.
    step(0, [&](int i) FOVEA_INLINE HWY_ATTR {
      const hn::Repartition<std::uint64_t, D> wide;
      std::uint32_t bits;
      std::memcpy(&bits, base[i / 3] + i % 3 * stride, sizeof(bits));
      return hn::BitCast(d, hn::Set(wide, std::uint64_t{bits}));
    });
    b += kRow;
  }
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    if constexpr (kFull == 1) sum[i][0] = add_pairs(acc[i][0], acc[i][1]);
    tail[i] = hn::LowerHalf(h, add_pairs(acc[i][kVectors - 1], acc[i][kVectors - 1]));
  }
}
#endif

/// One tile: kFull vectors of columns and, on AVX-512, kHalf = 1 half one.
template <class O, int MR, int kFull, int kHalf>
FOVEA_INLINE HWY_INLINE void one_tile(const Tile& t) {
  const D d;
  const hn::Half<D> h;
  V sum[MR][at_least_one(kFull)];
  hn::Vec<hn::Half<D>> tail[MR];
  if constexpr (kHalf == 0) multiply(t, sum);
#if HWY_TARGET == HWY_AVX3
  if constexpr (kHalf == 1) multiply_pairs<MR, kFull>(t, sum, tail);
#endif

  // The last vector may stand for fewer columns than it has. Never a byte past the last column: it may be another
  // thread's, or nobody's.
  const int last = t.columns - (kFull + kHalf - 1) * kLanes;
  const bool whole = last == (kHalf ? kLanes / 2 : kLanes);
  constexpr int kWhole = kHalf ? kFull : kFull - 1;
  if (t.residual) {
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      const O* from = static_cast<const O*>(t.residual) + i * t.residual_stride;
      FOVEA_UNROLL(2)
      for (int v = 0; v < kWhole; ++v) sum[i][v] = hn::Add(sum[i][v], load_value(d, from + v * kLanes));
      from += kWhole * kLanes;
      if (kHalf) {
        tail[i] = hn::Add(tail[i], whole ? load_value(h, from) : load_first(h, from, last));
      } else {
        sum[i][kFull - 1] = hn::Add(sum[i][kFull - 1], whole ? load_value(d, from) : load_first(d, from, last));
      }
    }
  }
  if (t.clamp) {
    // x86's max and min return the second operand if either is NaN: a NaN stays visible.
    const V low = hn::Set(d, t.low), high = hn::Set(d, t.high);
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kFull; ++v) sum[i][v] = hn::Min(high, hn::Max(low, sum[i][v]));
      if (kHalf) tail[i] = hn::Min(hn::LowerHalf(h, high), hn::Max(hn::LowerHalf(h, low), tail[i]));
    }
  }
  O* to = static_cast<O*>(t.c);
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i, to += t.c_stride) {
    FOVEA_UNROLL(2)
    for (int v = 0; v < kWhole; ++v) store_value(sum[i][v], d, to + v * kLanes);
    O* const rest = to + kWhole * kLanes;
    if (kHalf) {
      whole ? store_value(tail[i], h, rest) : store_first(tail[i], h, rest, last);
    } else {
      whole ? store_value(sum[i][kFull - 1], d, rest) : store_first(sum[i][kFull - 1], d, rest, last);
    }
  }
}

/// t.tiles of them, one below the other, and on to the rows behind them: a call for each would take a tenth of the time
/// of products of 16 values.
template <class O, int MR, int kFull, int kHalf>
HWY_NOINLINE void tile(Tile& t) {
  for (std::int64_t left = t.tiles; left > 0; --left) {
    one_tile<O, MR, kFull, kHalf>(t);
    // Kept in registers from tile to tile, bias and bounds would leave too few for the sums.
    asm volatile("" ::: "memory");
    t.a += MR * t.a_stride;
    t.c = static_cast<O*>(t.c) + MR * t.c_stride;
    if (t.residual) t.residual = static_cast<const O*>(t.residual) + MR * t.residual_stride;
    t.fetch.at += t.fetched;
  }
}

/// Up to three rows in all: the weights are read once, from L3 or memory, and that is all the time. Four partial sums a
/// result hide the latency of the multiply-add.
template <class O, int MR, int NV>
HWY_NOINLINE void thin_tile(Tile& t) {
  const D d;
  constexpr int kParts = 4;
  // From the hardware's streams alone 5 MB of a classifier come at 60 % of this speed.
  constexpr int kAhead = 2048;
  V sum[kParts][MR][NV];
  FOVEA_UNROLL(4)
  for (int q = 0; q < kParts; ++q) {
    FOVEA_UNROLL(4)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) sum[q][i][v] = q == 0 ? hn::LoadU(d, t.bias + v * kLanes) : hn::Zero(d);
    }
  }
  const float* HWY_RESTRICT b = t.b;
  for (int r = 0; r < t.run_count; ++r) {
    const float* a = t.a + t.runs[r].offset;
    const int length = t.runs[r].length;
    const auto step = [&](int q, int k) FOVEA_INLINE HWY_ATTR {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) {
        const V bv = hn::LoadU(d, b + v * kLanes);
        if (v * kLanes % 16 == 0) hwy::Prefetch(b + v * kLanes + kAhead);
        FOVEA_UNROLL(4)
        for (int i = 0; i < MR; ++i) sum[q][i][v] = hn::MulAdd(hn::Set(d, a[i * t.a_stride + k]), bv, sum[q][i][v]);
      }
      b += NV * kLanes;
    };
    int k = 0;
    FOVEA_UNROLL(1)
    for (; k + kParts <= length; k += kParts) {
      step(0, k);
      step(1, k + 1);
      step(2, k + 2);
      step(3, k + 3);
    }
    FOVEA_UNROLL(1)
    for (; k < length; ++k) step(0, k);
  }
  const int last = t.columns - (NV - 1) * kLanes;
  const V low = hn::Set(d, t.low), high = hn::Set(d, t.high);
  for (int i = 0; i < MR; ++i) {
    for (int v = 0; v < NV; ++v) {
      const int count = v + 1 < NV ? kLanes : last;
      V y = hn::Add(hn::Add(sum[0][i][v], sum[1][i][v]), hn::Add(sum[2][i][v], sum[3][i][v]));
      if (t.residual) {
        const O* from = static_cast<const O*>(t.residual) + i * t.residual_stride + v * kLanes;
        y = hn::Add(y, load_first(d, from, count));
      }
      if (t.clamp) y = hn::Min(high, hn::Max(low, y));
      store_first(y, d, static_cast<O*>(t.c) + i * t.c_stride + v * kLanes, count);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();
#endif
