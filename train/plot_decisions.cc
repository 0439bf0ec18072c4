// ROC curves and coverage as SVG text.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "train/plot.h"
#include "train/svg_internal.h"

namespace fovea {

using namespace svg;

namespace {

/// A frame whose axes are shares: x from 0 to 1, y from `low` to 1.
class ShareAxes {
 public:
  ShareAxes(double width, double height, double low) : width_(width), height_(height), low_(low) {}
  double x(double share) const { return kLeft + share * width_; }
  double y(double share) const { return kTop + (1 - (share - low_) / (1 - low_)) * height_; }
  Svg draw(const std::string& title, const std::string& note, const char* x_label, const char* y_label) const {
    Svg svg(kLeft + width_ + 24, kTop + height_ + 54);
    svg.title(kLeft, 26, title);
    svg.text(kLeft, 46, note, 12, "start", kMuted);
    const double step = low_ >= 0.8 ? 0.05 : low_ >= 0.5 ? 0.1 : 0.2;
    for (double v = low_; v <= 1 + 1e-9; v += step) {
      svg.line(kLeft, y(v), kLeft + width_, y(v), kGrid);
      svg.text(kLeft - 8, y(v) + 4, number(v * 100) + " %", 12, "end", kMuted);
    }
    for (int i = 0; i <= 5; ++i) {
      svg.line(x(i / 5.0), kTop + height_, x(i / 5.0), kTop + height_ + 5, kMuted);
      svg.text(x(i / 5.0), kTop + height_ + 20, number(i * 20.0) + " %", 12, "middle", kMuted);
    }
    svg.line(kLeft, kTop + height_, kLeft + width_, kTop + height_, kMuted);
    svg.text(kLeft + width_ / 2, kTop + height_ + 42, x_label, 13, "middle", kMuted);
    svg.text(18, kTop + height_ / 2, y_label, 13, "middle", kMuted, -90);
    return svg;
  }

  static constexpr double kLeft = 70, kTop = 62;

 private:
  double width_, height_, low_;
};

/// Three digits, zeros too: "0.920".
std::string fixed(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", v);
  return text;
}

std::string percent(double share, int digits = 1) { return number(100 * share, digits) + " %"; }

/// A path that leaves out points too near the one before to be seen: a curve of 10 000 pictures has as many.
class Path {
 public:
  void add(double x, double y, bool last = false) {
    if (!out_.empty() && !last && std::abs(x - x_) + std::abs(y - y_) < 0.4) return;
    out_ += str(out_.empty() ? "M" : "L", number(x, 2), " ", number(y, 2), " ");
    x_ = x;
    y_ = y;
  }
  std::string draw(const char* color) const {
    return str("<path d=\"", out_, "\" fill=\"none\" stroke=\"", color,
               "\" stroke-width=\"2.2\" stroke-linejoin=\"round\"/>\n");
  }

 private:
  std::string out_;
  double x_ = 0, y_ = 0;
};

std::string roc_path(const ShareAxes& axes, const RocCurve& curve, const char* color) {
  Path path;
  for (const RocPoint& point : curve.points) {
    path.add(axes.x(1 - point.counts.specificity()), axes.y(point.counts.sensitivity()),
             &point == &curve.points.back());
  }
  return path.draw(color);
}

/// The first six with both kinds.
std::vector<const NamedRoc*> drawable(const std::vector<NamedRoc>& curves, const char* where) {
  if (curves.empty()) throw Error(ErrorKind::usage, where, "there are no curves");
  std::vector<const NamedRoc*> out;
  for (const NamedRoc& c : curves) {
    if (!std::isnan(c.curve.auc) && out.size() < std::size(kColors)) out.push_back(&c);
  }
  return out;
}

/// Names from `x` on, one below the other, the last at `y`.
void curve_names(Svg& svg, double x, double y, const std::vector<std::string>& names) {
  // Curves of poor classifiers pass here.
  const double height = 18 * static_cast<double>(names.size());
  svg.rect(x - 6, y - height + 2, 236, height + 4, "#ffffff", "fill-opacity=\"0.85\"");
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double at = y - 18 * static_cast<double>(names.size() - 1 - i);
    svg.line(x, at - 4, x + 18, at - 4, kColors[i], 2.6);
    svg.text(x + 24, at, names[i], 12);
  }
}

}  // namespace

std::string roc_svg(const RocCurve& curve, const std::vector<RocMark>& marks, const std::string& title) {
  const ShareAxes axes(400, 400, 0);
  const bool defined = !std::isnan(curve.auc);
  const std::string note = defined ? str("area ", fixed(curve.auc), ", 95 % interval ", fixed(curve.auc_interval.low),
                                         " to ", fixed(curve.auc_interval.high))
                                   : "the data does not hold both kinds";
  Svg svg = axes.draw(title, note, "1 - specificity (false alarms among the negative)", "sensitivity");
  svg.line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), kMuted, 1.2, "stroke-dasharray=\"5 4\"");
  if (!defined) return svg.finish();
  svg.raw(roc_path(axes, curve, kColors[0]));
  // Names stand in the corner that a useful curve leaves free.
  double below = axes.y(0) - 14 - 18 * static_cast<double>(marks.size());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    const BinaryCounts& counts = marks[i].counts;
    if (counts.positives() == 0 || counts.negatives() == 0) continue;
    const char* color = kColors[1 + i % (std::size(kColors) - 1)];
    const Interval se = counts.sensitivity_interval(), sp = counts.specificity_interval();
    const double x = axes.x(1 - counts.specificity()), y = axes.y(counts.sensitivity());
    svg.line(axes.x(1 - sp.high), y, axes.x(1 - sp.low), y, color, 1.6);
    svg.line(x, axes.y(se.low), x, axes.y(se.high), color, 1.6);
    svg.raw(str("<circle cx=\"", number(x, 2), "\" cy=\"", number(y, 2), "\" r=\"4.5\" fill=\"", color, "\"/>\n"));
    below += 18;
    const std::string text = str(shorten(marks[i].name, 20), ": sensitivity ", percent(counts.sensitivity()),
                                 ", specificity ", percent(counts.specificity()));
    svg.raw(str("<circle cx=\"", number(axes.x(0.12), 2), "\" cy=\"", number(below - 4, 2), "\" r=\"4.5\" fill=\"",
                color, "\"/>\n"));
    svg.text(axes.x(0.12) + 10, below, text, 12);
  }
  return svg.finish();
}

std::string roc_curves_svg(const std::vector<NamedRoc>& curves, const std::string& title) {
  const ShareAxes axes(400, 400, 0);
  const std::vector<const NamedRoc*> shown = drawable(curves, "ROC curves");
  Svg svg = axes.draw(title, shown.empty() ? "the data does not hold both kinds" : "each class against all others",
                      "1 - specificity (false alarms among the others)", "sensitivity");
  svg.line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), kMuted, 1.2, "stroke-dasharray=\"5 4\"");
  std::vector<std::string> names;
  for (const NamedRoc* c : shown) {
    svg.raw(roc_path(axes, c->curve, kColors[names.size()]));
    names.push_back(str(shorten(c->name, 20), ": area ", fixed(c->curve.auc)));
  }
  curve_names(svg, axes.x(0.42), axes.y(0) - 14, names);
  return svg.finish();
}

std::string precision_recall_svg(const std::vector<NamedRoc>& curves, const std::vector<RocMark>& marks,
                                 const std::string& title) {
  const ShareAxes axes(400, 400, 0);
  const std::vector<const NamedRoc*> shown = drawable(curves, "precision and recall");
  std::string note = "the data does not hold both kinds";
  if (shown.size() == 1) note = str("average precision ", fixed(average_precision(shown[0]->curve)));
  if (shown.size() > 1) note = "each class against all others";
  Svg svg = axes.draw(title, note, "recall (share of the class that is found)", "precision");
  if (shown.size() == 1) {
    const BinaryCounts& counts = shown[0]->curve.points.front().counts;
    const double share =
        static_cast<double>(counts.positives()) / static_cast<double>(counts.positives() + counts.negatives());
    svg.line(axes.x(0), axes.y(share), axes.x(1), axes.y(share), kMuted, 1.2, "stroke-dasharray=\"5 4\"");
  }
  std::vector<std::string> names;
  for (const NamedRoc* c : shown) {
    Path path;
    for (const RocPoint& point : c->curve.points) {
      if (point.counts.true_positives + point.counts.false_positives == 0) continue;  // has no precision
      const bool all = point.counts.false_negatives == 0;
      path.add(axes.x(point.counts.sensitivity()), axes.y(point.counts.precision()), all);
      if (all) break;  // what more is taken only costs precision
    }
    svg.raw(path.draw(kColors[names.size()]));
    names.push_back(str(shorten(c->name, 20), ": average precision ", fixed(average_precision(c->curve))));
  }
  if (shown.size() > 1) curve_names(svg, axes.x(0.04), axes.y(0) - 14, names);
  double below = axes.y(0) - 14 - 18 * static_cast<double>(marks.size());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    const BinaryCounts& counts = marks[i].counts;
    if (counts.positives() == 0 || counts.true_positives + counts.false_positives == 0) continue;
    const char* color = kColors[1 + i % (std::size(kColors) - 1)];
    below += 18;
    for (const auto& [x, y] :
         {std::pair(axes.x(counts.sensitivity()), axes.y(counts.precision())), std::pair(axes.x(0.04), below - 4)}) {
      svg.raw(str("<circle cx=\"", number(x, 2), "\" cy=\"", number(y, 2), "\" r=\"4.5\" fill=\"", color, "\"/>\n"));
    }
    svg.text(axes.x(0.04) + 10, below,
             str(shorten(marks[i].name, 20), ": recall ", percent(counts.sensitivity()), ", precision ",
                 percent(counts.precision())),
             12);
  }
  return svg.finish();
}

std::string coverage_svg(const std::vector<CoveragePoint>& curve, const std::optional<CoveragePoint>& chosen,
                         const std::string& title) {
  if (curve.empty()) throw Error(ErrorKind::usage, "coverage plot", "the curve is empty");
  // Accuracy of a handful says nothing: the curve begins with a twentieth of the data, and its interval stretches the
  // axis only where a quarter is answered.
  const auto total = static_cast<double>(curve.back().total);
  const double fewest = std::min(0.05 * total, static_cast<double>(curve.back().kept));
  std::string line, upper, lower;
  double low = 1;
  for (const CoveragePoint& point : curve) {
    const auto kept = static_cast<double>(point.kept);
    if (kept >= fewest) low = std::min(low, kept >= 0.25 * total ? point.accuracy_interval().low : point.accuracy());
  }
  low = low >= 0.8 ? 0.8 : low >= 0.5 ? 0.5 : 0;
  const ShareAxes axes(540, 320, low);
  for (const CoveragePoint& point : curve) {
    if (static_cast<double>(point.kept) < fewest) continue;
    const Interval interval = point.accuracy_interval();
    const std::string x = number(axes.x(point.coverage()), 2);
    const auto at = [&](double share) { return str(x, " ", number(axes.y(std::max(share, low)), 2), " "); };
    line += str(line.empty() ? "M" : "L", at(point.accuracy()));
    upper += str(upper.empty() ? "M" : "L", at(interval.high));
    lower = str("L", at(interval.low), lower);
  }
  const std::string note = !chosen ? str("all answered: ", percent(curve.back().accuracy()), " right")
                           : chosen->kept == 0
                               ? str("below ", fixed(chosen->threshold), " unsure: none answered")
                               : str("below ", fixed(chosen->threshold), " unsure: ", percent(chosen->coverage()),
                                     " answered, ", percent(chosen->accuracy()), " of them right");
  Svg svg = axes.draw(title, note, "share answered", "right answers among them");
  svg.raw(str("<path d=\"", upper, lower, "Z\" fill=\"", kColors[0], "\" fill-opacity=\"0.15\"/>\n"));
  svg.raw(str("<path d=\"", line, "\" fill=\"none\" stroke=\"", kColors[0],
              "\" stroke-width=\"2.2\" stroke-linejoin=\"round\"/>\n"));
  if (chosen && chosen->kept > 0) {
    const double x = axes.x(chosen->coverage());
    svg.line(x, axes.y(low), x, axes.y(1), kMuted, 1.2, "stroke-dasharray=\"5 4\"");
    svg.raw(str("<circle cx=\"", number(x, 2), "\" cy=\"", number(axes.y(chosen->accuracy()), 2),
                "\" r=\"4.5\" fill=\"", kColors[1], "\"/>\n"));
  }
  return svg.finish();
}

}  // namespace fovea
