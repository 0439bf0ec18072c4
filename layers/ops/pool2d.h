// Pooling as differentiable ops.
#pragma once

#include "core/tensor.h"
#include "kernels/pool2d.h"
#include "layers/ops/params.h"

namespace fovea {

using kernels::Pool2dParams;

/// x [N,H,W,C] → [N,Ho,Wo,C]; `params.kind` is set by the function. Cells of padding never win. Gradients go to the
/// first greatest cell of each window in row order.
FOVEA_API Tensor max_pool2d(const Tensor& x, Pool2dParams params = {});
/// Divides by the window's size where count_include_pad, otherwise by the cells inside the image.
FOVEA_API Tensor avg_pool2d(const Tensor& x, Pool2dParams params = {});
/// x [N,H,W,C] → [N,C]: mean over H and W. Error{shape} for an image without pixels.
FOVEA_API Tensor global_average_pool(const Tensor& x);
/// x [N,H,W,C] → [N,size.h,size.w,C]; cell i averages rows floor(i·H/Ho) to ceil((i+1)·H/Ho) (PyTorch's
/// AdaptiveAvgPool2d).
FOVEA_API Tensor adaptive_average_pool(const Tensor& x, Size2 size);

}  // namespace fovea
