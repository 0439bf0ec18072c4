// Max and average pooling on NHWC, global average pooling and adaptive average pooling.
#pragma once

#include "kernels/conv2d.h"

namespace fovea::kernels {

enum class PoolKind : std::uint8_t { max, average };

struct Pool2dParams {
  PoolKind kind = PoolKind::max;
  Size2 window{2, 2};
  Size2 stride{2, 2};
  Padding padding{};               ///< max: padding never wins; tf_same averages exclude it
  bool count_include_pad = false;  ///< average: divide by the window's size (PyTorch's default) or by the cells inside
                                   ///< the image (TensorFlow)
  bool ceil_mode = false;  ///< a last partial window counts if it starts inside the image or the left padding (PyTorch)
  friend bool operator==(const Pool2dParams&, const Pool2dParams&) = default;
};

FOVEA_API Shape pool2d_shape(const Pool2dParams&, const Shape& x);
/// The same for images of this shape, with the padding in numbers.
FOVEA_API Pool2dParams resolve_pool2d(const Pool2dParams&, const Shape& x);
/// y [N,Ho,Wo,C]. For max, `argmax` (i32, y's shape, optional) receives kh·window.w+kw of the first greatest cell in
/// its window (row order; NaN wins), which backward needs.
FOVEA_API void pool2d_forward(const Pool2dParams&, ConstView x, View y, std::optional<View> argmax);
FOVEA_API void pool2d_backward(const Pool2dParams&, ConstView dy, std::optional<ConstView> argmax, View dx);

/// y [N,C]: mean over H and W.
FOVEA_API void global_average_pool_forward(ConstView x, View y);
FOVEA_API void global_average_pool_backward(ConstView dy, View dx);

/// y [N,Ho,Wo,C]: cell i averages rows floor(i·H/Ho) to ceil((i+1)·H/Ho) (PyTorch's AdaptiveAvgPool2d).
FOVEA_API void adaptive_average_pool_forward(ConstView x, View y);
FOVEA_API void adaptive_average_pool_backward(ConstView dy, View dx);

}  // namespace fovea::kernels
