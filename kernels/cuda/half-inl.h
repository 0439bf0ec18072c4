// Half memory in kernels: tensors of bf16 and f16 are read and written as such and computed with as float. Conversions
// are those of core/dtype.h, to the bit (NaN aside, which stays some NaN); on a GPU they are single instructions, since
// a dozen integer operations per element would cost more than reading it.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/view.h"
#include "kernels/cuda/launch.h"

namespace fovea::kernels::cuda {

/// What elements of type S are computed in.
template <class S>
struct ComputingType {
  using Type = S;
};
template <>
struct ComputingType<bf16> {
  using Type = float;
};
template <>
struct ComputingType<f16> {
  using Type = float;
};
template <class S>
using Computing = typename ComputingType<S>::Type;

FOVEA_HD std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
FOVEA_HD float float_of(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

FOVEA_HD float widened(float value) { return value; }
FOVEA_HD double widened(double value) { return value; }
FOVEA_HD float widened(bf16 value) { return float_of(static_cast<std::uint32_t>(value.bits) << 16); }
FOVEA_HD float widened(f16 value) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
#else
  const std::uint32_t sign = (value.bits & 0x8000u) << 16, exponent = (value.bits >> 10) & 0x1fu,
                      mantissa = value.bits & 0x3ffu;
  if (exponent == 31) return float_of(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return float_of(sign | ((exponent + 112) << 23) | (mantissa << 13));
  return float_of(bits_of(static_cast<float>(mantissa) * 0x1p-24f) | sign);
#endif
}

/// Rounds to nearest even; what is too large becomes infinite.
template <class S>
FOVEA_HD S narrowed(Computing<S> value) {
  return value;
}
template <>
FOVEA_HD bf16 narrowed<bf16>(float value) {
  bf16 half;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
#else
  const std::uint32_t u = bits_of(value);
  half.bits = (u & 0x7fffffffu) > 0x7f800000u ? static_cast<std::uint16_t>((u >> 16) | 0x40u)
                                              : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#endif
  return half;
}
template <>
FOVEA_HD f16 narrowed<f16>(float value) {
  f16 half;
#ifdef __CUDA_ARCH__
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
#else
  const std::uint32_t u = bits_of(value), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  std::uint32_t rest;
  if (magnitude > 0x7f800000u) {
    rest = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above
    rest = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // normal
    rest = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  } else {  // adding 0.5 puts the last place of subnormals, 2^-24, where a float has its own
    rest = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  }
  half.bits = static_cast<std::uint16_t>(sign | rest);
#endif
  return half;
}

/// Memory that is read in the computing type.
template <class S>
class Read {
 public:
  Read() = default;
  FOVEA_HD explicit Read(const S* data) : data_(data) {}
  explicit Read(const ConstView& view) : data_(view.ptr<S>()) {}
  FOVEA_HD Computing<S> operator[](std::int64_t i) const { return widened(data_[i]); }
  FOVEA_HD Read operator+(std::int64_t i) const { return Read(data_ + i); }

 private:
  const S* data_ = nullptr;
};

/// Calls fn with a value of the element type: f32, f64, bf16 or f16.
template <class Fn>
void by_storage(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f64: return fn(double{});
    case DType::bf16: return fn(bf16{});
    case DType::f16: return fn(f16{});
    default: return fn(float{});
  }
}

}  // namespace fovea::kernels::cuda
