// Ops that move or relabel elements: flatten, reshape, slices of the batch, concatenation, identity, resize.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"
#include "kernels/elementwise.h"
#include "layers/ops/params.h"

namespace fovea {

using kernels::ResizeFilter;
using kernels::ResizeParams;

/// [N, ...] → [N, product of the rest]. Shares memory with x.
FOVEA_API Tensor flatten(const Tensor& x);
/// The same elements under another shape; shares memory. 0 keeps x's extent of that axis, one -1 takes what is left.
/// A first extent equal to x's is kept as "the batch", so that a captured network runs at any batch size.
FOVEA_API Tensor reshape(const Tensor& x, std::span<const std::int64_t> shape);
inline Tensor reshape(const Tensor& x, std::initializer_list<std::int64_t> shape) {
  return reshape(x, std::span<const std::int64_t>(shape.begin(), shape.size()));
}
/// Samples [begin, end); shares memory.
FOVEA_API Tensor slice_batch(const Tensor& x, std::int64_t begin, std::int64_t end);
/// Joins along `axis` (negative counts from the end); the other extents agree. At least one operand.
FOVEA_API Tensor concat(std::span<const Tensor> parts, int axis = -1);
inline Tensor concat(std::initializer_list<Tensor> parts, int axis = -1) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), axis);
}
/// x under another identity.
FOVEA_API Tensor identity(const Tensor& x);
/// x [N,H,W,C] → [N,size.h,size.w,C].
FOVEA_API Tensor resize(const Tensor& x, Size2 size, const ResizeParams& params = {});

}  // namespace fovea
