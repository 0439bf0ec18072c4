// Pooling backward. Each input row gathers from the windows that cover it, so that rows are independent: any number of
// threads writes the same bits and nothing is added atomically. 2×2 windows side by side write each value once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/pool_backward.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/pool_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

/// to (=|+=) dy where argmax is `cell`, else 0.
template <bool kAdd>
HWY_INLINE void take_cell(const float* dy, const std::int32_t* argmax, std::int32_t cell, std::int64_t channels,
                          float* to) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    const hn::Rebind<std::int32_t, decltype(d)> di;
    const auto here = hn::RebindMask(d, hn::Eq(hn::LoadU(di, argmax + c), hn::Set(di, cell)));
    auto v = hn::IfThenElseZero(here, hn::LoadU(d, dy + c));
    if constexpr (kAdd) v = hn::Add(v, hn::LoadU(d, to + c));
    hn::StoreU(v, d, to + c);
  });
}

HWY_INLINE void add_scaled(const float* dy, float factor, std::int64_t channels, float* to) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, dy + c), hn::Set(d, factor), hn::LoadU(d, to + c)), d, to + c);
  });
}

/// Windows of max pooling that neither overlap nor leave gaps nor are padded: every input cell belongs to one window or
/// to none.
void tiled_max_row(const PoolShape& p, const float* dy, const std::int32_t* argmax, std::int64_t row, float* to) {
  const std::int64_t i = row / p.window_h, channels = p.channels;
  const std::int64_t covered = i < p.ho ? std::min(p.wo * p.window_w, p.w) : 0;
  const auto first_cell = static_cast<std::int32_t>(row % p.window_h * p.window_w);
  for (std::int64_t j = 0; j * p.window_w < covered; ++j) {
    const std::int64_t from = (i * p.wo + j) * channels, columns = std::min(p.window_w, p.w - j * p.window_w);
    for (std::int64_t s = 0; s < columns; ++s, to += channels) {
      take_cell<false>(dy + from, argmax + from, first_cell + static_cast<std::int32_t>(s), channels, to);
    }
  }
  std::fill(to, to + (p.w - covered) * channels, 0.0f);
}

void gather_rows(const PoolShape& p, const float* dy, const std::int32_t* argmax, float* dx, std::int64_t begin,
                 std::int64_t end) {
  const std::int64_t channels = p.channels;
  const bool tiled = p.max && p.stride_h == p.window_h && p.stride_w == p.window_w && p.top == 0 && p.left == 0;
  for (std::int64_t at = begin; at < end; ++at) {
    const std::int64_t n = at / p.h, row = at % p.h;
    float* to = dx + at * p.w * channels;
    const std::int64_t image = n * p.ho * p.wo * channels;
    if (tiled) {
      tiled_max_row(p, dy + image, argmax + image, row, to);
      continue;
    }
    std::fill(to, to + p.w * channels, 0.0f);
    // Windows i with i·stride − top ≤ row < i·stride − top + window.
    const std::int64_t before = row + p.top - p.window_h + 1;
    const std::int64_t first = before > 0 ? (before + p.stride_h - 1) / p.stride_h : 0;
    const std::int64_t last = std::min(p.ho - 1, (row + p.top) / p.stride_h);
    for (std::int64_t i = first; i <= last; ++i) {
      const std::int64_t window_top = i * p.stride_h - p.top;
      for (std::int64_t j = 0; j < p.wo; ++j) {
        const std::int64_t left = j * p.stride_w - p.left;
        const std::int64_t column_begin = std::max<std::int64_t>(left, 0),
                           column_end = std::min(left + p.window_w, p.w);
        const std::int64_t from = image + (i * p.wo + j) * channels;
        float factor = 0;
        if (!p.max) {
          const std::int64_t row_begin = std::max<std::int64_t>(window_top, 0),
                             row_end = std::min(window_top + p.window_h, p.h);
          std::int64_t count = (row_end - row_begin) * (column_end - column_begin);
          if (p.count_include_pad) {
            count = (std::min(window_top + p.window_h, p.h + p.bottom) - window_top) *
                    (std::min(left + p.window_w, p.w + p.right) - left);
          }
          factor = 1.0f / static_cast<float>(count);
        }
        for (std::int64_t s = column_begin; s < column_end; ++s) {
          if (p.max) {
            const auto cell = static_cast<std::int32_t>((row - window_top) * p.window_w + s - left);
            take_cell<true>(dy + from, argmax + from, cell, channels, to + s * channels);
          } else {
            add_scaled(dy + from, factor, channels, to + s * channels);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(gather_rows);

void pool_backward_f32(const PoolShape& p, const float* dy, const std::int32_t* argmax, float* dx, std::int64_t begin,
                       std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(gather_rows)(p, dy, argmax, dx, begin, end);
}

}  // namespace fovea::kernels::simd
#endif
