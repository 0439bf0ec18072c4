// How far apart two networks' tensors are.
#pragma once

#include <algorithm>

#include "catch.h"
#include "models/model.h"
#include "tests/tensor_distance.h"

namespace fovea::test {

/// The largest distance between two networks' tensors in terms of their norms. Biases in front of a norm are zero but
/// for rounding.
inline double model_distance(const Model& a, const Model& b) {
  const auto x = a.network().named_tensors(), y = b.network().named_tensors();
  REQUIRE(x.size() == y.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, tensor_distance(x[i].tensor.to(kCpu), y[i].tensor.to(kCpu), 1e-4));
  return worst;
}

}  // namespace fovea::test
