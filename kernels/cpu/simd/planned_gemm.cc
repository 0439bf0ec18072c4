// The register tile of compiled inference, once per instruction set (Highway picks at run time).
//
// 14 rows × 2 vectors where there are 32 vector registers (28 sums, 2 of b, 1 broadcast; 7 divides every width of a
// network at 224), 6 × 2 where there are 16. Rows lie at one distance, so five pointers with the scaled index of an
// address reach 15 rows: with a pointer for each, half of them would live in memory (16 general registers).
//
// On an Intel Xeon (a core's peak by machine_probe: AVX-512 179, AVX2 95 GFLOP/s): 196×384 times 384×64 runs at 174 and
// 87, 196×64 times 64×384 with a clamp at 162 and 84, 112×24 times 24×144 at 145 and 80.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/planned_gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "kernels/cpu/simd/planned_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

#if HWY_ARCH_ARM || HWY_TARGET == HWY_AVX3
constexpr int kMaxRows = 14;
#elif HWY_TARGET == HWY_SCALAR
constexpr int kMaxRows = 2;
#else
constexpr int kMaxRows = 6;
#endif
// Products of few values end so often that storing the sums costs a fifth of the time; with half the sums the next
// tile's find registers meanwhile on a Zen 4 (16 values: 97 → 102 GFLOP/s of 118; from 64 on no difference).
constexpr std::int64_t kShallow = 48;
constexpr int kShallowRows = kMaxRows == 14 ? 7 : kMaxRows;
// One vector wide: more rows keep the units busy, as long as five pointers reach them.
constexpr int kMaxRowsNarrow = kMaxRows == 14 ? 14 : kMaxRows + 4;
// Three vectors of pairs: 27 sums, 3 of b, 1 of a.
constexpr int kMaxRowsPairs = 9;
// Weights are asked for so many floats ahead: they come from L2 or beyond, and the hardware starts anew at each page.
constexpr int kPrefetch = 512;

using TileFn = void (*)(Tile&);
/// For PlannedGemm::thin; null where the partial sums do not fit the registers.
template <class O, int MR, int kFull>
constexpr TileFn pick_thin() {
  if constexpr (4 * MR * kFull + MR + 1 <= 2 * kMaxRows + 4) {
    return thin_tile<O, MR, kFull>;
  } else {
    return nullptr;
  }
}
template <class O, int kFull>
constexpr TileFn kThin[4] = {nullptr, pick_thin<O, 1, kFull>(), pick_thin<O, 2, kFull>(), pick_thin<O, 3, kFull>()};
template <class O, int kFull, int kHalf, int... MR>
constexpr auto tiles_of(std::integer_sequence<int, MR...>) {
  struct Table {
    TileFn fn[sizeof...(MR) + 1];
  };
  return Table{{nullptr, tile<O, MR + 1, kFull, kHalf>...}};
}
// Results in bf16 are rare here, because the kernels of avx512/ give them from operands in bf16: fewer tiles.
template <class O>
constexpr bool kFew = !std::is_same_v<O, float>;
template <class O>
constexpr int kMostWide = kFew<O> ? std::min(6, kMaxRows) : kMaxRows;
template <class O>
constexpr int kMostNarrow = kFew<O> ? std::min(6, kMaxRowsNarrow) : kMaxRowsNarrow;
template <class O>
constexpr auto kWide = tiles_of<O, 2, 0>(std::make_integer_sequence<int, kMostWide<O>>());
template <class O>
constexpr auto kNarrow = tiles_of<O, 1, 0>(std::make_integer_sequence<int, kMostNarrow<O>>());
#if HWY_TARGET == HWY_AVX3
template <class O>
constexpr int kMostWideHalf = std::min(kMaxRowsPairs, kMostWide<O>);
template <class O>
constexpr auto kWideHalf = tiles_of<O, 1, 1>(std::make_integer_sequence<int, kMostWideHalf<O>>());
template <class O>
constexpr auto kNarrowHalf = tiles_of<O, 0, 1>(std::make_integer_sequence<int, kMostNarrow<O>>());
#endif

template <class O>
void gemm(const PlannedGemm& job) {
  constexpr int kPanel = 2 * kLanes;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const int columns = static_cast<int>(std::min<std::int64_t>(kPanel, job.columns - p * kPanel));
    const bool narrow = columns <= kLanes;
    const auto after = [](const void* base, std::int64_t columns_before) {
      return base ? static_cast<const O*>(base) + columns_before : nullptr;
    };
    Tile t{static_cast<const float*>(job.a),
           job.a_stride,
           job.runs,
           job.run_count,
           static_cast<const float*>(job.packed) + p * kPanel * job.k,
           job.bias + p * kPanel,
           after(job.residual, p * kPanel),
           job.residual_stride,
           static_cast<O*>(job.c) + p * kPanel,
           job.c_stride,
           columns,
           job.clamp,
           job.low,
           job.high,
           job.fetch,
           job.fetch.at ? job.k * asks_per_row(columns) * job.fetch.step : 0};
    if (!job.fetch.at)
      t.fetch = {reinterpret_cast<const char*>(t.b + kPrefetch), std::min(64, (narrow ? 1 : 2) * kLanes * 4)};
    const bool shallow = job.k <= kShallow && halves_vectors();
    std::int64_t most = narrow    ? kMostNarrow<O>
                        : shallow ? std::min<std::int64_t>(kShallowRows, kMostWide<O>)
                                  : kMostWide<O>;
    const TileFn* table = narrow ? kNarrow<O>.fn : kWide<O>.fn;
    TileFn thin = !job.thin || job.rows > 3 ? nullptr : narrow ? kThin<O, 1>[job.rows] : kThin<O, 2>[job.rows];
#if HWY_TARGET == HWY_AVX3
    if (paired_vectors(columns) > 0) {
      table = narrow ? kNarrowHalf<O>.fn : kWideHalf<O>.fn;
      thin = nullptr;
      if (!narrow) most = std::min<std::int64_t>(most, kMostWideHalf<O>);
      // As many fetches as without pairs, for fewer weights.
      if (!job.fetch.at) t.fetch.step = narrow ? 32 : 48;
    }
#endif
    // Full tiles while there are at least two tiles' rows, the rest evenly: no thin last tile.
    std::int64_t left = job.rows;
    while (left > 0) {
      std::int64_t size = most;
      t.tiles = 1;
      if (left < 2 * most) {
        size = left <= most ? left : (left + 1) / 2;
      } else if (!job.ask_results) {
        t.tiles = left / most - 1;
      }
      for (std::int64_t i = 0; job.ask_results && i < size; ++i) {
        const O* const row = static_cast<const O*>(t.c) + i * job.c_stride;
        prefetch_for_writing(row);
        prefetch_for_writing(row + columns - 1);
      }
      (thin ? thin : table[size])(t);
      left -= t.tiles * size;
    }
  }
}

}  // namespace

// HWY_EXPORT wants external linkage.
void planned_gemm_entry(const PlannedGemm& job) {
  job.out == Element::bf16 ? gemm<std::uint16_t>(job) : gemm<float>(job);
}
template <class From, class To>
void convert(const From* from, To* to, std::int64_t n) {
  const D d;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_value(load_value(d, from + i), d, to + i);
  if (i < n) store_first(load_first(d, from + i, static_cast<int>(n - i)), d, to + i, static_cast<int>(n - i));
}
void to_bf16_entry(const float* from, std::uint16_t* to, std::int64_t n) { convert(from, to, n); }
void from_bf16_entry(const std::uint16_t* from, float* to, std::int64_t n) { convert(from, to, n); }
int planned_rows_entry() { return kMaxRows; }
bool pairs_entry() { return HWY_TARGET == HWY_AVX3; }

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/threads/parallel.h"
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/avx512/int8.h"

namespace fovea::kernels::simd {

HWY_EXPORT(planned_gemm_entry);
HWY_EXPORT(planned_rows_entry);
HWY_EXPORT(pairs_entry);
HWY_EXPORT(to_bf16_entry);
HWY_EXPORT(from_bf16_entry);

namespace {

void run(const PlannedGemm& job) {
  switch (job.in) {
    case Element::f32: return HWY_DYNAMIC_DISPATCH(planned_gemm_entry)(job);
    case Element::bf16: return planned_gemm_bf16(job);
    case Element::u8: return planned_gemm_int8(job);
  }
}

/// Rows [begin, end) of one panel, from the last to the first if `backwards`. Moves `fetch` on.
void run(PlannedGemm job, std::int64_t panel, std::int64_t begin, std::int64_t end, bool backwards, Fetch& fetch) {
  if (fetch.at) {
    job.fetch = fetch;
    fetch.at += tile_fetch(job, fetch) * planned_tiles(end - begin);
  }
  job.panel_begin = panel;
  job.panel_end = panel + 1;
  job.rows = end - begin;
  const std::int64_t first = backwards ? end - 1 : begin, sign = backwards ? -1 : 1;
  job.a = element_at(job.a, first * job.a_stride, job.in);
  job.c = element_at(job.c, first * job.c_stride, job.out);
  if (job.residual) job.residual = element_at(job.residual, first * job.residual_stride, job.out);
  job.a_stride *= sign;
  job.c_stride *= sign;
  job.residual_stride *= sign;
  run(job);
  if (job.after.kind == Activation::none) return;
  const std::int64_t column = panel * panel_width();
  activation_rows(job.after, element_at(job.c, column, job.out), job.out, job.c_stride, job.rows,
                  std::min<std::int64_t>(job.columns - column, panel_width()));
}

}  // namespace

void planned_gemm(const PlannedGemm& job) {
  const std::int64_t tile = planned_tile_rows();
  // Each panel from both ends of the rows to the middle. The hardware fetches ahead of a walk, and beyond its end:
  // there lie the rows of the next thread, whose core then has to ask for its own lines again when it writes them (a
  // layer of 14×14×384 on two cores that do not share a cache: 66 instead of 44 µs).
  const std::int64_t inward = in_parallel() ? job.rows / 2 / tile * tile : 0;
  const bool after = job.after.kind != Activation::none;
  const bool asks = job.ask_end > job.panel_begin + 1 && !job.fetch.at;
  if (inward == 0 && !after && !asks) return run(job);
  // Results that wait for the activation: 14 KB.
  const std::int64_t most = after ? 8 * tile : job.rows, middle = inward > 0 ? inward : job.rows;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    Fetch fetch = asks ? next_panel(job, p, planned_tiles(job.rows)) : job.fetch;
    for (std::int64_t row = 0; row < middle; row += most) run(job, p, row, std::min(row + most, middle), false, fetch);
    for (std::int64_t row = job.rows; row > middle; row -= most)
      run(job, p, std::max(row - most, middle), row, true, fetch);
  }
}

Fetch next_panel(const PlannedGemm& job, std::int64_t p, std::int64_t tiles) {
  if (p + 1 >= job.ask_end || job.in != Element::f32) return {};
  // The last panel may be narrower; what is asked for beyond it is never read, and not written either.
  const auto* const at = static_cast<const float*>(job.packed) + (p + 1) * panel_width() * job.k;
  const std::int64_t line = std::min(64, panel_width() * static_cast<int>(sizeof(float)));
  return {reinterpret_cast<const char*>(at), std::max<std::int64_t>(1, (line + tiles - 1) / tiles)};
}

std::int64_t tile_fetch(const PlannedGemm& job, const Fetch& fetch) {
  const std::int64_t steps = job.in == Element::bf16 ? job.k / 2 : job.k;
  return steps * asks_per_row(panel_width()) * fetch.step;
}

std::int64_t planned_tiles(std::int64_t rows) {
  const std::int64_t tile = planned_tile_rows();
  return (rows + tile - 1) / tile;
}

void to_bf16(const float* from, std::uint16_t* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(to_bf16_entry)(from, to, n); }
void from_bf16(const std::uint16_t* from, float* to, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(from_bf16_entry)(from, to, n);
}

bool halves_vectors() {
#if defined(__x86_64__)
  static const bool halves = __builtin_cpu_is("amdfam19h");
  return halves;
#else
  return false;
#endif
}

bool pairs_rows() { return HWY_DYNAMIC_DISPATCH(pairs_entry)(); }

int planned_tile_rows() { return HWY_DYNAMIC_DISPATCH(planned_rows_entry)(); }

}  // namespace fovea::kernels::simd
#endif
