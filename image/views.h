// Test-time augmentation that belongs to a model: one answer for a picture and its mirror image.
#pragma once

#include <functional>

#include "core/tensor.h"
#include "image/preprocess.h"

namespace fovea::image {

/// Pictures f32 [N,H,W,C] with their columns from right to left, where x is.
FOVEA_API Tensor mirrored(const Tensor& x);

/// forward(x); with preprocessing.mirrored the mean of that and forward(mirrored(x)), in f32 where the result is.
/// @param x pictures [N,H,W,C]
FOVEA_API Tensor forward_views(const Preprocessing& preprocessing, const Tensor& x,
                               const std::function<Tensor(const Tensor&)>& forward);

}  // namespace fovea::image
