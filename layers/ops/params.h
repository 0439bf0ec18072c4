// The parameter structs that ops, kernels, cache keys and tests share, under the names users write.
#pragma once

#include "kernels/activation.h"
#include "kernels/conv2d.h"

namespace fovea {

using kernels::Activation;
using kernels::ActivationParams;
using kernels::Conv2dParams;
using kernels::ConvTranspose2dParams;
using kernels::Padding;
using kernels::Size2;

/// No activation behind an op.
inline constexpr ActivationParams kNoActivation{Activation::none};

}  // namespace fovea
