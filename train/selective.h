// Leaving the doubtful to people: predictions below a confidence become "unsure". How much remains, and how right it
// is.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "train/metrics.h"

namespace fovea {

/// What comes of answering only where the highest probability is at least `threshold`.
struct FOVEA_API CoveragePoint {
  double threshold = 0;
  std::int64_t total = 0, kept = 0, correct = 0;  ///< `correct` of the `kept`
  double coverage() const;                        ///< share that is answered
  double accuracy() const;                        ///< share of the answers that are right; NaN where none is given
  Interval accuracy_interval() const { return wilson_interval(correct, kept); }  ///< 95 %
};

/// From the surest answer alone to all of them (threshold 0), one point per different confidence; thresholds lie
/// halfway between neighbours. @param probabilities f32 or f64 [N, classes], N > 0. @param labels N. Error{shape},
/// Error{usage} for a label out of range, Error{numeric} for NaN.
FOVEA_API std::vector<CoveragePoint> coverage_curve(const Tensor& probabilities,
                                                    const std::vector<std::int64_t>& labels);

/// The same at one threshold that was chosen elsewhere.
FOVEA_API CoveragePoint coverage_at(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                                    double threshold);

/// The point with the largest coverage whose accuracy is at least `accuracy`; nothing where none has. Few pictures
/// promise too much: `cautious` asks it of the lower end of the 95 % interval instead.
FOVEA_API std::optional<CoveragePoint> choose_coverage(const std::vector<CoveragePoint>& curve, double accuracy,
                                                       bool cautious = false);

}  // namespace fovea
