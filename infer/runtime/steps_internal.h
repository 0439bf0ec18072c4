// The steps that plans are made of. Each kind is one function that takes everything settled and returns the step.
#pragma once

#include <functional>
#include <optional>

#include "core/tensor.h"
#include "infer/runtime/program_internal.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_conv.h"

namespace fovea::infer::detail {

/// Where a step reads and writes; residual −1: none.
struct Places {
  int in = 0, out = 0, residual = -1;
};
inline void* place(Pointers at, int value) { return value < 0 ? nullptr : at[static_cast<std::size_t>(value)]; }

/// An activation as the bounds of a clamp, or as something to be done after.
struct Epilogue {
  explicit Epilogue(kernels::ActivationParams activation);
  /// The activation on `count` finished results.
  void run_after(void* y, std::int64_t count, kernels::simd::Element element) const;

  kernels::ActivationParams activation;
  bool clamp = false, after = false;
  float low = 0, high = 0;
};

struct ConvGeometry {
  Shape x, y;  ///< NHWC
  std::int64_t kh = 1, kw = 1;
  kernels::Conv2dParams params;  ///< padding resolved
};

/// A convolution of one group, or a dense layer (1×1 over images of one pixel), ready to run. `packed` is weights
/// [kh·kw·ci, co] in panels for operands of type `in`, `bias` padded to whole vectors.
struct ConvPart {
  ConvPart(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias, kernels::ActivationParams activation,
           kernels::simd::Element source, kernels::simd::Element in, kernels::simd::Element out);
  Tensor packed, bias;
  Epilogue epilogue;
  kernels::simd::PlannedConv conv;
};

/// One channel per group, as many results as channels; weights [kh, kw, 1, C], bias [C] at least.
struct DepthwisePart {
  DepthwisePart(const ConvGeometry& geometry, const Tensor& weights, const Tensor& bias,
                kernels::ActivationParams activation, kernels::simd::Element element);
  /// Result row i of an image of h rows that begins at x.
  void run_row(const void* x, std::int64_t h, std::int64_t i, void* y) const;
  Tensor weights, bias;
  Epilogue epilogue;
  std::int64_t n, h, ho, kh, top, stride;
  kernels::simd::DepthwiseRow row;
};

std::unique_ptr<Step> conv_step(ConvPart part, Places places);
std::unique_ptr<Step> depthwise_step(DepthwisePart part, Places places);
/// 3×3 at stride 1 by Winograd's F(2×2, 3×3), f32; `packed` from pack_winograd_weights.
std::unique_ptr<Step> winograd_step(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias,
                                    kernels::ActivationParams activation, Places places);
/// first → depthwise → last (a 1×1 convolution, or nothing) in bands of rows.
std::unique_ptr<Step> chain_step(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places);
/// Anything else that reads and writes through the public kernels.
std::unique_ptr<Step> kernel_step(std::function<void(Pointers)> run);

/// Weights [runs·run, n] (row-major) in the panels of this CPU, for operands of type `in`: bf16 fills each run up to an
/// even length with zeros.
Tensor pack_panels(const float* weights, std::int64_t runs, std::int64_t run, std::int64_t n,
                   kernels::simd::Element in);
/// Weights [3, 3, ci, co], transformed and packed.
Tensor pack_winograd_weights(const Tensor& weights);
/// n floats of `bias` (zeros if null), zeros behind up to whole vectors and a cache line.
Tensor pad_bias(const float* bias, std::int64_t n);

}  // namespace fovea::infer::detail
