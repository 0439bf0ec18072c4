// Batch norm on plain arrays of floats: x is [rows, channels]. See kernels/norm.h for the formulas.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/simd/common.h"

namespace fovea::kernels::simd {

struct BatchNormShape {
  std::int64_t rows = 0, channels = 0;
  double epsilon = 1e-5;
  ActivationParams activation{Activation::none};
};

/// gamma, beta may be null.
void batch_norm_training_f32(const BatchNormShape&, const float* x, const float* gamma, const float* beta, float* y,
                             float* mean, float* variance);
void batch_norm_inference_f32(const BatchNormShape&, const float* x, const float* gamma, const float* beta,
                              const float* mean, const float* variance, float* y);
/// batch_statistics: through the batch's own mean and variance, otherwise they are constants. dx, dgamma, dbeta may be
/// null; dx may be dy.
void batch_norm_backward_f32(const BatchNormShape&, bool batch_statistics, const float* x, const float* dy,
                             const float* gamma, const float* beta, const float* mean, const float* variance, float* dx,
                             float* dgamma, float* dbeta);

/// Per-column parameters of act((x − mean)·scale + shift), repeated to a fold's period. Forward and backward make them
/// by the same arithmetic from the f32 statistics, so that the activation's kink falls on the same elements.
struct BatchNormColumns {
  BatchNormColumns(const BatchNormShape&, const float* gamma, const float* beta, const float* mean,
                   const float* variance, int extra_arrays);
  Fold fold;
  const float* mean;
  const float* scale;
  const float* shift;
  float* extra;  ///< extra_arrays·period floats for the caller
};
/// z = (x − mean)·scale + shift, then the activation where `fused` is one of none, relu, relu6; n values beginning at
/// column 0.
void normalize_f32(Activation fused, const float* x, std::int64_t n, const BatchNormColumns&, float* y);

}  // namespace fovea::kernels::simd
