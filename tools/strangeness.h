// Strangeness by features: what a network sees in ordinary pictures, in a file beside the trust file. Internal to
// tools/.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "insight/novelty.h"
#include "insight/trust.h"
#include "tools/model_source.h"
#include "train/cancel.h"

namespace fovea::tools {

/// Measures how far features of pictures lie from those of training, for a trust file that goes by them.
class FeatureDistance {
 public:
  /// From the file beside `trust_file`. Error{usage} for a compiled network, which has no features any more;
  /// Error{shape} where the file belongs to another network.
  FeatureDistance(const ModelSource& source, const std::string& trust_file);
  /// Learns them from the pictures that the run was trained on (run.json). Error{usage} where it does not say which.
  static FeatureDistance fit(const std::string& run, const CancelToken* cancel);
  void save(const std::string& trust_file) const;

  /// Of pictures f32 [N,H,W,C].
  std::vector<double> of(const Tensor& images) const;
  std::vector<double> of(const DatasetPtr& data, const CancelToken* cancel) const;

 private:
  FeatureDistance(Model model, insight::MahalanobisScore score);

  Model model_;
  std::function<Tensor(const Tensor&)> features_;
  insight::MahalanobisScore score_;
};

/// Whether the trust goes by distances of features.
bool by_features(const insight::Trust& trust);

}  // namespace fovea::tools
