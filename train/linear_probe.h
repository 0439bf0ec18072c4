// Linear probe: a classifier on the features of a network that stays as it is. The cheapest transfer learning, and the
// start of the full one.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "core/tensor.h"
#include "models/model.h"
#include "train/cancel.h"

namespace fovea {

struct FeatureOptions {
  std::int64_t batch_size = 32;
  int workers = 1;
  bool skip_corrupt = false;
  bool cache = true;  ///< keep decoded pictures, as LoaderOptions::cache
  /// Computes features instead of the network's own modules: infer::fast_forward(feature_network(model)) is compiled.
  std::function<Tensor(const Tensor&)> forward;
  const CancelToken* cancel = nullptr;                       ///< not owned; Error{cancelled} when it fires
  std::function<void(std::int64_t, std::int64_t)> on_batch;  ///< batch from 1, of how many
};

/// What a network makes of each picture of a dataset.
struct Features {
  Tensor values;                     ///< f32 [n, F]
  std::vector<std::int64_t> labels;  ///< [n]
  std::vector<std::string> groups;   ///< [n], empty strings where unknown
  std::vector<std::string> skipped;  ///< pictures that could not be read, with skip_corrupt
};

/// The values that reach the model's classifier, one row per picture, unaugmented. Error{usage} unless the network is a
/// chain that ends in "classifier" (models/transfer.h), or was read from a file and ends in a dense layer.
FOVEA_API Features compute_features(const Model& model, const DatasetPtr& dataset, const FeatureOptions& options = {});
/// The network up to there, which shares the model's parameters.
FOVEA_API Model feature_network(const Model& model);
/// What makes them of pictures as the model's preprocessing makes these: f32 [N, F] of f32 [N,H,W,C]. It holds the
/// network, which may go on learning.
FOVEA_API std::function<Tensor(const Tensor&)> feature_extractor(const Model& model);

struct LinearProbeOptions {
  /// Inverse strengths of the penalty to choose from, ascending (scikit-learn's C: the loss is Σ cross-entropy +
  /// Σw²/(2C) over standardised features). One value is taken as it is.
  std::vector<double> c = {1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1};
  int folds = 4;                      ///< of the cross-validation that chooses, at least 2
  std::vector<double> class_weights;  ///< one per class; empty: all 1
  std::uint64_t seed = 0;             ///< of the folds
  const CancelToken* cancel = nullptr;
  std::function<void(int, int)> on_fit;  ///< fits done, of at most how many
};

struct LinearProbe {
  struct Trial {
    double c = 0;
    double log_loss = 0;  ///< of held-out folds
    double accuracy = 0;
  };
  Tensor weight;              ///< f32 [F, K], for features as they are: the standardisation is folded in
  Tensor bias;                ///< f32 [K]
  double c = 0;               ///< the one chosen: of least held-out log loss
  std::vector<Trial> trials;  ///< as far as they were tried: two rises in a row end the search; empty for a single C
};

/// Multinomial logistic regression with an L2 penalty (not on the bias) over standardised features, solved by L-BFGS:
/// the same input and thread count give the same bits. Groups stay together in the cross-validation, which uses at most
/// 8000 rows. A class without rows is never predicted. Error{usage} for fewer than 2 classes or values out of range;
/// Error{numeric} for features that are NaN or Inf.
FOVEA_API LinearProbe fit_linear_probe(const Features& features, int classes, const LinearProbeOptions& options = {});

/// Class probabilities f32 [n, K] of feature rows.
FOVEA_API Tensor probe_probabilities(const LinearProbe& probe, const Tensor& features);

/// Puts the probe into the model's classifier. Error{shape} where it does not fit.
FOVEA_API void set_classifier(Model& model, const LinearProbe& probe);

}  // namespace fovea
