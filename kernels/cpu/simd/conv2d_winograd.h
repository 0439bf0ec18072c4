// 3×3 convolution at stride 1 by Winograd's F(2×2, 3×3): 4 multiplications per result instead of 9, in all three
// directions.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cpu/simd/conv_sizes.h"

namespace fovea::kernels::simd {

const char* conv2d_winograd_declines(const Conv2dProblem&);
void conv2d_winograd_forward(const Conv2dProblem&);
void conv2d_winograd_backward_data(const Conv2dProblem&);
void conv2d_winograd_backward_weights(const Conv2dProblem&);

/// Forward with everything settled before, for compiled inference.
struct PlannedWinograd : ConvSizes {
  const float* packed = nullptr;  ///< pack_winograd
  const float* bias = nullptr;    ///< co
  const float* zeros = nullptr;   ///< ci of them
  bool clamp = false;             ///< relu; relu6 where high is 6
  float high = 0;
};
std::int64_t winograd_packed_floats(std::int64_t ci, std::int64_t co);
/// Weights [3, 3, ci, co].
void pack_winograd(const float* w, std::int64_t ci, std::int64_t co, float* packed);
void planned_winograd(const PlannedWinograd&, const float* x, float* y);

}  // namespace fovea::kernels::simd
