// 3×3 convolution at stride 1 by Winograd's F(2×2, 3×3): 4 multiplications per result instead of 9, in all three
// directions.
#pragma once

#include "kernels/conv2d.h"

namespace fovea::kernels::simd {

const char* conv2d_winograd_declines(const Conv2dProblem&);
void conv2d_winograd_forward(const Conv2dProblem&);
void conv2d_winograd_backward_data(const Conv2dProblem&);
void conv2d_winograd_backward_weights(const Conv2dProblem&);

}  // namespace fovea::kernels::simd
