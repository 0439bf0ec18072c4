// The steps that plans are made of. Each kind is one function that takes everything settled and returns the step.
#pragma once

#include <functional>

#include "core/tensor.h"
#include "infer/runtime/program_internal.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"

namespace fovea::infer::detail {

/// Where a step reads and writes; residual −1: none.
struct Places {
  int in = 0, out = 0, residual = -1;
};

/// A convolution of one group. `packed` is weights [kh·kw·ci, co] in panels, `bias` padded to whole vectors.
struct ConvGeometry {
  Shape x, y;  ///< NHWC
  std::int64_t kh, kw;
  kernels::Conv2dParams params;  ///< padding resolved
};
std::unique_ptr<Step> conv_step(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias,
                                kernels::ActivationParams activation, Places places);
/// One channel per group, as many results as channels; weights [kh, kw, 1, C], bias [C] at least.
std::unique_ptr<Step> depthwise_step(const ConvGeometry& geometry, const Tensor& weights, const Tensor& bias,
                                     kernels::ActivationParams activation, Places places);
/// x [rows, in] · weights [in, out]; for up to 4 rows, where reading the weights is all the work.
std::unique_ptr<Step> thin_dense_step(std::int64_t rows, const Tensor& weights, const Tensor& bias,
                                      kernels::ActivationParams activation, Places places);
/// Anything else that reads and writes through the public kernels.
std::unique_ptr<Step> kernel_step(std::function<void(Pointers)> run);

/// Weights [k, n] (row-major) in the panels of this CPU.
Tensor pack_panels(const float* weights, std::int64_t k, std::int64_t n);
/// n floats of `bias` (zeros if null), zeros behind up to whole vectors and a cache line.
Tensor pad_bias(const float* bias, std::int64_t n);

}  // namespace fovea::infer::detail
