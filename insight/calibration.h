// Probabilities that mean what they say: temperature scaling, and intervals for every figure that is reported.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "train/metrics.h"

namespace fovea::insight {

/// Temperature scaling (Guo et al. 2017): probabilities become softmax(logits / temperature). Which class is the most
/// likely does not change.
struct Temperature {
  double value = 1;            ///< above 1: the network was too sure
  double log_loss_before = 0;  ///< mean, of the data it was fitted on
  double log_loss_after = 0;
  bool at_limit = false;  ///< the best value lies beyond 0.01 to 100: as where every answer is right
};
/// Minimises the log loss by Newton's method on 1/temperature, in which it is convex, kept within a bracket. @param
/// logits f32 or f64 [N, classes]. Fit it on data that the network was not trained on. Error{shape}, Error{usage} for
/// labels out of range or nothing to fit, Error{numeric} for logits that are not finite.
FOVEA_API Temperature fit_temperature(const Tensor& logits, const std::vector<std::int64_t>& labels);
/// softmax(logits / temperature), f32 [N, classes]. Error{usage} unless temperature is above 0.
FOVEA_API Tensor tempered_probabilities(const Tensor& logits, double temperature);

struct BootstrapOptions {
  int resamples = 1000;  ///< 10 to 1 000 000
  double level = 0.95;
  std::uint64_t seed = 1;
};
/// Percentile bootstrap (Efron 1979) of any figure: `figure` is computed from `n` items that are drawn with
/// replacement, given by their numbers. Runs on the thread team, so `figure` must be safe to call at once; results do
/// not depend on the thread count. Resamples whose figure is NaN (an AUC of one class) are left out; NaN where all are.
FOVEA_API Interval bootstrap_interval(std::int64_t n,
                                      const std::function<double(const std::vector<std::int64_t>&)>& figure,
                                      const BootstrapOptions& options = {});

/// The figures of `fovea evaluate` with intervals, all from the same resamples.
struct MetricIntervals {
  Interval accuracy, balanced_accuracy, macro_f1, auc, log_loss;
  /// Of the calibration error: resampling makes bins noisier, so that it leans upwards with few items.
  Interval ece;
};
FOVEA_API MetricIntervals bootstrap_metrics(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                                            const BootstrapOptions& options = {});

}  // namespace fovea::insight
