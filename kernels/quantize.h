// Rounding to the grid of a small integer type and back, in floating point: how training and simulation see int8.
#pragma once

#include <optional>

#include "core/view.h"

namespace fovea::kernels {

/// The integers that a value is rounded to, and which of them stands for 0.
struct QuantizeRange {
  int zero = 0;
  int low = 0, high = 255;
};

/// y = scale·(clamp(round(x/scale) + zero, low, high) − zero), to the nearest even; NaN becomes the lowest. `scale` has
/// one element, or one for each entry of x's last axis, all positive. y may be x. f32 or f64; ranges within ±2^20.
FOVEA_API void fake_quantize_forward(const QuantizeRange& range, ConstView x, ConstView scale, View y);

/// The straight-through gradient (Bengio et al. 2013): dx = dy where x rounds to an integer of the range, 0 where it is
/// clamped. d(scale) as learned step sizes have it (Esser et al. 2020): Σ dy·(round(x/scale) − x/scale) inside,
/// Σ dy·(low − zero) or dy·(high − zero) outside. Either may be left out; dx may be dy.
FOVEA_API void fake_quantize_backward(const QuantizeRange& range, ConstView x, ConstView scale, ConstView dy,
                                      std::optional<View> dx, std::optional<View> dscale);

}  // namespace fovea::kernels
