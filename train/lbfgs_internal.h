// Limited-memory BFGS for smooth convex problems of a few thousand to a million unknowns. Internal to train.
#pragma once

#include <functional>
#include <vector>

#include "train/cancel.h"

namespace fovea {

struct LbfgsOptions {
  double gradient_tolerance = 1e-5;  ///< ends when no component of the gradient is larger
  int most_steps = 500;
  int memory = 10;
  const CancelToken* cancel = nullptr;
};

/// Value at a point; the gradient, of the same size, is overwritten.
using SmoothFunction = std::function<double(const std::vector<double>&, std::vector<double>&)>;

/// Minimises from `x` on, in place, and returns the value there (Nocedal and Wright 2006, algorithm 7.5, with
/// backtracking to Armijo's condition; steps of non-positive curvature do not enter the memory). It ends early where no
/// step along the direction lowers the value any more: that is the precision of the function. Error{cancelled}.
double minimize_lbfgs(const SmoothFunction& function, std::vector<double>& x, const LbfgsOptions& options = {});

}  // namespace fovea
