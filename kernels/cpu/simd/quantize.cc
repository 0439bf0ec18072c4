// Between f32 and u8, and means of u8 and bf16, for every instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/bf16-inl.h"
#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/planned_gemm.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {

void to_u8_entry(const float* from, std::uint8_t* to, std::int64_t n, float inverse_scale, int zero) {
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const hn::Rebind<std::uint8_t, decltype(d)> bytes;
    // Within i32 and around 0 … 255 before the conversion; a NaN becomes the lower bound.
    auto v = hn::MulAdd(hn::LoadU(d, from + i), hn::Set(d, inverse_scale), hn::Set(d, static_cast<float>(zero)));
    v = hn::Min(hn::Max(v, hn::Zero(d)), hn::Set(d, 255.0f));
    hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(v)), bytes, to + i);
  });
}

void from_u8_entry(const std::uint8_t* from, float* to, std::int64_t n, float scale, int zero) {
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> ints;
    const hn::Rebind<std::uint8_t, decltype(d)> bytes;
    const auto v = hn::Sub(hn::PromoteTo(ints, hn::LoadU(bytes, from + i)), hn::Set(ints, zero));
    hn::StoreU(hn::Mul(hn::ConvertTo(d, v), hn::Set(d, scale)), d, to + i);
  });
}

void average_pixels_entry(const void* x, Element in, std::int64_t pixels, std::int64_t channels, float scale,
                          float bias, void* y, Element out) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> ints;
    const hn::Rebind<std::uint8_t, decltype(d)> bytes;
    auto mean = hn::Zero(d);
    if (in == Element::u8) {
      auto sum = hn::Zero(ints);
      for (std::int64_t p = 0; p < pixels; ++p) {
        const auto* const from = static_cast<const std::uint8_t*>(x) + p * channels + c;
        sum = hn::Add(sum, hn::PromoteTo(ints, hn::LoadU(bytes, from)));
      }
      mean = hn::ConvertTo(d, sum);
    } else {
      for (std::int64_t p = 0; p < pixels; ++p)
        mean = hn::Add(mean, load_value(d, static_cast<const std::uint16_t*>(x) + p * channels + c));
    }
    mean = hn::MulAdd(mean, hn::Set(d, scale), hn::Set(d, bias));
    switch (out) {
      case Element::f32: return hn::StoreU(mean, d, static_cast<float*>(y) + c);
      case Element::bf16: return store_value(mean, d, static_cast<std::uint16_t*>(y) + c);
      case Element::u8: {
        const auto inside = hn::Min(hn::Max(mean, hn::Zero(d)), hn::Set(d, 255.0f));
        hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(inside)), bytes, static_cast<std::uint8_t*>(y) + c);
      }
    }
  });
}

void gate_pixels_entry(const std::uint8_t* x, const float* gate, std::int64_t pixels, std::int64_t channels,
                       float scale, float zero, float bias, std::uint8_t* y) {
  each_vector(channels, [&](auto d, std::int64_t c) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> ints;
    const hn::Rebind<std::uint8_t, decltype(d)> bytes;
    const auto factor = hn::Mul(hn::LoadU(d, gate + c), hn::Set(d, scale)), low = hn::Set(d, zero),
               offset = hn::Set(d, bias), most = hn::Set(d, 255.0f);
    for (std::int64_t p = 0; p < pixels; ++p) {
      const auto v = hn::ConvertTo(d, hn::PromoteTo(ints, hn::LoadU(bytes, x + p * channels + c)));
      const auto r = hn::Min(hn::Max(hn::MulAdd(hn::Sub(v, low), factor, offset), hn::Zero(d)), most);
      hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(r)), bytes, y + p * channels + c);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(to_u8_entry);
HWY_EXPORT(from_u8_entry);
HWY_EXPORT(average_pixels_entry);
HWY_EXPORT(gate_pixels_entry);

void to_u8(const float* from, std::uint8_t* to, std::int64_t n, float inverse_scale, int zero) {
  HWY_DYNAMIC_DISPATCH(to_u8_entry)(from, to, n, inverse_scale, zero);
}
void from_u8(const std::uint8_t* from, float* to, std::int64_t n, float scale, int zero) {
  HWY_DYNAMIC_DISPATCH(from_u8_entry)(from, to, n, scale, zero);
}
void average_pixels(const void* x, Element in, std::int64_t pixels, std::int64_t channels, float scale, float bias,
                    void* y, Element out) {
  HWY_DYNAMIC_DISPATCH(average_pixels_entry)(x, in, pixels, channels, scale, bias, y, out);
}
void gate_pixels(const std::uint8_t* x, const float* gate, std::int64_t pixels, std::int64_t channels, float scale,
                 float zero, float bias, std::uint8_t* y) {
  HWY_DYNAMIC_DISPATCH(gate_pixels_entry)(x, gate, pixels, channels, scale, zero, bias, y);
}

}  // namespace fovea::kernels::simd
#endif
