// Depthwise convolution's inner step on plain arrays: one result row from a few input rows.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/simd/element.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

/// Beyond this many kernel rows the problem is declined.
inline constexpr int kMaxKernelRows = 16;

/// out[j·out_pitch] = clamp(bias + Σ_r Σ_t in[r][first + j·step + t]·weights[r][t], low, high) for j in [0, count),
/// each a pixel of `channels` values (pitches are values from pixel to pixel); input pixels outside [0, width) are
/// zeros. Forward this is a row of y; backward to the data it is one phase (every step-th pixel) of a row of dx, with
/// in = rows of dy and the taps that meet this phase in reversed order.
struct DepthwiseRow {
  Element element = Element::f32;   ///< of in and out; weights and sums are f32
  const void* const* in = nullptr;  ///< `rows` of them, as of weights
  const float* const* weights = nullptr;
  int rows = 0;
  std::int64_t taps = 0, step = 1, first = 0, width = 0;
  const float* bias = nullptr;  ///< [channels], never null
  float low = 0, high = 0;
  void* out = nullptr;
  std::int64_t count = 0, channels = 0;
  std::int64_t in_pitch = 0, out_pitch = 0, weight_pitch = 0;  ///< the last from tap to tap
};
void depthwise_row(const DepthwiseRow&);

/// Longest step from column to column; beyond, the problem is declined.
inline constexpr std::int64_t kMaxStep = 8;
/// Pixels q, q + step, … of a row of dx meet the kernel columns f, f + step, … of one phase, in reversed order.
struct DepthwisePhase {
  std::int64_t taps = 0;
  std::int64_t first = 0;   ///< pixel of dy that the first result's first tap meets
  std::int64_t offset = 0;  ///< of its weights [kernel row][tap][channel] in `packed`
};
/// Packs weights [kh, kw, channels] by phases; packed holds as many values.
void pack_phases(const float* weights, std::int64_t kh, std::int64_t kw, std::int64_t channels, std::int64_t step,
                 std::int64_t left, float* packed, DepthwisePhase (&phases)[kMaxStep]);

/// The same on bf16 with weights in bf16, a square kernel, for CPUs with AVX-512 BF16.
struct DepthwiseRowBf16 {
  const std::uint16_t* const* in = nullptr;  ///< `size` rows; null: outside the image
  std::int64_t size = 3, step = 1, first = 0, width = 0;
  const std::uint16_t* packed = nullptr;  ///< from pack_depthwise_bf16
  const float* bias = nullptr;            ///< from order_channels_bf16
  float low = 0, high = 0;
  std::uint16_t* out = nullptr;
  std::int64_t count = 0, channels = 0, in_pitch = 0, out_pitch = 0;
};
/// Where takes_depthwise_bf16() only.
void depthwise_row(const DepthwiseRowBf16&);
bool takes_depthwise_bf16(std::int64_t kh, std::int64_t kw, std::int64_t step);
/// Values of packed weights.
std::int64_t depthwise_bf16_count(std::int64_t size, std::int64_t channels);
/// Weights [size, size, channels] f32: in blocks of 32 and 16 channels, by pairs of taps.
void pack_depthwise_bf16(const float* weights, std::int64_t size, std::int64_t channels, std::uint16_t* packed);
/// One value for each channel, in the order of the packed weights' channels; `to` has channels rounded up to 16.
void order_channels_bf16(const float* from, std::int64_t channels, float* to);

/// The same on u8 with i8 weights, a square kernel: out[j] = clamp(float(Σ in·w)·scale + bias, low, high) by channel,
/// rounded to nearest even. Scale and bias have all scales and zero points folded into them.
struct DepthwiseRowU8 {
  const std::uint8_t* const* in = nullptr;  ///< `size` rows; null: outside the image
  std::int64_t size = 3, step = 1, first = 0, width = 0;
  const std::int8_t* packed = nullptr;            ///< from pack_depthwise_int8
  const float *scale = nullptr, *bias = nullptr;  ///< from order_channels
  const std::uint8_t* outside = nullptr;          ///< 64 times the value of a pixel outside the image
  std::uint8_t low = 0, high = 255;
  /// Before the rounding, instead of the clamp; sums are within ±32767 of its steps, or lie where f is as at the bound.
  const RoundedActivation* rounded = nullptr;
  std::uint8_t* out = nullptr;
  std::int64_t count = 0, channels = 0, in_pitch = 0, out_pitch = 0;
};
/// Where takes_depthwise_int8() only.
void depthwise_row(const DepthwiseRowU8&);
bool takes_depthwise_int8(std::int64_t kh, std::int64_t kw, std::int64_t step);
/// Bytes of packed weights, and floats of ordered scales: channels rounded up to 16 each.
std::int64_t depthwise_int8_bytes(std::int64_t size, std::int64_t channels);
/// Weights [size, size, channels]: in blocks of 64, 32 and 16 channels, by groups of four kernel rows.
void pack_depthwise_int8(const std::int8_t* weights, std::int64_t size, std::int64_t channels, std::int8_t* packed);
/// One value for each channel, in the order of the packed weights' channels; `to` has channels rounded up to 16.
void order_channels(const float* from, std::int64_t channels, float* to);

/// acc[t·channels + c] += Σ_j dy[j, c]·x[first + j·step + t, c] over the j whose pixel lies inside [0, width).
void depthwise_weight_row_f32(const float* x, std::int64_t width, const float* dy, std::int64_t count,
                              std::int64_t first, std::int64_t step, std::int64_t taps, std::int64_t channels,
                              float* acc);

/// The same for several rows of dy over one row of x, all of whose pixels lie inside: acc[r][t·pitch + c] +=
/// Σ_j dy[r][j, c]·x[j·step + t, c] for all c < pitch, a multiple of the vector.
struct DepthwiseWeightRows {
  const float* x = nullptr;
  const float* dy[kMaxKernelRows];
  float* acc[kMaxKernelRows];
  int rows = 0;
  std::int64_t count = 0, step = 1, taps = 0, pitch = 0;
};
void depthwise_weight_rows_f32(const DepthwiseWeightRows&);

}  // namespace fovea::kernels::simd
