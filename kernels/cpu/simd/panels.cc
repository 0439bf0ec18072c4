// The register tiles under convolution and dense, once per instruction set (Highway picks at run time).
//
// multiply tile: 6 rows × 2 vectors where there are 16 vector registers (SSSE3, AVX2: 12 sums + 2 of b + 1 broadcast),
// 12 × 2 where there are 32 (AVX-512, NEON). Each step of k is 2 loads of b and one broadcast per row for 2
// multiply-adds per row, so 4 rows or more keep both multiply-add units busy (8 sums hide 4 cycles of latency × 2
// units): a remainder is spread over all tiles rather than left to a thin last one. outer tile: the same shape with
// k-elements broadcast and positions in the loop. How far from the limit: see bench/kernels_bench.cc; on a 2-core AVX2
// machine whose multiply-add peak is 112 GFLOP/s per core a 6 × 16 tile on data in L1 and L2 reaches 90 to 97 % of it.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/panels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After foreach_target.h:
#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/simd/loops.h"
#include "kernels/cpu/simd/panels.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int kLanes = HWY_LANES(float);

#if HWY_ARCH_ARM || HWY_TARGET == HWY_AVX3
constexpr int kMaxRows = 12;
#elif HWY_TARGET == HWY_SCALAR
constexpr int kMaxRows = 2;
#else
constexpr int kMaxRows = 6;
#endif
// One vector wide, twice the rows keep the units busy; beyond 10 the rows' addresses no longer fit 16 general
// registers.
constexpr int kMaxRowsNarrow = kMaxRows == 12 ? 12 : kMaxRows + 4;
// b's share of a panel is kept near the size of L1: 512 × 16 floats are 32 KB. It also bounds the length of one f32
// sum.
constexpr std::int64_t kDepth = 640;

HWY_INLINE V finish(Activation kind, float alpha, V v) {
  const D d;
  const V zero = hn::Zero(d);
  switch (kind) {
    // x86's max and min return the second operand if either is NaN: a NaN stays visible.
    case Activation::relu: return hn::Max(zero, v);
    case Activation::relu6: return hn::Min(hn::Set(d, 6.0f), hn::Max(zero, v));
    case Activation::leaky_relu: return hn::IfThenElse(hn::Gt(v, zero), v, hn::Mul(hn::Set(d, alpha), v));
    case Activation::hard_swish:
    case Activation::hard_sigmoid: {
      const V gate = hn::Min(hn::Set(d, 6.0f), hn::Max(zero, hn::Add(v, hn::Set(d, 3.0f))));
      const V sixth = hn::Set(d, 1.0f / 6);
      return kind == Activation::hard_swish ? hn::Mul(hn::Mul(v, gate), sixth) : hn::Mul(gate, sixth);
    }
    default: return v;
  }
}

struct Tile {
  const float* a;
  const std::int64_t* row_offsets;
  const std::int64_t* out_offsets;
  const Run* runs;
  int run_count;
  const float* b;
  const float* start;  ///< bias of this panel, or null: zero
  bool from_out;
  float* out;
  int columns;  ///< of this panel
  Activation activation;
  float alpha;
};

template <int MR, int NV>
HWY_NOINLINE void multiply_tile(const Tile& t) {
  const D d;
  V sum[MR][NV];
  const bool whole = t.columns == NV * kLanes;
  HWY_ALIGN float edge[NV * kLanes];
  if (t.from_out) {
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      const float* from = t.out + t.out_offsets[i];
      if (!whole) {
        std::memset(edge, 0, sizeof edge);
        std::memcpy(edge, from, static_cast<std::size_t>(t.columns) * sizeof(float));
        from = edge;
      }
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) sum[i][v] = hn::LoadU(d, from + v * kLanes);
    }
  } else {
    FOVEA_UNROLL(2)
    for (int v = 0; v < NV; ++v) {
      const V start = t.start ? hn::LoadU(d, t.start + v * kLanes) : hn::Zero(d);
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) sum[i][v] = start;
    }
  }

  const float* HWY_RESTRICT b = t.b;
  for (int r = 0; r < t.run_count; ++r) {
    const float* row[MR];
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) row[i] = t.a + t.row_offsets[i] + t.runs[r].offset;
    const std::int64_t length = t.runs[r].length;
    // Unrolled twice, not more: GCC 12 then moves sums from register to register and spills (measured: 62 instead of 87
    // GFLOP/s).
    FOVEA_UNROLL(2)
    for (std::int64_t k = 0; k < length; ++k) {
      V bv[NV];
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) bv[v] = hn::LoadU(d, b + v * kLanes);
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) {
        const V av = hn::Set(d, row[i][k]);
        FOVEA_UNROLL(2)
        for (int v = 0; v < NV; ++v) sum[i][v] = hn::MulAdd(av, bv[v], sum[i][v]);
      }
      b += NV * kLanes;
    }
  }

  if (t.activation != Activation::none) {
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) sum[i][v] = finish(t.activation, t.alpha, sum[i][v]);
    }
  }
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    float* to = t.out + t.out_offsets[i];
    if (whole) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) hn::StoreU(sum[i][v], d, to + v * kLanes);
    } else {  // never a byte past the last column: it may be another thread's, or nobody's
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) hn::Store(sum[i][v], d, edge + v * kLanes);
      std::memcpy(to, edge, static_cast<std::size_t>(t.columns) * sizeof(float));
    }
  }
}

using TileFn = void (*)(const Tile&);
template <int kCount>
struct Tiles {
  TileFn fn[kCount + 1];  // by rows
};
template <int kVectors, int... kRows>
constexpr auto tiles_of(std::integer_sequence<int, kRows...>) {
  return Tiles<sizeof...(kRows)>{{nullptr, multiply_tile<kRows + 1, kVectors>...}};
}
constexpr auto kWideTiles = tiles_of<2>(std::make_integer_sequence<int, kMaxRows>());
constexpr auto kNarrowTiles = tiles_of<1>(std::make_integer_sequence<int, kMaxRowsNarrow>());

void multiply(const Multiply& job) {
  constexpr int kPanel = 2 * kLanes;
  // Blocks of equal depth, cut inside runs where need be.
  const std::int64_t blocks = std::max<std::int64_t>(1, (job.k + kDepth - 1) / kDepth);
  constexpr int kMaxRuns = 64;
  Run runs[kMaxRuns];
  std::int64_t done = 0;
  int run = 0;
  std::int64_t inside = 0;  // how much of runs[run] is done
  do {
    // Evenly, and by whole fours so that the loop over k has no remainder in the middle.
    std::int64_t depth = std::min(job.k - done, ((job.k + blocks - 1) / blocks + 3) / 4 * 4);
    int count = 0;
    std::int64_t taken = 0;
    while (taken < depth && count < kMaxRuns) {
      const std::int64_t take = std::min<std::int64_t>(job.runs[run].length - inside, depth - taken);
      if (take > 0) runs[count++] = {job.runs[run].offset + inside, static_cast<int>(take)};
      taken += take;
      inside += take;
      if (inside == job.runs[run].length) {
        ++run;
        inside = 0;
      }
    }
    const bool first = done == 0;
    const bool last = done + taken >= job.k;
    for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
      const int columns = static_cast<int>(std::min<std::int64_t>(kPanel, job.columns - p * kPanel));
      const bool narrow = columns <= kLanes;
      Tile tile{job.a,
                nullptr,
                nullptr,
                runs,
                count,
                job.packed + p * kPanel * job.k + done * (narrow ? kLanes : kPanel),
                job.bias ? job.bias + p * kPanel : nullptr,
                !first || job.accumulate,
                job.out + p * kPanel,
                columns,
                last ? job.activation.kind : Activation::none,
                static_cast<float>(job.activation.alpha)};
      const int most = narrow ? kMaxRowsNarrow : kMaxRows;
      const TileFn* const table = narrow ? kNarrowTiles.fn : kWideTiles.fn;
      const int tiles = (job.rows + most - 1) / most;
      for (int i = 0, row = 0; i < tiles; ++i) {
        const int size = job.rows / tiles + (i < job.rows % tiles ? 1 : 0);
        tile.row_offsets = job.row_offsets + row;
        tile.out_offsets = job.out_offsets + row;
        table[size](tile);
        row += size;
      }
    }
    done += taken;
  } while (done < job.k);
}

struct OuterTile {
  const float* x;
  const float* b;
  std::int64_t rows, row_columns, row_pitch, column_pitch;
  float* out;
  std::int64_t out_pitch;
  int columns;
  bool accumulate;
  Fetch fetch;
};

template <int MR, int NV>
HWY_NOINLINE void outer_tile(const OuterTile& t) {
  const D d;
  // From zero, added to `out` at the end: sums of sums lose less than one long sum.
  V sum[MR][NV];
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    FOVEA_UNROLL(2)
    for (int v = 0; v < NV; ++v) sum[i][v] = hn::Zero(d);
  }
  const float* HWY_RESTRICT b = t.b;
  const std::int64_t pitch = t.column_pitch, fetch_step = t.fetch.step;
  const char* fetch = t.fetch.at;
  FOVEA_UNROLL(1)
  for (std::int64_t r = 0; r < t.rows; ++r) {
    const float* HWY_RESTRICT x = t.x + r * t.row_pitch;
    FOVEA_UNROLL(2)
    for (std::int64_t c = 0; c < t.row_columns; ++c) {
      V bv[NV];
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) bv[v] = hn::LoadU(d, b + v * kLanes);
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) {
        const V xv = hn::Set(d, x[i]);
        FOVEA_UNROLL(2)
        for (int v = 0; v < NV; ++v) sum[i][v] = hn::MulAdd(xv, bv[v], sum[i][v]);
      }
      b += NV * kLanes;
      x += pitch;
      hwy::Prefetch(fetch);
      fetch += fetch_step;
    }
  }
  const bool whole = t.columns == NV * kLanes;
  HWY_ALIGN float edge[NV * kLanes];
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    float* to = t.out + i * t.out_pitch;
    if (whole) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) {
        hn::StoreU(t.accumulate ? hn::Add(sum[i][v], hn::LoadU(d, to + v * kLanes)) : sum[i][v], d, to + v * kLanes);
      }
    } else {
      FOVEA_UNROLL(2)
      for (int v = 0; v < NV; ++v) hn::Store(sum[i][v], d, edge + v * kLanes);
      for (int j = 0; j < t.columns; ++j) to[j] = t.accumulate ? to[j] + edge[j] : edge[j];
    }
  }
}

using OuterFn = void (*)(const OuterTile&);
constexpr OuterFn kWideOuter[] = {nullptr,           outer_tile<1, 2>, outer_tile<2, 2>, outer_tile<3, 2>,
                                  outer_tile<4, 2>,  outer_tile<5, 2>, outer_tile<6, 2>,
#if HWY_ARCH_ARM || HWY_TARGET == HWY_AVX3
                                  outer_tile<7, 2>,  outer_tile<8, 2>, outer_tile<9, 2>, outer_tile<10, 2>,
                                  outer_tile<11, 2>, outer_tile<12, 2>
#endif
};
constexpr OuterFn kNarrowOuter[] = {nullptr,           outer_tile<1, 1>, outer_tile<2, 1>,  outer_tile<3, 1>,
                                    outer_tile<4, 1>,  outer_tile<5, 1>, outer_tile<6, 1>,  outer_tile<7, 1>,
                                    outer_tile<8, 1>,  outer_tile<9, 1>, outer_tile<10, 1>,
#if HWY_ARCH_ARM || HWY_TARGET == HWY_AVX3
                                    outer_tile<11, 1>, outer_tile<12, 1>
#endif
};

void outer(const Outer& job) {
  constexpr int kPanel = 2 * kLanes;
  const std::int64_t positions = job.rows * job.row_columns;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const int columns = static_cast<int>(std::min<std::int64_t>(kPanel, job.columns - p * kPanel));
    const bool narrow = columns <= kLanes;
    const int most = narrow ? kMaxRowsNarrow : kMaxRows;
    const OuterFn* const table = narrow ? kNarrowOuter : kWideOuter;
    OuterTile tile{nullptr,
                   job.packed + p * kPanel * positions,
                   job.rows,
                   job.row_columns,
                   job.row_pitch,
                   job.column_pitch,
                   job.out + p * kPanel,
                   job.out_pitch,
                   columns,
                   job.accumulate,
                   job.fetch.at ? job.fetch : Fetch{reinterpret_cast<const char*>(job.packed), 0}};
    for (int r = 0; r < job.run_count; ++r) {
      tile.x = job.x + job.runs[r].offset;
      const int length = job.runs[r].length;
      const int tiles = (length + most - 1) / most;
      for (int i = 0; i < tiles; ++i) {
        const int size = length / tiles + (i < length % tiles ? 1 : 0);
        table[size](tile);
        tile.x += size;
        tile.out += size * job.out_pitch;
        tile.fetch.at += positions * tile.fetch.step;
      }
    }
  }
}

template <int MR, int NV>
HWY_INLINE void thin_block(const ThinMultiply& job, std::int64_t column) {
  const D d;
  V sum[MR][NV];
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    FOVEA_UNROLL(8)
    for (int v = 0; v < NV; ++v) {
      sum[i][v] = job.accumulate ? hn::LoadU(d, job.y + i * job.y_pitch + column + v * kLanes)
                  : job.bias     ? hn::LoadU(d, job.bias + column + v * kLanes)
                                 : hn::Zero(d);
    }
  }
  const float* w = job.w + column;
  FOVEA_UNROLL(1)
  for (std::int64_t k = 0; k < job.k; ++k) {
    // Rows of w are far apart: the hardware's prefetcher does not follow, and a prefetch of an address past the end is
    // harmless.
    const auto ahead =
        reinterpret_cast<std::uintptr_t>(w) + static_cast<std::uintptr_t>(8 * job.w_pitch) * sizeof(float);
    FOVEA_UNROLL(8)
    for (int v = 0; v < NV; v += (64 / 4 / kLanes > 0 ? 64 / 4 / kLanes : 1)) {
      hwy::Prefetch(reinterpret_cast<const float*>(ahead) + v * kLanes);
    }
    V xv[MR];
    FOVEA_UNROLL(16)
    for (int i = 0; i < MR; ++i) xv[i] = hn::Set(d, job.x[i * job.x_pitch + k]);
    FOVEA_UNROLL(8)
    for (int v = 0; v < NV; ++v) {
      const V wv = hn::LoadU(d, w + v * kLanes);
      FOVEA_UNROLL(16)
      for (int i = 0; i < MR; ++i) sum[i][v] = hn::MulAdd(xv[i], wv, sum[i][v]);
    }
    w += job.w_pitch;
  }
  FOVEA_UNROLL(16)
  for (int i = 0; i < MR; ++i) {
    FOVEA_UNROLL(8)
    for (int v = 0; v < NV; ++v) {
      hn::StoreU(finish(job.activation.kind, static_cast<float>(job.activation.alpha), sum[i][v]), d,
                 job.y + i * job.y_pitch + column + v * kLanes);
    }
  }
}

template <int MR>
HWY_NOINLINE void thin_rows(const ThinMultiply& job) {
  constexpr int kWide = MR == 1 ? 8 : MR == 2 ? 4 : 2;
  std::int64_t column = job.begin;
  for (; column + kWide * kLanes <= job.end; column += kWide * kLanes) thin_block<MR, kWide>(job, column);
  for (; column + kLanes <= job.end; column += kLanes) thin_block<MR, 1>(job, column);
  for (; column < job.end; ++column) {
    for (int i = 0; i < MR; ++i) {
      float* y = job.y + i * job.y_pitch + column;
      float total = job.accumulate ? *y : job.bias ? job.bias[column] : 0.0f;
      for (std::int64_t k = 0; k < job.k; ++k) total += job.x[i * job.x_pitch + k] * job.w[k * job.w_pitch + column];
      *y = hn::GetLane(finish(job.activation.kind, static_cast<float>(job.activation.alpha), hn::Set(D(), total)));
    }
  }
}

void thin(const ThinMultiply& job) {
  switch (job.rows) {
    case 1: return thin_rows<1>(job);
    case 2: return thin_rows<2>(job);
    case 3: return thin_rows<3>(job);
    default: return thin_rows<4>(job);
  }
}

int lanes() { return kLanes; }
const char* target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace

// HWY_EXPORT wants external linkage.
void multiply_entry(const Multiply& job) { multiply(job); }
void outer_entry(const Outer& job) { outer(job); }
int outer_rows_entry() { return kMaxRows; }
void thin_entry(const ThinMultiply& job) { thin(job); }
int lanes_entry() { return lanes(); }
const char* target_entry() { return target(); }

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/registry.h"

namespace fovea::kernels::simd {

HWY_EXPORT(multiply_entry);
HWY_EXPORT(outer_entry);
HWY_EXPORT(outer_rows_entry);
HWY_EXPORT(thin_entry);
HWY_EXPORT(lanes_entry);
HWY_EXPORT(target_entry);

void multiply_panels(const Multiply& job) { HWY_DYNAMIC_DISPATCH(multiply_entry)(job); }
int outer_tiles(std::int64_t k) {
  const int most = HWY_DYNAMIC_DISPATCH(outer_rows_entry)();
  return static_cast<int>((k + most - 1) / most);
}
void outer_panels(const Outer& job) { HWY_DYNAMIC_DISPATCH(outer_entry)(job); }
void multiply_thin(const ThinMultiply& job) { HWY_DYNAMIC_DISPATCH(thin_entry)(job); }
int vector_width() {
  kernels::detail::settle_instruction_set();
  return HWY_DYNAMIC_DISPATCH(lanes_entry)();
}
int panel_width() { return 2 * vector_width(); }
const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(target_entry)(); }

std::int64_t padded_columns(std::int64_t n) {
  const int lanes = vector_width();
  return (n + lanes - 1) / lanes * lanes;
}

bool fuses(Activation activation) {
  switch (activation) {
    case Activation::none:
    case Activation::relu:
    case Activation::relu6:
    case Activation::leaky_relu:
    case Activation::hard_swish:
    case Activation::hard_sigmoid: return true;
    default: return false;
  }
}

}  // namespace fovea::kernels::simd
#endif
