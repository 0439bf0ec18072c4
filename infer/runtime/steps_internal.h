// The steps that plans are made of. Each kind is one function that takes everything settled and returns the step.
#pragma once

#include <functional>
#include <optional>

#include "core/tensor.h"
#include "infer/runtime/program_internal.h"
#include "infer/runtime/quantization.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_conv.h"
#include "kernels/pool2d.h"

namespace fovea::infer::detail {

/// Where a step reads and writes; residual −1: none. A part of a concatenation begins `out_offset` values after `out`,
/// and its pixels lie out_pitch apart.
struct Places {
  int in = 0, out = 0, residual = -1;
  std::int64_t out_offset = 0, out_pitch = 0;
};
inline void* place(Pointers at, int value) { return value < 0 ? nullptr : at[static_cast<std::size_t>(value)]; }
inline void* result_place(Pointers at, const Places& places, kernels::simd::Element element) {
  return kernels::simd::element_at(place(at, places.out), places.out_offset, element);
}

/// An activation as the bounds of a clamp, or as something to be done after.
struct Epilogue {
  /// With `out` quantised the bounds are in its steps, and none where u8 saturates there anyway.
  explicit Epilogue(kernels::ActivationParams activation, Quantization out = {});
  kernels::ActivationParams activation;
  bool clamp = false, after = false;
  float low = 0, high = 0;
};

struct ConvGeometry {
  Shape x, y;  ///< NHWC
  std::int64_t kh = 1, kw = 1;
  kernels::Conv2dParams params;  ///< padding resolved
};

/// What a part on u8 operands needs beside weights and bias: result = Σ·scale + bias + residual·residual_scale, in
/// steps of `out` where the result is u8. fold_scales() makes them.
struct Int8 {
  Tensor scale;          ///< by result channel, padded as the bias
  Quantization in, out;  ///< of the operand, and of the result: scale 0 where it is f32
  float residual_scale = 1;
  /// An activation that the kernel does before it rounds: then scale and bias give steps of its in_scale.
  kernels::simd::RoundedActivation rounded;
};

/// A convolution of one group, or a dense layer (1×1 over images of one pixel), ready to run. `packed` is weights
/// [kh·kw·ci, co] in panels for operands of type `in`, `bias` padded to whole vectors.
struct ConvPart {
  ConvPart(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias, kernels::ActivationParams activation,
           kernels::simd::Element source, kernels::simd::Element in, kernels::simd::Element out, const Int8& int8 = {});
  Tensor packed, bias, scale;
  std::shared_ptr<const kernels::simd::RoundedActivation> rounded;
  Epilogue epilogue;
  kernels::simd::PlannedConv conv;
};

/// One channel per group, as many results as channels; weights [kh, kw, 1, C], bias [C] at least. On u8, and with
/// weights in bf16: weights, bias and scale in the kernel's order (pack_depthwise_int8, pack_depthwise_bf16).
struct DepthwisePart {
  DepthwisePart(const ConvGeometry& geometry, const Tensor& weights, const Tensor& bias,
                kernels::ActivationParams activation, kernels::simd::Element element, const Int8& int8 = {});
  /// Where input rows lie: row i at base + (i mod ring)·pixels·pitch values.
  struct Rows {
    const void* base;
    std::int64_t ring, pitch;
  };
  /// Result row i, channels [begin, end) (begin a multiple of 64, of bf16 of 32), of which the inputs' pixels hold only
  /// these.
  void run_row(const Rows& x, std::int64_t i, std::int64_t begin, std::int64_t end, void* y,
               std::int64_t y_pitch) const;
  Tensor weights, bias, scale, outside;
  std::shared_ptr<const kernels::simd::RoundedActivation> rounded;
  Epilogue epilogue;
  std::int64_t n, h, ho, kh, top, stride;
  kernels::simd::DepthwiseRow row;
  kernels::simd::DepthwiseRowU8 row_u8;
  kernels::simd::DepthwiseRowBf16 row_bf16;

 private:
  void set_u8(const ConvGeometry& geometry, const Int8& int8);
  const float* filters_ = nullptr;  ///< weights in f32
};

std::unique_ptr<Step> conv_step(ConvPart part, Places places);
std::unique_ptr<Step> depthwise_step(DepthwisePart part, Places places);
/// A 1×1 convolution in f32 of one picture whose channels are multiplied by a gate [1, 1, 1, ci] first: its weights are
/// instead, into `scaled` (planned_floats), which are fewer values where pixels are more than result channels.
std::unique_ptr<Step> gated_conv_step(ConvPart part, Places places, int gate, int scaled);
/// 3×3 at stride 1 by Winograd's F(2×2, 3×3), f32; `packed` from pack_winograd_weights.
std::unique_ptr<Step> winograd_step(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias,
                                    kernels::ActivationParams activation, Places places);
/// first → depthwise → last (a 1×1 convolution, or nothing) in bands of rows.
std::unique_ptr<Step> chain_step(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places);
/// One of a sequence of 1×1 convolutions. out −1: only the next one reads the result.
struct RowsConv {
  ConvPart part;
  int out = -1, residual = -1;
};
/// [depthwise →] 1×1 convolutions over one picture, at least one, row by row.
std::unique_ptr<Step> rows_step(std::optional<DepthwisePart> depthwise, std::vector<RowsConv> convs, int in);
/// The mean over all pixels of x [N, H, W, C] in u8 or bf16 to y [N, C] in the same type, or f32. `x_scale` is of u8,
/// y_scale of u8 results.
std::unique_ptr<Step> average_step(const Shape& x, kernels::simd::Element in, kernels::simd::Element out,
                                   Quantization x_scale, Quantization y_scale, Places places);
/// 2-d pooling, f32 or bf16; padding resolved.
std::unique_ptr<Step> pool_step(const Shape& x, const Shape& y, const kernels::Pool2dParams& params,
                                kernels::simd::Element element, Places places);
/// Channels of one operand of a concatenation, and where they go.
struct Part {
  int value;
  std::int64_t channels, offset;
};
/// Those parts of a concatenation over channels that do not lie in place, of the same type as the result.
std::unique_ptr<Step> concat_step(std::vector<Part> parts, std::int64_t pixels, std::int64_t channels,
                                  kernels::simd::Element element, Places places);
/// y = x·gate in u8 [N, H, W, C], where gate is f32 [N, C]: what squeeze-and-excitation ends with.
std::unique_ptr<Step> gate_step(const Shape& x, Quantization x_scale, Quantization y_scale, Places places, int gate);
/// `each`, planned for one picture and one thread, on `pictures` pictures by up to `lanes` threads: large maps of a
/// batch stay in the caches of the core that makes them. x and y are bytes from picture to picture; `lanes` times
/// picture_lane_bytes() of memory are at value `memory`.
std::unique_ptr<Step> picture_step(std::shared_ptr<const Program> each, std::int64_t pictures, int lanes, std::size_t x,
                                   std::size_t y, int memory, Places places);
std::size_t picture_lane_bytes(const Program& each);
/// Anything else that reads and writes through the public kernels.
std::unique_ptr<Step> kernel_step(std::function<void(Pointers)> run);

/// Values of one type to another; `quantization` is of the u8.
void convert(const void* from, kernels::simd::Element have, void* to, kernels::simd::Element wanted,
             Quantization quantization, std::int64_t count);

/// Weights [runs·run, n] (row-major) in the panels of this CPU, for operands of type `in`: bf16 fills each run up to an
/// even length with zeros.
Tensor pack_panels(const float* weights, std::int64_t runs, std::int64_t run, std::int64_t n,
                   kernels::simd::Element in);
/// The same in i8 for operands of u8; runs are filled up to a multiple of four.
Tensor pack_panels_int8(const std::int8_t* weights, std::int64_t runs, std::int64_t run, std::int64_t n);
/// Depthwise weights i8 [k, k, 1, C], and one float per channel, as the kernel on u8 wants them.
Tensor pack_depthwise_int8(const Tensor& weights);
Tensor order_channels(const Tensor& values, std::int64_t channels);
/// The same for bf16, from f32.
Tensor pack_depthwise_bf16(const Tensor& weights);
Tensor order_channels_bf16(const Tensor& values, std::int64_t channels);
/// Scales, zero points and bias of a node with i8 weights [k, n] (rows of all taps and input channels), in two arrays
/// of floats padded as pad_bias does: first = scale, second = bias. `weight_scale` [n], `bias` [n] or null.
std::pair<Tensor, Tensor> fold_scales(const std::int8_t* weights, std::int64_t k, std::int64_t n,
                                      const float* weight_scale, const float* bias, Quantization in, Quantization out,
                                      Quantization residual);
/// Weights [3, 3, ci, co], transformed and packed.
Tensor pack_winograd_weights(const Tensor& weights);
/// n floats of `bias` (zeros if null), zeros behind up to whole vectors and a cache line.
Tensor pad_bias(const float* bias, std::int64_t n);

}  // namespace fovea::infer::detail
