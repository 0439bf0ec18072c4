// Max and average pooling forward, vectors along channels. 2×2 max pooling reads its input once and writes the
// arg-maxima in the same pass.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/pool.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/simd/bf16-inl.h"
#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/pool_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

/// Whether v replaces best: greater, or the first NaN.
template <class V>
HWY_INLINE auto wins(V v, V best) {
  return hn::Or(hn::Gt(v, best), hn::And(hn::IsNaN(v), hn::Eq(best, best)));
}

/// A window's cells inside the image: first cell, extents, and the number of its first cell in the whole window.
template <class T>
struct Cells {
  const T* x;
  std::int64_t rows, columns, row_stride, first, window_w;
};

/// x86's max returns the second operand if either is NaN, so that one is lost or kept by chance: they are noted apart.
template <class T>
HWY_INLINE void max_window(const Cells<T>& cells, std::int64_t channels, T* y) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    auto best = load_value(d, cells.x + c);
    auto nan = hn::IsNaN(best);
    for (std::int64_t r = 0; r < cells.rows; ++r) {
      const T* row = cells.x + r * cells.row_stride + c;
      for (std::int64_t s = 0; s < cells.columns; ++s) {
        const auto v = load_value(d, row + s * channels);
        best = hn::Max(best, v);
        nan = hn::Or(nan, hn::IsNaN(v));
      }
    }
    store_value(hn::IfThenElse(nan, hn::NaN(d), best), d, y + c);
  });
}

HWY_INLINE void max_window_where(const Cells<float>& cells, std::int64_t channels, float* y, std::int32_t* argmax) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    using D = decltype(d);
    const hn::Rebind<std::int32_t, D> di;
    auto best = hn::LoadU(d, cells.x + c);
    auto where = hn::Set(di, static_cast<std::int32_t>(cells.first));
    for (std::int64_t r = 0; r < cells.rows; ++r) {
      const float* row = cells.x + r * cells.row_stride + c;
      for (std::int64_t s = 0; s < cells.columns; ++s) {
        const auto v = hn::LoadU(d, row + s * channels);
        const auto take = wins(v, best);
        best = hn::IfThenElse(take, v, best);
        const auto cell = hn::Set(di, static_cast<std::int32_t>(cells.first + r * cells.window_w + s));
        where = hn::IfThenElse(hn::RebindMask(di, take), cell, where);
      }
    }
    hn::StoreU(best, d, y + c);
    hn::StoreU(where, di, argmax + c);
  });
}

/// The common case, unrolled: a whole 2×2 window.
template <bool kWithArgmax>
HWY_INLINE void max_2x2(const float* x, std::int64_t row_stride, std::int64_t channels, float* y,
                        std::int32_t* argmax) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    using D = decltype(d);
    const hn::Rebind<std::int32_t, D> di;
    const auto v0 = hn::LoadU(d, x + c), v1 = hn::LoadU(d, x + channels + c);
    const auto v2 = hn::LoadU(d, x + row_stride + c), v3 = hn::LoadU(d, x + row_stride + channels + c);
    const auto upper = wins(v1, v0), lower = wins(v3, v2);
    const auto top = hn::IfThenElse(upper, v1, v0), bottom = hn::IfThenElse(lower, v3, v2);
    const auto down = wins(bottom, top);
    hn::StoreU(hn::IfThenElse(down, bottom, top), d, y + c);
    if constexpr (kWithArgmax) {
      const auto in_top = hn::IfThenElseZero(hn::RebindMask(di, upper), hn::Set(di, 1));
      const auto in_bottom = hn::IfThenElse(hn::RebindMask(di, lower), hn::Set(di, 3), hn::Set(di, 2));
      hn::StoreU(hn::IfThenElse(hn::RebindMask(di, down), in_bottom, in_top), di, argmax + c);
    }
  });
}

template <class T>
HWY_INLINE void sum_window(const Cells<T>& cells, std::int64_t channels, float factor, T* y) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (std::int64_t r = 0; r < cells.rows; ++r) {
      const T* row = cells.x + r * cells.row_stride + c;
      for (std::int64_t s = 0; s < cells.columns; ++s) sum = hn::Add(sum, load_value(d, row + s * channels));
    }
    store_value(hn::Mul(sum, hn::Set(d, factor)), d, y + c);
  });
}

template <class T>
void pool_rows(const PoolShape& p, const T* x, T* y, std::int32_t* argmax, std::int64_t begin, std::int64_t end) {
  const std::int64_t channels = p.channels, row_stride = p.w * channels, pitch = p.y_pitch > 0 ? p.y_pitch : channels;
  for (std::int64_t at = begin; at < end; ++at) {
    const std::int64_t n = at / p.ho, i = at % p.ho;
    const std::int64_t top = i * p.stride_h - p.top;
    const std::int64_t row_begin = std::max<std::int64_t>(top, 0), row_end = std::min(top + p.window_h, p.h);
    for (std::int64_t j = 0; j < p.wo; ++j) {
      const std::int64_t left = j * p.stride_w - p.left;
      const std::int64_t column_begin = std::max<std::int64_t>(left, 0), column_end = std::min(left + p.window_w, p.w);
      const Cells<T> cells{x + ((n * p.h + row_begin) * p.w + column_begin) * channels,
                           row_end - row_begin,
                           column_end - column_begin,
                           row_stride,
                           (row_begin - top) * p.window_w + column_begin - left,
                           p.window_w};
      T* to = y + (at * p.wo + j) * pitch;
      if (!p.max) {
        std::int64_t count = cells.rows * cells.columns;
        if (p.count_include_pad) {  // what ceil_mode reaches beyond the padding does not count
          count =
              (std::min(top + p.window_h, p.h + p.bottom) - top) * (std::min(left + p.window_w, p.w + p.right) - left);
        }
        sum_window(cells, channels, 1.0f / static_cast<float>(count), to);
        continue;
      }
      if constexpr (std::is_same_v<T, float>) {
        std::int32_t* where = argmax ? argmax + (at * p.wo + j) * channels : nullptr;
        if (cells.rows == 2 && cells.columns == 2 && p.window_h == 2 && p.window_w == 2) {
          where ? max_2x2<true>(cells.x, row_stride, channels, to, where)
                : max_2x2<false>(cells.x, row_stride, channels, to, where);
          continue;
        }
        if (where) {
          max_window_where(cells, channels, to, where);
          continue;
        }
      }
      max_window(cells, channels, to);
    }
  }
}

void mean_rows(const float* x, std::int64_t rows, std::int64_t channels, std::int64_t pitch, float factor, float* y) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    // Four sums: their error grows with a quarter of the rows, and the additions overlap.
    auto a = hn::Zero(d), b = hn::Zero(d), e = hn::Zero(d), f = hn::Zero(d);
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      const float* row = x + r * pitch + c;
      a = hn::Add(a, hn::LoadU(d, row));
      b = hn::Add(b, hn::LoadU(d, row + pitch));
      e = hn::Add(e, hn::LoadU(d, row + 2 * pitch));
      f = hn::Add(f, hn::LoadU(d, row + 3 * pitch));
    }
    for (; r < rows; ++r) a = hn::Add(a, hn::LoadU(d, x + r * pitch + c));
    hn::StoreU(hn::Mul(hn::Add(hn::Add(a, b), hn::Add(e, f)), hn::Set(d, factor)), d, y + c);
  });
}

void spread_row(const float* x, std::int64_t rows, std::int64_t channels, float factor, float* y) {
  for (std::int64_t r = 0; r < rows; ++r) {
    each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + c), hn::Set(d, factor)), d, y + r * channels + c);
    });
  }
}

}  // namespace

void pool_f32(const PoolShape& p, const float* x, float* y, std::int32_t* argmax, std::int64_t begin,
              std::int64_t end) {
  pool_rows(p, x, y, argmax, begin, end);
}
void pool_bf16(const PoolShape& p, const std::uint16_t* x, std::uint16_t* y, std::int64_t begin, std::int64_t end) {
  pool_rows(p, x, y, nullptr, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(pool_f32);
HWY_EXPORT(pool_bf16);
HWY_EXPORT(mean_rows);
HWY_EXPORT(spread_row);

void pool_forward_f32(const PoolShape& p, const float* x, float* y, std::int32_t* argmax, std::int64_t begin,
                      std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(pool_f32)(p, x, y, argmax, begin, end);
}
void pool_forward(const PoolShape& p, Element element, const void* x, void* y, std::int64_t begin, std::int64_t end) {
  if (element == Element::f32)
    return pool_forward_f32(p, static_cast<const float*>(x), static_cast<float*>(y), nullptr, begin, end);
  HWY_DYNAMIC_DISPATCH(pool_bf16)
  (p, static_cast<const std::uint16_t*>(x), static_cast<std::uint16_t*>(y), begin, end);
}
void mean_rows_f32(const float* x, std::int64_t rows, std::int64_t channels, std::int64_t pitch, float factor,
                   float* y) {
  HWY_DYNAMIC_DISPATCH(mean_rows)(x, rows, channels, pitch, factor, y);
}
void spread_row_f32(const float* x, std::int64_t rows, std::int64_t channels, float factor, float* y) {
  HWY_DYNAMIC_DISPATCH(spread_row)(x, rows, channels, factor, y);
}

}  // namespace fovea::kernels::simd
#endif
