// Sums, differences, products and scaling as differentiable ops, with NumPy's broadcasting.
#pragma once

#include "core/tensor.h"

namespace fovea {

/// a + b; shapes broadcast as in NumPy: aligned at the last axis, extents equal or 1.
FOVEA_API Tensor add(const Tensor& a, const Tensor& b);
FOVEA_API Tensor subtract(const Tensor& a, const Tensor& b);
/// Elementwise product.
FOVEA_API Tensor multiply(const Tensor& a, const Tensor& b);
/// scale·x + shift with constants.
FOVEA_API Tensor affine(const Tensor& x, double scale, double shift = 0);
/// scale·x
FOVEA_API Tensor scale(const Tensor& x, double factor);

}  // namespace fovea
