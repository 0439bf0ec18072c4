// Labels that are probably wrong: what a classifier that never saw a picture thinks of its label.
#pragma once

#include <cstdint>
#include <vector>

#include "train/linear_probe.h"

namespace fovea::insight {

struct LabelErrorOptions {
  int folds = 5;  ///< of the cross-validation, 2 to 50; groups stay together
  std::vector<double> c = {1e-4, 1e-3,
                           1e-2};  ///< LinearProbeOptions::c: strong penalties, which wrong labels bend less
  std::uint64_t seed = 1;
  const CancelToken* cancel = nullptr;
};

struct LabelErrors {
  Tensor probabilities;  ///< f32 [n, classes], each from a probe that saw neither the picture nor its group
  /// Probability of the label minus that of the likeliest other class, -1 to 1: low is suspicious.
  std::vector<double> margin;
  std::vector<std::int64_t> ranking;    ///< all pictures, most suspicious first
  std::vector<std::int64_t> likely;     ///< those that confident learning calls wrong, most suspicious first
  std::vector<std::int64_t> suggested;  ///< [n] the class to look at instead: the likeliest other one
  double accuracy = 0;                  ///< of the cross-validated predictions against the labels
};

/// Confident learning (Northcutt, Jiang and Chuang 2021) on linear probes: a label is likely wrong where another class
/// is predicted with at least the mean confidence that pictures of that class get, and is the likeliest of those.
/// Error{usage} for fewer than 2 classes, or fewer pictures or groups than folds; Error{numeric}.
FOVEA_API LabelErrors find_label_errors(const Features& features, int classes, const LabelErrorOptions& options = {});

}  // namespace fovea::insight
