// Element types of tensors. f32 computes; f64 checks gradients; bf16 and f16 are storage; the integers carry pixels,
// labels and indices.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/export.h"

namespace fovea {

enum class DType : std::uint8_t { f32, f64, bf16, f16, i8, u8, i32, i64 };

/// The upper 16 bits of an IEEE-754 binary32. Conversion from float rounds to nearest even and keeps NaN.
struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<std::uint16_t>((u >> 16) | 0x40u);  // keep NaN a NaN
    } else {
      bits = static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE-754 binary16. Conversion from float rounds to nearest even; subnormals and NaN are kept.
struct f16 {
  std::uint16_t bits = 0;
  f16() = default;
  FOVEA_API explicit f16(float value);
  FOVEA_API explicit operator float() const;
};

constexpr std::size_t dtype_size(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    case DType::i8:
    case DType::u8: return 1;
  }
  return 0;
}

constexpr bool is_floating(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::bf16 || t == DType::f16;
}

constexpr bool is_half(DType t) { return t == DType::bf16 || t == DType::f16; }

/// What values of type t are computed in, and what belongs to them (statistics, biases) is kept in: f32 for bf16 and
/// f16, otherwise t.
constexpr DType computing_dtype(DType t) { return is_half(t) ? DType::f32 : t; }

/// "f32", "bf16", …
FOVEA_API std::string_view to_string(DType t);

template <class T>
struct dtype_of_t;
template <>
struct dtype_of_t<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of_t<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of_t<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of_t<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct dtype_of_t<std::int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct dtype_of_t<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct dtype_of_t<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of_t<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <class T>
inline constexpr DType dtype_of = dtype_of_t<T>::value;

}  // namespace fovea
