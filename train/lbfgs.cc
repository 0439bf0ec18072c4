#include <algorithm>
#include <cmath>
#include <deque>

#include "core/error.h"
#include "train/lbfgs_internal.h"

namespace fovea {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add(Vector& to, double factor, const Vector& v) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += factor * v[i];
}

struct Pair {
  Vector s, y;  // change of the point and of the gradient
  double rho;   // 1/(s·y)
};

/// −H·g by the two-loop recursion.
Vector direction(const std::deque<Pair>& memory, const Vector& gradient) {
  Vector d = gradient;
  std::vector<double> alpha(memory.size());
  for (std::size_t i = memory.size(); i-- > 0;) {
    alpha[i] = memory[i].rho * dot(memory[i].s, d);
    add(d, -alpha[i], memory[i].y);
  }
  if (!memory.empty()) {
    const double scale = 1 / (memory.back().rho * dot(memory.back().y, memory.back().y));
    for (double& v : d) v *= scale;
  }
  for (std::size_t i = 0; i < memory.size(); ++i) add(d, alpha[i] - memory[i].rho * dot(memory[i].y, d), memory[i].s);
  for (double& v : d) v = -v;
  return d;
}

}  // namespace

double minimize_lbfgs(const SmoothFunction& function, Vector& x, const LbfgsOptions& options) {
  constexpr double kArmijo = 1e-4;
  constexpr int kMostHalvings = 30;
  Vector gradient(x.size()), next_gradient(x.size());
  double value = function(x, gradient);
  std::deque<Pair> memory;
  for (int step = 0; step < options.most_steps; ++step) {
    if (options.cancel && options.cancel->requested()) throw Error(ErrorKind::cancelled, "l-bfgs", "stopped");
    double largest = 0;
    for (const double g : gradient) largest = std::max(largest, std::abs(g));
    if (largest <= options.gradient_tolerance) break;
    Vector d = direction(memory, gradient);
    double slope = dot(d, gradient);
    if (!(slope < 0)) {  // rounding spoiled the memory: steepest descent is always downhill
      memory.clear();
      d = gradient;
      for (double& v : d) v = -v;
      slope = dot(d, gradient);
    }
    // Without memory the length of the gradient says nothing about how far to go.
    double length = memory.empty() ? std::min(1.0, 1 / std::sqrt(-slope)) : 1.0;
    Vector next;
    double next_value = value;
    bool lower = false;
    for (int k = 0; k < kMostHalvings && !lower; ++k, length *= 0.5) {
      next = x;
      add(next, length, d);
      next_value = function(next, next_gradient);
      lower = next_value <= value + kArmijo * length * slope;
    }
    if (!lower) break;
    Pair pair{next, next_gradient, 0};
    add(pair.s, -1, x);
    add(pair.y, -1, gradient);
    const double curvature = dot(pair.s, pair.y);
    if (curvature > 1e-12 * dot(pair.y, pair.y)) {
      pair.rho = 1 / curvature;
      memory.push_back(std::move(pair));
      if (static_cast<int>(memory.size()) > options.memory) memory.pop_front();
    }
    x.swap(next);
    gradient.swap(next_gradient);
    value = next_value;
  }
  return value;
}

}  // namespace fovea
