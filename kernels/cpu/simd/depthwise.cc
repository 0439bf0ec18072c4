// Depthwise convolution, forward and (by phases) backward to the data: a tile of result pixels stays in registers while
// the kernel's rows pass, each input pixel is loaded once for all of them, vectors run along channels. 3×3 and 5×5 at
// stride 1 and 2 are unrolled; other sizes take a plain loop.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/depthwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/simd/bf16-inl.h"
#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/loops.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

// Result pixels per tile; 7 divides every width of a network at 224. 32 vector registers hold all inputs as well; with
// 16 some come from L1 again, which is still faster than tiles of 4 (27 beside 31 µs at 14×14×384 on AVX2): sums that
// wait for each other are the limit.
constexpr int kTile = 7;
// So many weights, a third of L1, are used again from tile to tile.
constexpr std::int64_t kWeightFloats = 2560;

/// Which columns of a tile's inputs may lie outside the image: none; as many at each end as a centred kernel reaches
/// over; any.
enum class Edge { none, ends, any };
constexpr bool may_lie_outside(Edge edge, int input, int inputs, int reach) {
  return edge == Edge::any || (edge == Edge::ends && (input < reach || input >= inputs - reach));
}
template <class T>
alignas(64) constexpr T kZeros[HWY_LANES(float)] = {};

template <class T>
HWY_INLINE const T* row_of(const DepthwiseRow& p, int r) {
  return static_cast<const T*>(p.in[r]);
}

/// x86's max and min return the second operand if either is NaN: a NaN stays visible.
template <class V>
HWY_INLINE V clamp(V v, V low, V high) {
  return hn::Min(high, hn::Max(low, v));
}

/// Channels [begin, end) of result pixel j, any size.
template <class T>
void one_pixel(const DepthwiseRow& p, std::int64_t j, std::int64_t begin, std::int64_t end) {
  const std::int64_t at = p.first + j * p.step;
  const std::int64_t t0 = std::max<std::int64_t>(0, -at), t1 = std::min(p.taps, p.width - at);
  each_vector(end - begin, [&](auto d, std::int64_t i) HWY_ATTR {
    const std::int64_t c = begin + i;
    auto sum = hn::LoadU(d, p.bias + c);
    for (int r = 0; r < p.rows; ++r) {
      for (std::int64_t t = t0; t < t1; ++t) {
        sum = hn::MulAdd(load_value(d, row_of<T>(p, r) + (at + t) * p.in_pitch + c),
                         hn::LoadU(d, p.weights[r] + t * p.weight_pitch + c), sum);
      }
    }
    store_value(clamp(sum, hn::Set(d, p.low), hn::Set(d, p.high)), d, static_cast<T*>(p.out) + j * p.out_pitch + c);
  });
}

/// Result pixels j … j+kPixels−1 of one vector of channels. At an edge, columns outside the image are zeros. kRows:
/// p.rows, or 0 for any.
template <class T, int kTaps, int kStep, int kPixels, Edge kEdge, int kRows, class D>
HWY_INLINE void pixels(D d, const DepthwiseRow& p, std::int64_t j, std::int64_t c, hn::Vec<D> low, hn::Vec<D> high) {
  using V = hn::Vec<D>;
  constexpr int kInputs = (kPixels - 1) * kStep + kTaps;
  V sum[kPixels];
  const V start = hn::LoadU(d, p.bias + c);
  HWY_UNROLL(8)
  for (int i = 0; i < kPixels; ++i) sum[i] = start;
  const std::int64_t column = p.first + j * kStep;
  const auto add_row = [&](int r) FOVEA_INLINE HWY_ATTR {
    const T* x = row_of<T>(p, r) + column * p.in_pitch + c;
    const float* w = p.weights[r] + c;
    V in[kInputs];
    HWY_UNROLL(32)
    for (int i = 0; i < kInputs; ++i, x += p.in_pitch) {
      const bool outside = may_lie_outside(kEdge, i, kInputs, kTaps / 2) &&
                           static_cast<std::uint64_t>(column + i) >= static_cast<std::uint64_t>(p.width);
      in[i] = load_value(d, outside ? kZeros<T> : x);
    }
    HWY_UNROLL(8)
    for (int t = 0; t < kTaps; ++t, w += p.weight_pitch) {
      const V weight = hn::LoadU(d, w);
      HWY_UNROLL(8)
      for (int i = 0; i < kPixels; ++i) sum[i] = hn::MulAdd(in[i * kStep + t], weight, sum[i]);
    }
  };
  if constexpr (kRows > 0) {
    add_row(0);
    add_row(1);
    if constexpr (kRows == 3) add_row(2);
  } else {
    for (int r = 0; r < p.rows; ++r) add_row(r);
  }
  T* out = static_cast<T*>(p.out) + j * p.out_pitch + c;
  const std::int64_t next = p.out_pitch;
  HWY_UNROLL(8)
  for (int i = 0; i < kPixels; ++i, out += next) store_value(clamp(sum[i], low, high), d, out);
}

template <class T, int kTaps, int kStep, int kPixels, Edge kEdge>
void tile(const DepthwiseRow& p, std::int64_t j, std::int64_t begin, std::int64_t end) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, p.low), high = hn::Set(d, p.high);
  std::int64_t c = begin;
  // 3×3 without a loop over rows, 14×128 pixels from L1: 108 instead of 94 GFLOP/s of 179 (min and max take 18 %).
  if (kPixels == kTile && kTaps == 3 && p.rows == 3) {
    for (; c + lanes <= end; c += lanes) pixels<T, kTaps, kStep, kPixels, kEdge, 3>(d, p, j, c, low, high);
  } else if (kPixels == kTile && kTaps == 3 && p.rows == 2) {
    for (; c + lanes <= end; c += lanes) pixels<T, kTaps, kStep, kPixels, kEdge, 2>(d, p, j, c, low, high);
  } else {
    for (; c + lanes <= end; c += lanes) pixels<T, kTaps, kStep, kPixels, kEdge, 0>(d, p, j, c, low, high);
  }
  if (c == end) return;
  // Networks' channels are multiples of 8, or at least of 4.
  const hn::CappedTag<float, 8> d8;
  const hn::CappedTag<float, 4> d4;
  for (; lanes > 8 && c + 8 <= end; c += 8)
    pixels<T, kTaps, kStep, kPixels, kEdge, 0>(d8, p, j, c, hn::Set(d8, p.low), hn::Set(d8, p.high));
  for (; lanes > 4 && c + 4 <= end; c += 4)
    pixels<T, kTaps, kStep, kPixels, kEdge, 0>(d4, p, j, c, hn::Set(d4, p.low), hn::Set(d4, p.high));
  if (c == end) return;
  for (std::int64_t i = 0; i < kPixels; ++i) one_pixel<T>(p, j + i, c, end);
}

template <class T, int kTaps, int kStep>
void unrolled_row(const DepthwiseRow& p) {
  constexpr std::int64_t kPanel = kWeightFloats / (kTaps * kTaps + 1) / 16 * 16;
  const auto run = [&](auto size, std::int64_t j, std::int64_t begin, std::int64_t end) {
    constexpr int kPixels = decltype(size)::value;
    const std::int64_t before = -(p.first + j * kStep), after = (kPixels - 1) * kStep + kTaps - before - p.width;
    // Thin tiles are for maps of a few pixels.
    if (kPixels < kTile || std::max(before, after) > kTaps / 2) {
      tile<T, kTaps, kStep, kPixels, Edge::any>(p, j, begin, end);
    } else if (before <= 0 && after <= 0) {
      tile<T, kTaps, kStep, kTile, Edge::none>(p, j, begin, end);
    } else {
      tile<T, kTaps, kStep, kTile, Edge::ends>(p, j, begin, end);
    }
  };
  for (std::int64_t begin = 0; begin < p.channels; begin += kPanel) {
    const std::int64_t end = std::min(p.channels, begin + kPanel);
    if (p.count >= kTile) {  // the last tile may do again what the one before it did
      for (std::int64_t j = 0; j < p.count; j += kTile)
        run(std::integral_constant<int, kTile>(), std::min(j, p.count - kTile), begin, end);
      continue;
    }
    std::int64_t j = 0;
    for (; j + 2 <= p.count; j += 2) run(std::integral_constant<int, 2>(), j, begin, end);
    if (j < p.count) run(std::integral_constant<int, 1>(), j, begin, end);
  }
}

template <class T>
void row(const DepthwiseRow& p) {
  // Not in bf16, whose usual sizes depthwise_row_bf16 takes, nor for CPUs without vectors: a megabyte of code.
  if constexpr (std::is_same_v<T, float> && HWY_TARGET != HWY_SCALAR) {
    if (p.step == 1 && p.taps == 3) return unrolled_row<T, 3, 1>(p);
    if (p.step == 1 && p.taps == 5) return unrolled_row<T, 5, 1>(p);
    if (p.step == 1 && p.taps == 1) return unrolled_row<T, 1, 1>(p);
    if (p.step == 1 && p.taps == 2) return unrolled_row<T, 2, 1>(p);
    if (p.step == 2 && p.taps == 3) return unrolled_row<T, 3, 2>(p);
    if (p.step == 2 && p.taps == 5) return unrolled_row<T, 5, 2>(p);
  }
  for (std::int64_t j = 0; j < p.count; ++j) one_pixel<T>(p, j, 0, p.channels);
}

}  // namespace

void depthwise_row_entry(const DepthwiseRow& p) { p.element == Element::bf16 ? row<std::uint16_t>(p) : row<float>(p); }

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(depthwise_row_entry);

void depthwise_row(const DepthwiseRow& p) { HWY_DYNAMIC_DISPATCH(depthwise_row_entry)(p); }

}  // namespace fovea::kernels::simd
#endif
