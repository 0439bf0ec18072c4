// Conformal prediction: instead of one class a set of classes that holds the true one with a promised probability,
// whatever the network, as long as new pictures are like those it was calibrated on.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace fovea::insight {

enum class ConformalScore : std::uint8_t {
  lac,   ///< 1 - p (Sadinle, Lei and Wasserman 2019): the smallest sets on average
  aps,   ///< the probability of what is likelier (Romano, Sesia and Candès 2020): hard pictures get larger sets
  raps,  ///< the same with a penalty on long sets (Angelopoulos et al. 2021)
};
FOVEA_API std::string_view to_string(ConformalScore score);
FOVEA_API ConformalScore conformal_score_from_string(std::string_view name);

struct ConformalOptions {
  ConformalScore score = ConformalScore::lac;
  double coverage = 0.9;   ///< promised, above 0, below 1
  double penalty = 0.01;   ///< raps: per class beyond `free_classes`
  int free_classes = 2;    ///< raps
  std::uint64_t seed = 1;  ///< aps and raps draw a number per picture, without which they would cover too much
};

/// How sets did on data with known classes.
struct ConformalResult {
  double coverage = 0;  ///< share of the sets that hold the label
  double mean_size = 0;
  std::vector<std::int64_t> sizes;     ///< how many sets have 0, 1, … classes
  std::vector<double> class_coverage;  ///< of each class; NaN for one without pictures
};

class FOVEA_API ConformalPredictor {
 public:
  /// Split conformal: the threshold is the ⌈(n+1)·coverage⌉-th smallest score of n calibration pictures, infinite where
  /// there are too few of them (sets then hold every class). Calibrate on pictures that neither trained the network nor
  /// chose it. @param probabilities f32 or f64 [n, classes]. Error{shape}, Error{usage}, Error{numeric}.
  ConformalPredictor(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                     const ConformalOptions& options = {});
  /// One that was calibrated before.
  ConformalPredictor(double threshold, const ConformalOptions& options);

  /// The set of each row, likeliest first; it may be empty, where no class fits as well as promised. @param first
  /// number of the first row: a picture's set depends on its number, not on its batch.
  std::vector<std::vector<int>> sets(const Tensor& probabilities, std::int64_t first = 0) const;
  /// Error{shape} unless there is a label per row.
  ConformalResult evaluate(const Tensor& probabilities, const std::vector<std::int64_t>& labels) const;
  double threshold() const { return threshold_; }
  const ConformalOptions& options() const { return options_; }

 private:
  std::vector<double> scores(const double* row, std::size_t classes, double u) const;
  double threshold_ = 0;
  ConformalOptions options_;
};

}  // namespace fovea::insight
