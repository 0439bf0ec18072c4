// 2-D convolution and transposed convolution as differentiable ops.
#pragma once

#include "core/tensor.h"
#include "layers/ops/params.h"

namespace fovea {

/// y = act(conv(x, w) + bias). x [N,H,W,Ci], w [kh,kw,Ci/groups,Co] (HWIO), bias [Co] or undefined; y [N,Ho,Wo,Co] with
/// Ho = floor((H + top + bottom − dilation·(kh−1) − 1)/stride) + 1. groups = Ci is depthwise: w
/// [kh,kw,1,Ci·multiplier]. Error{shape} where channels, groups or sizes do not fit; an empty batch is fine.
FOVEA_API Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias = {}, const Conv2dParams& params = {},
                        ActivationParams activation = kNoActivation);

/// The gradient of conv2d with respect to its input, as an op. x [N,H,W,Ci], w [kh,kw,Co/groups,Ci] (Keras'
/// Conv2DTranspose layout), bias [Co] or undefined; y [N,Ho,Wo,Co] with Ho = (H−1)·stride − top − bottom +
/// dilation·(kh−1) + 1 + output_padding.
FOVEA_API Tensor conv_transpose2d(const Tensor& x, const Tensor& w, const Tensor& bias = {},
                                  const ConvTranspose2dParams& params = {});

}  // namespace fovea
