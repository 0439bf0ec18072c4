// Plots as SVG text: curves, confusion matrix, reliability diagram. Self-contained: no scripts, fonts or other files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/metrics.h"

namespace fovea {

struct Series {
  std::string name;
  std::vector<double> x, y;  ///< of one length; points that are not finite interrupt the line
  bool faint = false;        ///< drawn thin and pale, behind the others (a noisy per-step curve)
};

struct LinePlot {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool percent = false;    ///< y values 0…1 are labelled in per cent
  bool log_x = false;      ///< positive x only
  bool whole_x = false;    ///< ticks at whole numbers only (epochs)
  bool from_zero = false;  ///< the y axis includes 0
  double mark_x = 0;       ///< a dashed vertical line, if mark_label is not empty
  std::string mark_label;
};

/// Error{shape} when a series' x and y differ in length. Without any finite point: empty axes that say "no data".
FOVEA_API std::string line_plot_svg(const LinePlot& plot);
/// Rows are labels, columns predictions, shaded by the share of the row; counts are written into the cells up to 30
/// classes.
FOVEA_API std::string confusion_svg(const std::vector<std::vector<std::int64_t>>& confusion,
                                    const std::vector<std::string>& names);
/// Accuracy over confidence with the gap to the diagonal and the number of pictures in each bin.
FOVEA_API std::string reliability_svg(const std::vector<ReliabilityBin>& bins, double ece);

}  // namespace fovea
