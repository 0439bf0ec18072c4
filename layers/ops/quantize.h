// Rounding to a small integer type as a differentiable op, for quantisation-aware training and simulation.
#pragma once

#include "core/tensor.h"
#include "kernels/quantize.h"

namespace fovea {

using kernels::QuantizeRange;

/// y = scale·(clamp(round(x/scale) + zero, low, high) − zero), to the nearest even. `scale` [1], or [C] for the last
/// axis of x (weights by result channel); positive. The gradient passes straight through inside the range and is 0
/// where x is clamped; that of `scale` is of learned step sizes (kernels/quantize.h).
FOVEA_API Tensor fake_quantize(const Tensor& x, const Tensor& scale, const QuantizeRange& range);

}  // namespace fovea
