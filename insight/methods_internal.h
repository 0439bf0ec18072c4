// Internal: what the methods of explain.h share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "insight/explain.h"
#include "insight/network_internal.h"

namespace fovea::insight {

/// One picture and what is asked of it. x is [1,H,W,C]; options are checked.
struct Question {
  Network& network;
  const Tensor& x;
  const ExplainOptions& options;
  int target;
  double probability;  ///< of the target, for x
  const Cut* cut;      ///< CAMs: where they look, and what is there
  const std::vector<Tensor>& activations;

  std::int64_t height() const { return x.dim(1); }
  std::int64_t width() const { return x.dim(2); }
  std::int64_t channels() const { return x.dim(3); }
  /// Error{cancelled} where that is asked; tells how far it is.
  void progress(std::int64_t done, std::int64_t total) const;
};

void cam(const Question& q, Explanation& out);
void integrated_gradients(const Question& q, Explanation& out);
void smooth_grad(const Question& q, Explanation& out);
void occlusion(const Question& q, Explanation& out);
void lime(const Question& q, Explanation& out);

/// [1,H,W,C] blurred with a Gaussian of that standard deviation in pixels, edges repeated.
Tensor gaussian(const Tensor& x, double sigma);

/// Probability of the target for `count` pictures that make(i, pixels) writes, in batches. `done` and `total` are for
/// progress.
std::vector<double> target_probabilities(const Question& q, std::int64_t count,
                                         const std::function<void(std::int64_t, float*)>& make, std::int64_t done,
                                         std::int64_t total);

}  // namespace fovea::insight
