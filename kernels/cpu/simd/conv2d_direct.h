// Convolution as register tiles over a padded window of the image: any kernel, stride, dilation and padding; groups of
// 4 and more channels. Direct: no im2col matrix, because a row of the kernel is already contiguous in NHWC.
#pragma once

#include "kernels/conv2d.h"

namespace fovea::kernels::simd {

const char* conv2d_direct_declines(const Conv2dProblem&);
void conv2d_direct_forward(const Conv2dProblem&);
void conv2d_direct_backward_data(const Conv2dProblem&);
void conv2d_direct_backward_weights(const Conv2dProblem&);

}  // namespace fovea::kernels::simd
