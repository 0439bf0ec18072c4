// What planned kernels read and write: plain data, for files compiled per instruction set.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

enum class Element : std::uint8_t { f32, bf16 };
inline constexpr std::int64_t kElementBytes[] = {4, 2};

/// The address of element i of an array of such elements.
inline const void* element_at(const void* base, std::int64_t i, Element e) {
  return static_cast<const char*>(base) + i * kElementBytes[static_cast<int>(e)];
}
inline void* element_at(void* base, std::int64_t i, Element e) {
  return static_cast<char*>(base) + i * kElementBytes[static_cast<int>(e)];
}

}  // namespace fovea::kernels::simd
