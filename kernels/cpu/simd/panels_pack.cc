// Packing: a matrix as it lies, or the transposed one, into the panels that register tiles read.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/panels_pack.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

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

/// Copies `count` rows of one panel; sums of its columns are added to `sums` if given.
template <int NV, bool kWhole>
HWY_INLINE void pack_panel(const float* src, std::int64_t pitch, std::int64_t count, std::int64_t columns, float* to,
                           float* sums) {
  const D d;
  V total[NV];
  FOVEA_UNROLL(2)
  for (int v = 0; v < NV; ++v) total[v] = hn::Zero(d);
  HWY_ALIGN float edge[NV * kLanes] = {};
  FOVEA_UNROLL(2)
  for (std::int64_t i = 0; i < count; ++i, src += pitch, to += NV * kLanes) {
    const float* from = src;
    if (!kWhole) {
      std::memcpy(edge, src, static_cast<std::size_t>(columns) * sizeof(float));
      from = edge;
    }
    FOVEA_UNROLL(2)
    for (int v = 0; v < NV; ++v) {
      const V x = hn::LoadU(d, from + v * kLanes);
      total[v] = hn::Add(total[v], x);
      hn::StoreU(x, d, to + v * kLanes);
    }
  }
  if (!sums) return;
  FOVEA_UNROLL(2)
  for (int v = 0; v < NV; ++v) hn::StoreU(hn::Add(total[v], hn::LoadU(d, sums + v * kLanes)), d, sums + v * kLanes);
}

void copy_rows(const PackRows& job) {
  constexpr int kPanel = 2 * kLanes;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const std::int64_t columns = std::min<std::int64_t>(kPanel, job.columns - p * kPanel);
    const bool narrow = columns <= kLanes;
    const float* src = job.src + p * kPanel;
    float* to = job.packed + p * kPanel * job.k + job.k0 * (narrow ? kLanes : kPanel);
    float* sums = job.sums ? job.sums + p * kPanel : nullptr;
    if (columns == kPanel) {
      pack_panel<2, true>(src, job.pitch, job.count, columns, to, sums);
    } else if (columns == kLanes) {
      pack_panel<1, true>(src, job.pitch, job.count, columns, to, sums);
    } else if (narrow) {
      pack_panel<1, false>(src, job.pitch, job.count, columns, to, sums);
    } else {
      pack_panel<2, false>(src, job.pitch, job.count, columns, to, sums);
    }
  }
}

/// Elements [begin, end) of four columns, from `from` on, `pitch` floats apart, which are four neighbours in rows of
/// `to`, `width` floats apart.
void transpose_four(const float* from, std::int64_t pitch, std::int64_t begin, std::int64_t end, float* to,
                    std::int64_t width) {
  const float *const a = from, *const b = a + pitch, *const c = b + pitch, *const d = c + pitch;
  std::int64_t i = begin;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> f;
  const hn::Repartition<double, decltype(f)> pairs;
  const auto lower = [&](auto x, auto y) HWY_ATTR {
    return hn::BitCast(f, hn::InterleaveLower(pairs, hn::BitCast(pairs, x), hn::BitCast(pairs, y)));
  };
  const auto upper = [&](auto x, auto y) HWY_ATTR {
    return hn::BitCast(f, hn::InterleaveUpper(pairs, hn::BitCast(pairs, x), hn::BitCast(pairs, y)));
  };
  for (; i + 4 <= end; i += 4) {
    const auto va = hn::LoadU(f, a + i), vb = hn::LoadU(f, b + i), vc = hn::LoadU(f, c + i), vd = hn::LoadU(f, d + i);
    const auto ab = hn::InterleaveLower(f, va, vb), ab2 = hn::InterleaveUpper(f, va, vb);
    const auto cd = hn::InterleaveLower(f, vc, vd), cd2 = hn::InterleaveUpper(f, vc, vd);
    float* const row = to + i * width;
    hn::StoreU(lower(ab, cd), f, row);
    hn::StoreU(upper(ab, cd), f, row + width);
    hn::StoreU(lower(ab2, cd2), f, row + 2 * width);
    hn::StoreU(upper(ab2, cd2), f, row + 3 * width);
  }
#endif
  for (; i < end; ++i) {
    float* const four = to + i * width;
    four[0] = a[i];
    four[1] = b[i];
    four[2] = c[i];
    four[3] = d[i];
  }
}

void transpose(const PackRows& job) {
  constexpr int kPanel = 2 * kLanes;
  for (std::int64_t p = job.panel_begin; p < job.panel_end; ++p) {
    const std::int64_t columns = std::min<std::int64_t>(kPanel, job.columns - p * kPanel);
    const std::int64_t width = columns <= kLanes ? kLanes : kPanel;
    float* const to = job.packed + p * kPanel * job.k + job.k0 * width;
    const float* const from = job.src + p * kPanel * job.pitch;
    // 64 rows of a panel at a time stay in L1 while their columns come in one after the other.
    for (std::int64_t block = 0; block < job.count; block += 64) {
      const std::int64_t end = std::min(job.count, block + 64);
      std::int64_t j = 0;
      for (; j + 4 <= columns; j += 4) transpose_four(from + j * job.pitch, job.pitch, block, end, to + j, width);
      for (; j < columns; ++j) {
        for (std::int64_t i = block; i < end; ++i) to[i * width + j] = from[j * job.pitch + i];
      }
      if (columns == width) continue;
      for (std::int64_t i = block; i < end; ++i) std::fill(to + i * width + columns, to + (i + 1) * width, 0.0f);
    }
  }
}

}  // namespace

// HWY_EXPORT wants external linkage.
void pack_rows_entry(const PackRows& job) { copy_rows(job); }
void pack_transposed_entry(const PackRows& job) { transpose(job); }

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {

HWY_EXPORT(pack_rows_entry);
HWY_EXPORT(pack_transposed_entry);

void pack_rows(const PackRows& job) { HWY_DYNAMIC_DISPATCH(pack_rows_entry)(job); }
void pack_transposed(const PackRows& job) { HWY_DYNAMIC_DISPATCH(pack_transposed_entry)(job); }

}  // namespace fovea::kernels::simd
#endif
