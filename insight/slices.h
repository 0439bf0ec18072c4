// Does a model serve everyone? Accuracy by slice (patient group, camera, site) with tests that do not cry wolf.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "train/metrics.h"

namespace fovea::insight {

struct Slice {
  std::string name;
  std::int64_t n = 0, correct = 0;
  double accuracy = 0;
  Interval interval;         ///< Wilson, 95 %
  double rest_accuracy = 0;  ///< of all others; NaN where there are none
  double p_value = 1;        ///< Fisher's exact test against all others, two-sided
  double adjusted_p = 1;     ///< Holm's correction over the slices
  bool worse = false;        ///< adjusted_p below the level, and the accuracy below that of the rest
};

/// One per different name, sorted by it; items without a name (empty) are left out. @param level of the whole family of
/// tests: with no real difference, any slice is called worse with at most this probability. Error{shape} unless both
/// lists are equally long.
FOVEA_API std::vector<Slice> compare_slices(const std::vector<bool>& correct, const std::vector<std::string>& names,
                                            double level = 0.05);

/// Something that pictures have, such as the site, the sex of the patient, or how bright they are.
struct SliceAttribute {
  std::string name;
  std::vector<std::string> values;  ///< one per picture; empty: unknown, left out
  std::vector<std::string> order;   ///< values in the order in which they are shown; others follow by name
};

/// How one class fares in a slice.
struct SliceRecall {
  std::int64_t n = 0, found = 0;
  double recall = 0;       ///< NaN without pictures
  Interval interval;       ///< Wilson, 95 %
  double rest_recall = 0;  ///< of the class outside the slice; NaN without pictures
  double adjusted_p = 1;   ///< Fisher's exact test, Holm's correction over all classes of all slices
  bool worse = false;
};

struct SliceDetail : Slice {
  std::string attribute;
  std::vector<SliceRecall> classes;
  std::vector<std::vector<std::int64_t>> confusion;  ///< [label][prediction]
  double ece = 0;                                    ///< 15 equal-width bins; leans upwards in small slices
  double confidence = 0;                             ///< mean of the highest probability
  double rest_gap = 0;                ///< confidence - accuracy outside the slice; NaN where there is nothing outside
  double calibration_p = 1;           ///< permutation test of confidence - accuracy against all others
  double adjusted_calibration_p = 1;  ///< Holm's correction over the slices
  bool miscalibrated = false;         ///< confidence means something else here than elsewhere
  double gap() const { return confidence - accuracy; }  ///< above 0: too sure
};

struct SliceOptions {
  /// Of each of three families of tests: accuracy, recall by class, calibration. With no real difference, anything of a
  /// family is flagged with at most this probability.
  double level = 0.05;
  /// Smaller slices are left out, and so are attributes with a single value: no test could tell them from chance.
  int min_pictures = 10;
  int permutations = 1999;  ///< of the test of calibration
  std::uint64_t seed = 1;
};

struct SliceReport {
  std::vector<SliceDetail> slices;  ///< by attribute as given, then in its order
  int worst = -1;                   ///< the number of the one with the lowest upper end of its accuracy's interval
  std::int64_t left_out = 0;        ///< slices with too few pictures
};

/// What a model makes of each part of its pictures. Each slice is compared to the other pictures whose value of that
/// attribute is known. @param probabilities f32 or f64 [N, classes]. Error{shape}, Error{usage} for labels or options
/// out of range, Error{numeric}.
FOVEA_API SliceReport audit_slices(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                                   const std::vector<SliceAttribute>& attributes, const SliceOptions& options = {});

/// An attribute of thirds, "dark (below 93)", from a number of each picture (NaN: unknown). No values at all
/// where fewer than 30 pictures have one, or where two thirds would have one value.
FOVEA_API SliceAttribute thirds_of(const std::string& name, const std::vector<double>& values,
                                   const std::array<std::string, 3>& names, int decimals = 0);

/// Two-sided p value of a 2×2 table (Fisher 1922): the sum over tables with the same margins that are as unlikely.
FOVEA_API double fisher_exact(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d);

/// Holm (1979): adjusted p values in the order given.
FOVEA_API std::vector<double> holm(const std::vector<double>& p);

}  // namespace fovea::insight
