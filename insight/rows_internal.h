// Internal: what functions on rows of scores share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "train/metrics.h"

namespace fovea::insight {

/// [N, classes], finite, N > 0, with a label in range per row where labels are given. Error{shape}, Error{usage},
/// Error{numeric}.
void check_rows(const Tensor& values, const std::vector<std::int64_t>* labels, const char* where);

/// These rows of f32 [N, columns], in this order.
template <class Index>
Tensor take_rows(const Tensor& all, const std::vector<Index>& which) {
  const std::int64_t columns = all.dim(1);
  Tensor out(Shape{static_cast<std::int64_t>(which.size()), columns});
  float* to = out.mutable_data<float>();
  for (const Index i : which)
    to = std::copy_n(all.data<float>() + static_cast<std::int64_t>(i) * columns, static_cast<std::size_t>(columns), to);
  return out;
}

/// All figures of answers [N, classes].
inline MetricValues metrics_of(const Tensor& probabilities, const std::vector<std::int64_t>& labels) {
  ClassificationMetrics metrics(static_cast<int>(probabilities.dim(1)));
  metrics.add_probabilities(probabilities, Tensor::from(Shape{static_cast<std::int64_t>(labels.size())}, labels));
  return metrics.compute();
}

}  // namespace fovea::insight
