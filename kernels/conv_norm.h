// Convolution and batch norm trained as one (kernels/conv2d.h, kernels/norm.h): what lies between two convolutions is
// kept once, as the first one made it. The batch's statistics are gathered while its results are still in the cache;
// the second one normalises them while it reads them, and its backward pass again, which also leaves its gradient
// already behind the activation, with the two sums that the normalisation's own backward pass begins with. Of the five
// passes over memory that batch norm costs apart (two forward, three backward) none is left.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/norm.h"

namespace fovea::kernels {

/// A layer's input: z = act((x − mean)·scale + beta) by channel. x [N,H,W,C] f32 or bf16; mean, scale and beta [C] f32,
/// all or none: without them z is x.
struct NormalizedView {
  ConstView x;
  OptionalView mean, scale, beta;
  ActivationParams activation{Activation::none};
};

/// y = conv(z, w), and the mean and biased variance [C] of y over all axes but the last where wanted. w f32; y f32 or
/// bf16, as x (a bf16 y may come from an f32 x).
FOVEA_API void conv_norm_forward(const Conv2dParams&, const NormalizedView& in, ConstView w, View y,
                                 std::optional<View> mean, std::optional<View> variance);

/// The gradient of y as it reaches the convolution through batch norm: dy = a·g + b·(y − mean) + c by channel, where g
/// is the gradient behind the normalisation and its activation's mask. b absent: dy = a·g, of constant statistics.
struct NormGradient {
  ConstView g, y;  ///< of one type
  ConstView a;
  OptionalView b, mean, c;
};

/// dw as w, where wanted. dx, where wanted, in x's type: behind the input's activation (the g of the layer before),
/// with dbeta [C] = Σ dx and dscale [C] = Σ dx·(x − mean); of an input that is not normalised simply d/dx.
FOVEA_API void conv_norm_backward(const Conv2dParams&, const NormalizedView& in, ConstView w, const NormGradient& dy,
                                  std::optional<View> dw, std::optional<View> dx, std::optional<View> dscale,
                                  std::optional<View> dbeta);

/// z = act((x − mean)·scale + beta + residual), in y's type. residual: like x, optional.
FOVEA_API void normalize_forward(const NormalizedView& in, OptionalView residual, View y);
/// In place: g = dz·act' (not written where there is no activation), dbeta = Σ g, dscale = Σ g·(x − mean). `result` is
/// z: needed with a residual.
FOVEA_API void normalize_backward(const NormalizedView& in, OptionalView result, View g, View dscale, View dbeta);

/// Whether this kind of activation can be left to the layer that reads (none, relu, relu6, hard_swish, silu).
FOVEA_API bool conv_norm_takes(Activation activation);
/// Whether such a convolution normalises its input while it reads: pointwise and depthwise ones do, others normalise a
/// copy first.
FOVEA_API bool conv_norm_reads_normalized(const Conv2dParams&, const Shape& x, const Shape& w);
/// Whether maps may be bf16 on this CPU.
FOVEA_API bool conv_norm_takes_bf16();

}  // namespace fovea::kernels
