// Winograd's F(2×2, 3×3) transforms (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016), a
// vector of channels at a time: additions only, bound by the 16 stores into L2. Measured in training steps (AVX-512):
// input and output transforms are 14 and 6 % of the time with 16 to 64 channels, less with more.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/winograd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/simd/winograd_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Full = hn::ScalableTag<float>;
constexpr int kLanes = HWY_LANES(float);

/// f(tag, c) over whole vectors, then halves of one, then single lanes.
template <class F>
HWY_INLINE void each_vector(std::int64_t n, F f) {
  std::int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) f(Full(), c);
  constexpr int kHalf = kLanes > 1 ? kLanes / 2 : 1;
  if (c + kHalf <= n) {
    f(hn::CappedTag<float, kHalf>(), c);
    c += kHalf;
  }
  const hn::CappedTag<float, 1> one;
  for (; c < n; ++c) f(one, c);
}

/// Image, and pixel of the first value, of each tile of a block.
template <class F>
HWY_INLINE void each_tile(const TileGrid& g, const TileBlock& b, F f) {
  const std::int64_t per_image = g.tiles_y * g.tiles_x;
  std::int64_t image = b.begin / per_image;
  std::int64_t ty = b.begin % per_image / g.tiles_x, tx = b.begin % g.tiles_x;
  for (std::int64_t t = 0; t < b.count; ++t) {
    f(t, g.data + image * g.h * g.w * g.pitch, g.y0 + 2 * ty, g.x0 + 2 * tx);
    if (++tx < g.tiles_x) continue;
    tx = 0;
    if (++ty < g.tiles_y) continue;
    ty = 0;
    ++image;
  }
}

void input(const TileGrid& g, const TileBlock& b, const float* zeros) {
  each_tile(g, b, [&](std::int64_t t, const float* image, std::int64_t y, std::int64_t x) HWY_ATTR {
    const float* from[4][4];
    for (int r = 0; r < 4; ++r) {
      for (int s = 0; s < 4; ++s) {
        const bool inside = y + r >= 0 && y + r < g.h && x + s >= 0 && x + s < g.w;
        from[r][s] = inside ? image + ((y + r) * g.w + x + s) * g.pitch : zeros;
      }
    }
    float* const to = b.planes + t * b.pitch;
    each_vector(g.channels, [&](auto d, std::int64_t c) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      V m[4][4];
      for (int s = 0; s < 4; ++s) {  // Bᵀ d
        const V d0 = hn::LoadU(d, from[0][s] + c), d1 = hn::LoadU(d, from[1][s] + c);
        const V d2 = hn::LoadU(d, from[2][s] + c), d3 = hn::LoadU(d, from[3][s] + c);
        m[0][s] = hn::Sub(d0, d2);
        m[1][s] = hn::Add(d1, d2);
        m[2][s] = hn::Sub(d2, d1);
        m[3][s] = hn::Sub(d1, d3);
      }
      for (int r = 0; r < 4; ++r) {  // (Bᵀ d) B
        float* const row = to + 4 * r * b.plane + c;
        hn::StoreU(hn::Sub(m[r][0], m[r][2]), d, row);
        hn::StoreU(hn::Add(m[r][1], m[r][2]), d, row + b.plane);
        hn::StoreU(hn::Sub(m[r][2], m[r][1]), d, row + 2 * b.plane);
        hn::StoreU(hn::Sub(m[r][1], m[r][3]), d, row + 3 * b.plane);
      }
    });
  });
}

template <class Finish>
HWY_INLINE void output_with(const TileGrid& g, const TileBlock& b, const float* bias, Finish finish) {
  each_tile(g, b, [&](std::int64_t t, float* image, std::int64_t y, std::int64_t x) HWY_ATTR {
    const bool below = y + 1 < g.h, right = x + 1 < g.w;
    float* const to = image + (y * g.w + x) * g.pitch;
    float* const to_below = to + g.w * g.pitch;
    const float* const from = b.planes + t * b.pitch;
    each_vector(g.channels, [&](auto d, std::int64_t c) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      V a[2][4];
      for (int s = 0; s < 4; ++s) {  // Aᵀ m
        const float* column = from + s * b.plane + c;
        const V m0 = hn::LoadU(d, column), m1 = hn::LoadU(d, column + 4 * b.plane);
        const V m2 = hn::LoadU(d, column + 8 * b.plane), m3 = hn::LoadU(d, column + 12 * b.plane);
        a[0][s] = hn::Add(hn::Add(m0, m1), m2);
        a[1][s] = hn::Sub(hn::Sub(m1, m2), m3);
      }
      const V start = bias ? hn::LoadU(d, bias + c) : hn::Zero(d);
      const auto left_of = [&](int r) HWY_ATTR {
        return finish(d, hn::Add(hn::Add(hn::Add(a[r][0], a[r][1]), a[r][2]), start));
      };
      const auto right_of = [&](int r) HWY_ATTR {
        return finish(d, hn::Add(hn::Sub(hn::Sub(a[r][1], a[r][2]), a[r][3]), start));
      };
      hn::StoreU(left_of(0), d, to + c);
      if (right) hn::StoreU(right_of(0), d, to + g.pitch + c);
      if (below) hn::StoreU(left_of(1), d, to_below + c);
      if (below && right) hn::StoreU(right_of(1), d, to_below + g.pitch + c);
    });
  });
}

// x86's max and min return the second operand if either is NaN: a NaN stays visible.
void output(const TileGrid& g, const TileBlock& b, const float* bias, TileFinish finish) {
  if (finish == TileFinish::relu)
    return output_with(g, b, bias, [](auto d, auto v) HWY_ATTR { return hn::Max(hn::Zero(d), v); });
  if (finish == TileFinish::relu6)
    return output_with(g, b, bias,
                       [](auto d, auto v) HWY_ATTR { return hn::Min(hn::Set(d, 6.0f), hn::Max(hn::Zero(d), v)); });
  output_with(g, b, bias, [](auto, auto v) HWY_ATTR { return v; });
}

void gradient(const TileGrid& g, const TileBlock& b, float* sums) {
  constexpr std::int64_t kPanel = 2 * kLanes;
  each_tile(g, b, [&](std::int64_t t, const float* image, std::int64_t y, std::int64_t x) HWY_ATTR {
    const bool below = y + 1 < g.h, right = x + 1 < g.w;
    const float* const from = image + (y * g.w + x) * g.pitch;
    const float* const from_below = from + g.w * g.pitch;
    for (std::int64_t panel = 0; panel < g.channels; panel += kPanel) {
      const std::int64_t columns = std::min(kPanel, g.channels - panel);
      const std::int64_t width = columns <= kLanes ? kLanes : kPanel;
      float* const to = b.planes + panel * b.count + t * width;
      each_vector(columns, [&](auto d, std::int64_t c) HWY_ATTR {
        using V = hn::Vec<decltype(d)>;
        const std::int64_t at = panel + c;
        const V zero = hn::Zero(d);
        const V d00 = hn::LoadU(d, from + at);
        const V d01 = right ? hn::LoadU(d, from + g.pitch + at) : zero;
        const V d10 = below ? hn::LoadU(d, from_below + at) : zero;
        const V d11 = below && right ? hn::LoadU(d, from_below + g.pitch + at) : zero;
        const V left[4] = {d00, hn::Add(d00, d10), hn::Sub(d00, d10), hn::Sub(zero, d10)};  // A d
        const V last[4] = {d01, hn::Add(d01, d11), hn::Sub(d01, d11), hn::Sub(zero, d11)};
        for (int r = 0; r < 4; ++r) {  // (A d) Aᵀ
          float* const row = to + 4 * r * b.plane + c;
          hn::StoreU(left[r], d, row);
          hn::StoreU(hn::Add(left[r], last[r]), d, row + b.plane);
          hn::StoreU(hn::Sub(left[r], last[r]), d, row + 2 * b.plane);
          hn::StoreU(hn::Sub(zero, last[r]), d, row + 3 * b.plane);
        }
        if (sums) hn::StoreU(hn::Add(hn::LoadU(d, sums + at), hn::Add(left[1], last[1])), d, sums + at);
      });
      for (std::int64_t c = columns; c < width; ++c) {
        for (int p = 0; p < kWinogradPlanes; ++p) to[p * b.plane + c] = 0.0f;
      }
    }
  });
}

void weights(const float* taps, std::int64_t n, bool flipped, float* planes) {
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    using V = hn::Vec<decltype(d)>;
    const V half = hn::Set(d, 0.5f);
    V m[4][3];
    for (int s = 0; s < 3; ++s) {  // G g
      const auto tap = [&](int r) HWY_ATTR {
        const int k = 3 * r + s;
        return hn::LoadU(d, taps + (flipped ? 8 - k : k) * n + i);
      };
      const V g0 = tap(0), g1 = tap(1), g2 = tap(2);
      const V ends = hn::Add(g0, g2);
      m[0][s] = g0;
      m[1][s] = hn::Mul(half, hn::Add(ends, g1));
      m[2][s] = hn::Mul(half, hn::Sub(ends, g1));
      m[3][s] = g2;
    }
    for (int r = 0; r < 4; ++r) {  // (G g) Gᵀ
      float* const row = planes + 4 * r * n + i;
      const V ends = hn::Add(m[r][0], m[r][2]);
      hn::StoreU(m[r][0], d, row);
      hn::StoreU(hn::Mul(half, hn::Add(ends, m[r][1])), d, row + n);
      hn::StoreU(hn::Mul(half, hn::Sub(ends, m[r][1])), d, row + 2 * n);
      hn::StoreU(m[r][2], d, row + 3 * n);
    }
  });
}

void weights_gradient(const float* const* parts, int part_count, std::int64_t begin, std::int64_t end, std::int64_t n,
                      float* taps) {
  each_vector(end - begin, [&](auto d, std::int64_t offset) HWY_ATTR {
    using V = hn::Vec<decltype(d)>;
    const std::int64_t i = begin + offset;
    const V half = hn::Set(d, 0.5f);
    V m[3][4];
    for (int s = 0; s < 4; ++s) {  // Gᵀ s
      const auto plane = [&](int r) HWY_ATTR {
        V sum = hn::LoadU(d, parts[0] + (4 * r + s) * n + i);
        for (int part = 1; part < part_count; ++part)
          sum = hn::Add(sum, hn::LoadU(d, parts[part] + (4 * r + s) * n + i));
        return sum;
      };
      const V s0 = plane(0), s1 = plane(1), s2 = plane(2), s3 = plane(3);
      const V both = hn::Mul(half, hn::Add(s1, s2));
      m[0][s] = hn::Add(s0, both);
      m[1][s] = hn::Mul(half, hn::Sub(s1, s2));
      m[2][s] = hn::Add(both, s3);
    }
    for (int r = 0; r < 3; ++r) {  // (Gᵀ s) G
      float* const row = taps + 3 * r * n + i;
      const V both = hn::Mul(half, hn::Add(m[r][1], m[r][2]));
      hn::StoreU(hn::Add(m[r][0], both), d, row);
      hn::StoreU(hn::Mul(half, hn::Sub(m[r][1], m[r][2])), d, row + n);
      hn::StoreU(hn::Add(both, m[r][3]), d, row + 2 * n);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
namespace {
HWY_EXPORT(input);
HWY_EXPORT(output);
HWY_EXPORT(gradient);
HWY_EXPORT(weights);
HWY_EXPORT(weights_gradient);
}  // namespace

void winograd_input(const TileGrid& g, const TileBlock& b, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(input)(g, b, zeros);
}
void winograd_output(const TileGrid& g, const TileBlock& b, const float* bias, TileFinish finish) {
  HWY_DYNAMIC_DISPATCH(output)(g, b, bias, finish);
}
void winograd_gradient(const TileGrid& g, const TileBlock& b, float* sums) {
  HWY_DYNAMIC_DISPATCH(gradient)(g, b, sums);
}
void winograd_weights(const float* taps, std::int64_t n, bool flipped, float* planes) {
  HWY_DYNAMIC_DISPATCH(weights)(taps, n, flipped, planes);
}
void winograd_weights_gradient(const float* const* parts, int part_count, std::int64_t begin, std::int64_t end,
                               std::int64_t n, float* taps) {
  HWY_DYNAMIC_DISPATCH(weights_gradient)(parts, part_count, begin, end, n, taps);
}

}  // namespace fovea::kernels::simd
#endif
