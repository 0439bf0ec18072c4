// How far a tensor is from another, in terms of the other's norm.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/tensor.h"

namespace fovea::test {

/// ‖a − b‖ / max(‖b‖, floor); infinite where something is NaN. As many elements in both.
inline double relative_distance(const std::vector<double>& a, const std::vector<double>& b, double floor) {
  double difference = 0, norm = 0;
  for (std::size_t k = 0; k < b.size(); ++k) {
    difference += (a[k] - b[k]) * (a[k] - b[k]);
    norm += b[k] * b[k];
  }
  const double d = std::sqrt(difference) / std::max(std::sqrt(norm), floor);
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}
inline double tensor_distance(const Tensor& a, const Tensor& b, double floor = 1e-12) {
  return relative_distance(a.to_vector<double>(), b.to_vector<double>(), floor);
}

}  // namespace fovea::test
