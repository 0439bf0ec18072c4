// Is a picture like those the network knows? Scores that grow with strangeness, and the point from which on to say so.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace fovea::insight {

/// -ln Σ exp(logit), per row (Liu et al. 2020). @param logits f32 or f64 [N, classes].
FOVEA_API std::vector<double> energy_scores(const Tensor& logits);

/// Squared Mahalanobis distance to the nearest class, with one covariance for all (Lee et al. 2018).
class FOVEA_API MahalanobisScore {
 public:
  /// @param features f32 [N, F] (train/linear_probe.h compute_features) @param shrinkage share of the mean variance
  /// that is mixed into the covariance, above 0 to 1, so that few pictures do. Error{shape}, Error{usage}.
  MahalanobisScore(const Tensor& features, const std::vector<std::int64_t>& labels, int classes,
                   double shrinkage = 0.05);
  ~MahalanobisScore();
  MahalanobisScore(MahalanobisScore&&) noexcept;
  MahalanobisScore& operator=(MahalanobisScore&&) noexcept;
  std::vector<double> operator()(const Tensor& features) const;
  /// Numbers per picture that it expects.
  std::int64_t width() const;

  /// As safetensors: `means` f32 [classes with pictures, F], `factor` f32 [F, F], the lower triangular Cholesky factor
  /// of the covariance. Error{file}.
  void save(const std::string& path) const;
  /// Error{file}; Error{format} for anything else than save() writes.
  static MahalanobisScore load(const std::string& path);

 private:
  MahalanobisScore();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The score that at most `false_alarms` of pictures like the given ones exceed: the ⌈(n+1)·(1-false_alarms)⌉-th
/// smallest, infinite where there are too few. Error{usage} for no scores or a share outside 0 to 1.
FOVEA_API double novelty_threshold(std::vector<double> scores, double false_alarms = 0.05);

struct TestTimeOptions {
  bool flip = true;  ///< mirrored left to right too
  int shift = 0;     ///< pixels up, down, left and right too, edges repeated
};
/// Test-time augmentation: answers for several views of each picture as one. The softmax of the result is the mean of
/// the views' probabilities, its Σ exp the mean of theirs (so that energies stay comparable). @param forward logits of
/// images f32 [N,H,W,C].
FOVEA_API Tensor augmented_logits(const std::function<Tensor(const Tensor&)>& forward, const Tensor& images,
                                  const TestTimeOptions& options = {});

}  // namespace fovea::insight
