// Internal: the two inner loops of resize() on plain data, once in plain C++ and once with SIMD chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fovea::image::passes {

/// Weights are fixed point with this many fraction bits: 32 minus 8 for the pixel minus 2 for overshoot, as in Pillow.
inline constexpr int kPrecisionBits = 32 - 8 - 2;

/// For output position i: `count[i]` source positions from `first[i]`, weights at weights[i * stride].
struct Taps {
  const int* first;
  const int* count;
  const std::int32_t* weights;
  std::size_t stride;
};

/// One row: out[i * channels + c] for i < width from `in`. in_end: one past the last readable byte of the source (the
/// SIMD loop loads four bytes for a three-byte pixel and must not pass it).
using HorizontalPass = void (*)(const std::uint8_t* in, const std::uint8_t* in_end, std::uint8_t* out, int width,
                                int channels, const Taps& taps);
/// One row of `bytes` values from `count` rows that begin `in_stride` bytes apart.
using VerticalPass = void (*)(const std::uint8_t* in, std::size_t in_stride, std::uint8_t* out, std::size_t bytes,
                              const std::int32_t* weights, int count);

void horizontal_plain(const std::uint8_t* in, const std::uint8_t* in_end, std::uint8_t* out, int width, int channels,
                      const Taps& taps);
void vertical_plain(const std::uint8_t* in, std::size_t in_stride, std::uint8_t* out, std::size_t bytes,
                    const std::int32_t* weights, int count);

/// The best for this machine.
HorizontalPass horizontal();
VerticalPass vertical();

}  // namespace fovea::image::passes
