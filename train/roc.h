// Decisions between two kinds (ill or well, defect or good) at a threshold: the ROC curve, its area with an interval,
// and thresholds chosen by sensitivity, specificity or cost.
#pragma once

#include <cstdint>
#include <vector>

#include "train/metrics.h"

namespace fovea {

/// What comes of deciding "positive" for scores at or above a threshold. Rates of nothing are NaN.
struct FOVEA_API BinaryCounts {
  std::int64_t true_positives = 0, false_negatives = 0;  ///< of the positive ones: found, missed
  std::int64_t true_negatives = 0, false_positives = 0;  ///< of the negative ones: passed, false alarms

  std::int64_t positives() const { return true_positives + false_negatives; }
  std::int64_t negatives() const { return true_negatives + false_positives; }
  double sensitivity() const;  ///< share of the positive ones that are found (recall)
  double specificity() const;  ///< share of the negative ones that pass
  double precision() const;    ///< share of the alarms that are right; depends on how common positives are here
  double negative_predictive_value() const;  ///< share of the passed that are negative; depends on the same
  double accuracy() const;
  Interval sensitivity_interval() const { return wilson_interval(true_positives, positives()); }  ///< 95 %
  Interval specificity_interval() const { return wilson_interval(true_negatives, negatives()); }  ///< 95 %
  Interval precision_interval() const { return wilson_interval(true_positives, true_positives + false_positives); }
  Interval negative_predictive_value_interval() const {
    return wilson_interval(true_negatives, true_negatives + false_negatives);
  }
};

/// Counts at a threshold that was chosen elsewhere, as on validation data. Error{shape} unless both lists are equally
/// long, Error{numeric} for NaN.
FOVEA_API BinaryCounts count_at(const std::vector<float>& scores, const std::vector<bool>& positive, double threshold);

struct RocPoint {
  double threshold = 0;
  BinaryCounts counts;
};

struct RocCurve {
  /// From "never" (threshold +∞) to "always" (-∞), one per different score. A threshold lies halfway between the
  /// lowest score it takes and the next one below, so that data a little different is not decided by a hair.
  std::vector<RocPoint> points;
  double auc = 0;        ///< ties count one half; NaN unless both kinds are there
  double auc_error = 0;  ///< standard error (DeLong, DeLong and Clarke-Pearson 1988); NaN below two of either kind
  /// 95 %, from that error on the logit scale, so that it stays within 0 and 1 and leans the right way near them. Where
  /// no pair is wrong (AUC 1 or 0) the error is 0 and says nothing: then Wilson's interval for as many right out of as
  /// many as the smaller kind has. [0, 1] where nothing is known.
  Interval auc_interval;
};

/// Error{shape} unless both lists are equally long, Error{usage} for empty ones, Error{numeric} for NaN.
FOVEA_API RocCurve roc_curve(const std::vector<float>& scores, const std::vector<bool>& positive);

/// Average precision, the area below the steps of precision over recall: Σ (recall - recall before) · precision, as
/// scikit-learn's average_precision_score. A useless classifier has the share of positives. NaN without positives.
FOVEA_API double average_precision(const RocCurve& curve);

/// The point of best specificity among those that find at least this share of the positive ones; of equal ones that
/// which finds most. Error{usage} for a share above 1 or a curve without positives.
FOVEA_API const RocPoint& at_sensitivity(const RocCurve& curve, double at_least);
/// The point of best sensitivity among those that pass at least this share of the negative ones; of equal ones that
/// which passes most.
FOVEA_API const RocPoint& at_specificity(const RocCurve& curve, double at_least);
/// Where sensitivity + specificity - 1 (Youden 1950) is largest: both kinds count alike, however many there are. Of
/// equal ones the highest threshold.
FOVEA_API const RocPoint& at_youden(const RocCurve& curve);

/// What wrong decisions cost, in any unit.
struct DecisionCosts {
  double missed = 1;       ///< a positive one that passes
  double false_alarm = 1;  ///< a negative one that is stopped
  double of(const BinaryCounts& counts) const {
    return missed * static_cast<double>(counts.false_negatives) +
           false_alarm * static_cast<double>(counts.false_positives);
  }
};
/// Where these decisions cost least; of equal ones, that with the fewest missed. The mix of the data counts: choose on
/// data where positives are as common as they will be. Error{usage} for costs that are negative, not finite or both 0.
FOVEA_API const RocPoint& at_lowest_cost(const RocCurve& curve, const DecisionCosts& costs);

}  // namespace fovea
