// Does a model serve everyone? Accuracy by slice (patient group, camera, site) with tests that do not cry wolf.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

/// Two-sided p value of a 2×2 table (Fisher 1922): the sum over tables with the same margins that are as unlikely.
FOVEA_API double fisher_exact(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d);

/// Holm (1979): adjusted p values in the order given.
FOVEA_API std::vector<double> holm(const std::vector<double>& p);

}  // namespace fovea::insight
