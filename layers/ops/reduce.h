// Sums, means and maxima over axes, softmax, log-softmax and dropout as differentiable ops.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace fovea {

/// Over the listed axes (negative ones count from the end; none listed: all), which are dropped, or kept with extent 1.
FOVEA_API Tensor sum(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keep_axes = false);
/// Error{shape} over no elements.
FOVEA_API Tensor mean(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keep_axes = false);
/// The gradient is shared equally by equal greatest elements. Error{shape} over no elements.
FOVEA_API Tensor max(const Tensor& x, const std::vector<std::int64_t>& axes = {}, bool keep_axes = false);

/// Over the last axis.
FOVEA_API Tensor softmax(const Tensor& x);
FOVEA_API Tensor log_softmax(const Tensor& x);

/// Inside a TrainingMode: keeps each element with probability 1 − rate and scales it by 1/(1 − rate) (Srivastava et al.
/// 2014); the mask depends on the mode's seed and step and the op's position in the pass only. Otherwise x. 0 ≤ rate
/// < 1.
FOVEA_API Tensor dropout(const Tensor& x, double rate);

}  // namespace fovea
