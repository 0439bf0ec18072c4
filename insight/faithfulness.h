// How far a map can be trusted: does the network's answer go when what the map calls important goes, and does the map
// depend on what the network has learned?
#pragma once

#include <cstdint>
#include <vector>

#include "insight/explain.h"

namespace fovea::insight {

struct CurveOptions {
  int steps = 50;  ///< points besides the first, 1 to 10 000
  /// deletion: what pixels become. Insertion begins with Fill::blur unless this is set to something else.
  Fill deletion_fill = Fill::grey;
  Fill insertion_fill = Fill::blur;
  int batch_size = 8;
};

/// Probability of the class over the share of pixels that are deleted (or inserted), most important first.
struct Curve {
  std::vector<double> share, probability;  ///< from share 0 to 1
  double area = 0;                         ///< by trapezoids
};

/// Deletion and insertion (Petsiuk, Das and Saenko 2018, "RISE"). @param map f32 [H, W] of x's size; equal values are
/// taken in reading order. A low deletion area and a high insertion area mean that the map is right. Error{shape}.
FOVEA_API Curve deletion_curve(Explainer& explainer, const Tensor& x, int target, const Tensor& map,
                               const CurveOptions& options = {});
FOVEA_API Curve insertion_curve(Explainer& explainer, const Tensor& x, int target, const Tensor& map,
                                const CurveOptions& options = {});

/// Spearman's rank correlation of two maps of one shape; ties get their mean rank. 0 where one of them is constant.
FOVEA_API double rank_correlation(const Tensor& a, const Tensor& b);

struct SanityCheck {
  std::vector<std::string> modules;  ///< what was drawn anew, from the last towards the first
  /// Rank correlation of the map's magnitudes with the original one, after that module and all behind it were drawn
  /// anew.
  std::vector<double> correlation;
};

/// Model parameter randomisation (Adebayo et al. 2018, "Sanity checks for saliency maps"): the children of the network
/// that have parameters are drawn anew, last first, each time on top of the ones before, and the same class is
/// explained again. A map that stays alike shows edges of the picture, not what was learned. Works on a copy of the
/// model's tensors; the model is as before afterwards. @param cascade how many children at most; 0: all. Error{usage}
/// for a model whose network has no children with parameters.
FOVEA_API SanityCheck sanity_check(const Model& model, const Tensor& x, const ExplainOptions& options = {},
                                   int cascade = 0);

}  // namespace fovea::insight
