// Plots as SVG text: curves, confusion matrix, reliability diagram, ROC curve, coverage. Self-contained: no scripts,
// fonts or other files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/metrics.h"
#include "train/roc.h"
#include "train/selective.h"

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
  double width = 720, height = 420;
};

/// Error{shape} when a series' x and y differ in length. Without any finite point: empty axes that say "no data".
FOVEA_API std::string line_plot_svg(const LinePlot& plot);
struct ConfusionPlot {
  std::string title = "Confusion matrix";
  /// Names of the columns where predictions have others than labels have: the classes and "unsure".
  std::vector<std::string> columns;
  std::vector<std::vector<double>> costs;  ///< [label][prediction] of one item; cells then show count times cost too
};

/// Rows are labels, columns predictions, shaded by the share of the row; counts are written into the cells up to 30
/// classes. Error{shape} unless names, columns and costs fit the counts.
FOVEA_API std::string confusion_svg(const std::vector<std::vector<std::int64_t>>& confusion,
                                    const std::vector<std::string>& names, const ConfusionPlot& plot = {});
/// Accuracy over confidence with the gap to the diagonal and the number of pictures in each bin.
FOVEA_API std::string reliability_svg(const std::vector<ReliabilityBin>& bins, double ece,
                                      const std::string& title = "Reliability");

/// A decision to be shown on a ROC curve; it need not lie on it (chosen on other data). A cross shows the 95 %
/// intervals of its sensitivity and specificity.
struct RocMark {
  std::string name;
  BinaryCounts counts;
};
/// Sensitivity over 1 - specificity with the area and its interval. A curve without both kinds: empty axes.
FOVEA_API std::string roc_svg(const RocCurve& curve, const std::vector<RocMark>& marks = {},
                              const std::string& title = "ROC curve");

/// Curves of several kinds against the rest each, in one frame; at most 6 are drawn. Those without both kinds are left
/// out. Error{usage} for none.
struct NamedRoc {
  std::string name;
  RocCurve curve;
};
FOVEA_API std::string roc_curves_svg(const std::vector<NamedRoc>& curves, const std::string& title = "ROC curves");
/// Precision over recall with the share of positives as a dashed line (of a single curve), and where decisions stand.
FOVEA_API std::string precision_recall_svg(const std::vector<NamedRoc>& curves, const std::vector<RocMark>& marks = {},
                                           const std::string& title = "Precision and recall");

/// Accuracy of the answers given over the share that is answered, with the 95 % interval as a band and the chosen
/// point, if any. Error{usage} for an empty curve.
FOVEA_API std::string coverage_svg(const std::vector<CoveragePoint>& curve,
                                   const std::optional<CoveragePoint>& chosen = {},
                                   const std::string& title = "Leaving the doubtful to people");

}  // namespace fovea
