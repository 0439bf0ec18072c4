// How the parameters that kernels share are spelled as an op's attributes: written by the ops, read by them and by
// inference, which has no ops.
#pragma once

#include "core/graph/attributes.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"

namespace fovea::kernels {

FOVEA_API void set_size(Attributes& to, const char* name, Size2 size);
/// Both extents in [low, high].
FOVEA_API Size2 get_size(const Attributes& from, const char* name, int low, int high = 1 << 20);
FOVEA_API void set_padding(Attributes& to, const Padding& padding);
FOVEA_API Padding get_padding(const Attributes& from);
/// Nothing is written for Activation::none.
FOVEA_API void set_activation(Attributes& to, const ActivationParams& activation);
FOVEA_API ActivationParams get_activation(const Attributes& from);
/// Error{format} unless low ≤ value ≤ high (so NaN is refused).
FOVEA_API double get_double_in(const Attributes& from, const char* name, double low, double high);

}  // namespace fovea::kernels
