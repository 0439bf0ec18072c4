// Classification metrics, fed batch by batch. Definitions are scikit-learn's; sums are kept in double.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace fovea {

/// Precision, recall and F1 of one class; 0 where the denominator is 0 (scikit-learn's zero_division=0).
struct ClassScore {
  double precision = 0, recall = 0, f1 = 0;
  double auc = 0;              ///< one-vs-rest; NaN where the class, or everything else, is absent
  std::int64_t support = 0;    ///< how many items are of this class
  std::int64_t predicted = 0;  ///< how many were taken for it
};

/// One bar of the reliability diagram: predictions whose confidence lies in (low, high].
struct ReliabilityBin {
  double low = 0, high = 0;
  std::int64_t count = 0;
  double confidence = 0;  ///< mean; 0 when empty
  double accuracy = 0;
};

struct Interval {
  double low = 0, high = 1;
};
/// Wilson's score interval (1927) for a proportion; z = 1.959964 is 95 %. [0, 1] when total is 0.
FOVEA_API Interval wilson_interval(std::int64_t successes, std::int64_t total, double z = 1.959963984540054);

/// Area under the ROC curve by ranks (Mann and Whitney 1947): ties count one half. NaN unless both kinds are there.
FOVEA_API double roc_auc(const std::vector<float>& scores, const std::vector<bool>& positive);

struct MetricValues {
  std::int64_t n = 0;
  double accuracy = 0;
  Interval accuracy_interval;                                  ///< Wilson, 95 %
  std::vector<std::pair<int, double>> top_k;                   ///< (k, share whose label is among the k highest)
  double log_loss = 0;                                         ///< mean −ln p(label), p clipped at 1e-15
  double macro_precision = 0, macro_recall = 0, macro_f1 = 0;  ///< mean over classes that occur as label or prediction
  double weighted_precision = 0, weighted_recall = 0, weighted_f1 = 0;  ///< weighted by support
  double balanced_accuracy = 0;                                         ///< mean recall of the classes present
  double auc =
      0;  ///< two classes: of the second; more: mean of the one-vs-rest values that exist; NaN if none, or not kept
  double ece = 0;  ///< Σ count/n·|accuracy − confidence| over the bins (Guo et al. 2017)
  std::vector<ClassScore> classes;
  std::vector<std::vector<std::int64_t>> confusion;  ///< [label][prediction]
  std::vector<ReliabilityBin> reliability;

  /// The same without lists, as one line: "accuracy 93.10 % (92.59–93.58), macro F1 0.931, …".
  std::string to_string() const;
};

struct MetricOptions {
  /// Empty: 1 and 5 (as a default value it would make GCC 12 warn of uninitialised memory wherever options are
  /// written).
  std::vector<int> top_k;  ///< those above the number of classes are left out
  int ece_bins = 15;       ///< equal width
  /// The AUC needs every score: 4·classes bytes an item. Beyond this many bytes it is given up (NaN).
  std::int64_t auc_bytes = std::int64_t{1} << 30;
};

class FOVEA_API ClassificationMetrics {
 public:
  /// Error{usage} unless there are at least 1 class and 1 bin.
  explicit ClassificationMetrics(int classes, MetricOptions options = {});

  /// @param logits f32 or f64 [N, classes]; the softmax is taken in double. @param labels i64 [N].
  /// Error{shape} for other shapes, Error{usage} for a label out of range, Error{numeric} for NaN or Inf; nothing is
  /// added then.
  void add_logits(const Tensor& logits, const Tensor& labels);
  /// The same for probabilities: at least 0; rows are not rescaled.
  void add_probabilities(const Tensor& probabilities, const Tensor& labels);
  MetricValues compute() const;
  std::int64_t count() const { return n_; }

 private:
  void add(const Tensor& scores, const Tensor& labels, bool logits);

  int classes_;
  MetricOptions options_;
  std::int64_t n_ = 0;
  double log_loss_ = 0;
  std::vector<std::int64_t> confusion_, top_, bin_count_;
  std::vector<double> bin_confidence_;
  std::vector<std::int64_t> bin_correct_;
  std::vector<float> scores_;  // [n][classes], or the second class's alone when there are two
  std::vector<std::int32_t> labels_;
  bool auc_ = true;
};

}  // namespace fovea
