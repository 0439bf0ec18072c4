// The inner loops of resize(), compiled by Highway once per instruction set. Same integers as the plain versions below:
// the sum of products in 32 bits is exact and its order does not matter, so every target gives the same bytes.
#include "image/resize_passes.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "image/resize_passes.cc"
#include <hwy/foreach_target.h>
// after foreach_target, as Highway asks
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fovea::image::passes::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

inline std::uint8_t narrow(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

#if HWY_TARGET != HWY_SCALAR
// RGB: one pixel in the low lanes of a 4-lane vector, so that one multiply serves its three channels. Two pixels at a
// time keep two chains of additions in flight.
void Rgb(const std::uint8_t* in, const std::uint8_t* in_end, std::uint8_t* out, int width, const Taps& taps) {
  const hn::FixedTag<std::int32_t, 4> d32;
  const hn::FixedTag<std::uint8_t, 4> d8;
  // The last pixel of the buffer has no fourth byte to load.
  const auto readable = in_end - in;
  std::uint8_t four[4];
  for (int i = 0; i < width; ++i) {
    const std::uint8_t* HWY_RESTRICT p = in + static_cast<std::ptrdiff_t>(taps.first[i]) * 3;
    const std::int32_t* HWY_RESTRICT w = taps.weights + static_cast<std::size_t>(i) * taps.stride;
    int n = taps.count[i];
    auto sum0 = hn::Set(d32, kHalf), sum1 = hn::Zero(d32);
    const bool at_end = (p - in) + static_cast<std::ptrdiff_t>(n) * 3 + 1 > readable;
    if (at_end) --n;
    int k = 0;
    for (; k + 2 <= n; k += 2) {
      sum0 = hn::Add(sum0, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + 3 * k)), hn::Set(d32, w[k])));
      sum1 = hn::Add(sum1, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + 3 * k + 3)), hn::Set(d32, w[k + 1])));
    }
    if (k < n) sum0 = hn::Add(sum0, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + 3 * k)), hn::Set(d32, w[k])));
    if (at_end) {
      four[0] = p[3 * n], four[1] = p[3 * n + 1], four[2] = p[3 * n + 2], four[3] = 0;
      sum1 = hn::Add(sum1, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, four)), hn::Set(d32, w[n])));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(hn::Add(sum0, sum1))), d8, four);
    out[3 * i] = four[0], out[3 * i + 1] = four[1], out[3 * i + 2] = four[2];
  }
}
#endif

// Grey: the taps of one output pixel lie side by side, so they fill the lanes.
void Grey(const std::uint8_t* in, std::uint8_t* out, int width, const Taps& taps) {
  const hn::CappedTag<std::int32_t, 8> d32;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d32));
  for (int i = 0; i < width; ++i) {
    const std::uint8_t* HWY_RESTRICT p = in + taps.first[i];
    const std::int32_t* HWY_RESTRICT w = taps.weights + static_cast<std::size_t>(i) * taps.stride;
    const int n = taps.count[i];
    std::int32_t sum = kHalf;
    int k = 0;
    if (n >= lanes) {
      auto sums = hn::Zero(d32);
      for (; k + lanes <= n; k += lanes) {
        sums = hn::Add(sums, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + k)), hn::LoadU(d32, w + k)));
      }
      sum += hn::GetLane(hn::SumOfLanes(d32, sums));
    }
    for (; k < n; ++k) sum += p[k] * w[k];
    out[i] = narrow(sum);
  }
}

void Horizontal(const std::uint8_t* in, const std::uint8_t* in_end, std::uint8_t* out, int width, int channels,
                const Taps& taps) {
#if HWY_TARGET != HWY_SCALAR
  if (channels == 3) return Rgb(in, in_end, out, width, taps);
#endif
  if (channels == 1) return Grey(in, out, width, taps);
  horizontal_plain(in, in_end, out, width, channels, taps);
}

// Neighbouring values share their weights, so whole vectors of them run down the rows with four sums held in registers.
void Vertical(const std::uint8_t* in, std::size_t in_stride, std::uint8_t* out, std::size_t bytes,
              const std::int32_t* weights, int count) {
  const hn::ScalableTag<std::int32_t> d32;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8;
  const std::size_t n = hn::Lanes(d32);
  const auto half = hn::Set(d32, kHalf);
  std::size_t x = 0;
  for (; x + 4 * n <= bytes; x += 4 * n) {
    auto s0 = half, s1 = half, s2 = half, s3 = half;
    const std::uint8_t* HWY_RESTRICT p = in + x;
    for (int k = 0; k < count; ++k, p += in_stride) {
      const auto w = hn::Set(d32, weights[k]);
      s0 = hn::Add(s0, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p)), w));
      s1 = hn::Add(s1, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + n)), w));
      s2 = hn::Add(s2, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + 2 * n)), w));
      s3 = hn::Add(s3, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p + 3 * n)), w));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(s0)), d8, out + x);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(s1)), d8, out + x + n);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(s2)), d8, out + x + 2 * n);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(s3)), d8, out + x + 3 * n);
  }
  for (; x + n <= bytes; x += n) {
    auto sum = half;
    const std::uint8_t* HWY_RESTRICT p = in + x;
    for (int k = 0; k < count; ++k, p += in_stride) {
      sum = hn::Add(sum, hn::Mul(hn::PromoteTo(d32, hn::LoadU(d8, p)), hn::Set(d32, weights[k])));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kPrecisionBits>(sum)), d8, out + x);
  }
  for (; x < bytes; ++x) {
    std::int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += in[x + static_cast<std::size_t>(k) * in_stride] * weights[k];
    out[x] = narrow(sum);
  }
}

}  // namespace fovea::image::passes::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::image::passes {

HWY_EXPORT(Horizontal);
HWY_EXPORT(Vertical);

HorizontalPass horizontal() { return HWY_DYNAMIC_DISPATCH(Horizontal); }
VerticalPass vertical() { return HWY_DYNAMIC_DISPATCH(Vertical); }

namespace {
constexpr std::int32_t kRounding = 1 << (kPrecisionBits - 1);
std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }
}  // namespace

void horizontal_plain(const std::uint8_t* in, const std::uint8_t*, std::uint8_t* out, int width, int channels,
                      const Taps& taps) {
  for (int i = 0; i < width; ++i) {
    const std::int32_t* w = taps.weights + static_cast<std::size_t>(i) * taps.stride;
    for (int c = 0; c < channels; ++c) {
      const std::uint8_t* p = in + static_cast<std::ptrdiff_t>(taps.first[i]) * channels + c;
      std::int32_t sum = kRounding;
      for (int k = 0; k < taps.count[i]; ++k) sum += p[static_cast<std::ptrdiff_t>(k) * channels] * w[k];
      out[static_cast<std::ptrdiff_t>(i) * channels + c] = to_byte(sum);
    }
  }
}

void vertical_plain(const std::uint8_t* in, std::size_t in_stride, std::uint8_t* out, std::size_t bytes,
                    const std::int32_t* weights, int count) {
  for (std::size_t x = 0; x < bytes; ++x) {
    std::int32_t sum = kRounding;
    for (int k = 0; k < count; ++k) sum += in[x + static_cast<std::size_t>(k) * in_stride] * weights[k];
    out[x] = to_byte(sum);
  }
}

}  // namespace fovea::image::passes
#endif
