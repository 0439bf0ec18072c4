// What planned kernels read and write: plain data, for files compiled per instruction set.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

/// u8 stands for scale · (value − zero), which whoever planned it knows.
enum class Element : std::uint8_t { f32, bf16, u8 };
constexpr std::int64_t bytes_of(Element e) { return e == Element::f32 ? 4 : e == Element::bf16 ? 2 : 1; }

/// The address of element i of an array of such elements.
inline const void* element_at(const void* base, std::int64_t i, Element e) {
  return static_cast<const char*>(base) + i * bytes_of(e);
}
inline void* element_at(void* base, std::int64_t i, Element e) { return static_cast<char*>(base) + i * bytes_of(e); }

}  // namespace fovea::kernels::simd
