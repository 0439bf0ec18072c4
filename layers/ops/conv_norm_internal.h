// What conv2d and batch_norm share with the op that is both (conv_norm.cc).
#pragma once

#include "core/graph/attributes.h"
#include "layers/ops/norm.h"

namespace fovea::ops {

/// From the attributes of a conv2d or batch_norm op. Error{format} for what no such op has.
Conv2dParams get_conv2d(const Attributes& a);
BatchNormOptions get_batch_norm(const Attributes& a);

/// Moves the running statistics towards those of a batch of `count` rows.
void update_running_statistics(const BatchNormOptions& options, Tensor running_mean, Tensor running_variance,
                               const Tensor& mean, const Tensor& variance, std::int64_t count);

}  // namespace fovea::ops
