// Convolutions of compiled inference: shapes, padding and packed weights are settled once, running neither checks nor
// allocates. Dense layers of several rows are 1×1 convolutions here.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cpu/simd/conv_sizes.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

/// A window is at most so many stretches of memory: one for each row of the kernel, or each tap where it is dilated.
inline constexpr int kMaxRuns = 256;

/// A convolution of one group over images of one size, with at most kMaxRuns stretches.
struct PlannedConv : ConvSizes {
  std::int64_t kh = 1, kw = 1;
  Size2 stride{1, 1}, dilation{1, 1};
  Element in = Element::f32, out = Element::f32;
  /// The image's type; f32 with in = bf16 or u8: windows are converted while they are copied. Runs of a length that
  /// products do not take (three channels) are longer, against rows of zeros in `packed`.
  Element source = Element::f32;
  const void* packed = nullptr;  ///< [kh·kw·ci, co] in panels for `in`
  const float* bias = nullptr;   ///< padded_columns(co) floats
  /// in = u8: see PlannedGemm; the value of pixels outside the image, and 1 / scale of an f32 source.
  const float* scale = nullptr;
  float residual_scale = 1, source_inverse_scale = 1;
  std::uint8_t zero = 0;
  const RoundedActivation* rounded = nullptr;  ///< see PlannedGemm
  bool clamp = false;                          ///< results within [low, high]
  float low = 0, high = 0;
  ActivationParams after{Activation::none};  ///< see PlannedGemm
  std::int64_t y_pitch = 0;                  ///< values from result pixel to result pixel; 0: co

  bool pointwise() const;
  /// Length of a run of `length` values in `packed`.
  std::int64_t packed_run(std::int64_t length) const;
  /// Rows of `packed`.
  std::int64_t packed_rows() const;
  /// Bytes of scratch that a thread needs for planned_conv_rows of `rows` result rows.
  std::int64_t scratch_bytes(std::int64_t rows) const;
};

/// Result rows [begin, end) of one image, columns of panels [panel_begin, panel_end). x, y and residual point to where
/// row 0 of the image would be, so that a band of rows may stand for the image; residual (or null) is added before the
/// clamp.
struct ConvRows {
  const void* x = nullptr;
  const void* residual = nullptr;
  void* y = nullptr;
  std::int64_t begin = 0, end = 0;
  std::int64_t panel_begin = 0, panel_end = 0;
  void* scratch = nullptr;
  std::int64_t y_pitch = 0;  ///< instead of the convolution's
  std::int64_t ask_end = 0;  ///< see PlannedGemm
  bool ask_results = false;  ///< the same
};
void planned_conv_rows(const PlannedConv&, const ConvRows&);

/// Multiply-adds that pay for another thread: starting and joining a team costs 1 to 2 µs.
inline constexpr std::int64_t kWorkPerThread = 100'000;
/// True where a loop of so many multiply-adds lasts 10 µs and more, so that threads may take parts from each other
/// (parallel_shares).
bool shares_pay(std::int64_t work, Element);

/// Rows of a 1×1 convolution lie 4096 bytes apart, or a multiple: all of a tile's values at one k then compete for the
/// eight places of one set of the L1 cache (measured with 1024 channels: 128 instead of 220 GFLOP/s), and planned_conv
/// gathers them first.
constexpr bool pitch_competes(std::int64_t bytes) { return bytes % 4096 == 0; }

/// The whole convolution on the thread team.
void planned_conv(const PlannedConv&, const void* x, const void* residual, void* y);

}  // namespace fovea::kernels::simd
