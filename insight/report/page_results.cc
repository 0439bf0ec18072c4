// What a network answers: confusion, classes, decisions, calibration, slices.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "insight/report/html_internal.h"
#include "insight/report/page_internal.h"
#include "train/plot.h"
#include "train/roc.h"
#include "train/selective.h"

namespace fovea::insight::html {
namespace {

constexpr std::size_t kMostCells = 20, kMostClasses = 60, kMostCurves = 6;

/// Right answers are blue and wrong ones orange, as strong as their share of the row; the counts say the same.
std::string cell(std::int64_t n, double share, bool right) {
  if (n == 0) return "<td class=\"n zero\">0</td>";
  const double strength = 0.08 + 0.92 * std::pow(share, 0.7);
  return str("<td class=\"n", strength > 0.62 ? " strong" : "", "\" style=\"background:rgba(",
             right ? "0,98,170," : "200,80,0,", fixed(strength, 2), ")\">", grouped(n), "</td>");
}

std::string matrix(const Report& r, const std::vector<std::vector<std::int64_t>>& counts, const std::string& caption) {
  const std::size_t n = counts.size();
  std::string out =
      str("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Confusion matrix\"><table class=\"matrix",
          n > 6 ? " upright" : "", "\"><caption>", caption, "</caption>\n<thead><tr><th scope=\"col\">true class</th>");
  for (std::size_t k = 0; k < n; ++k) out += str("<th scope=\"col\"><span>", class_name(r, k), "</span></th>");
  out += "<th scope=\"col\" class=\"n\"><span>found</span></th></tr></thead>\n<tbody>";
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t row = std::accumulate(counts[i].begin(), counts[i].end(), std::int64_t{0});
    out += str("<tr><th scope=\"row\">", class_name(r, i), "</th>");
    for (std::size_t j = 0; j < n; ++j)
      out += cell(counts[i][j], row > 0 ? static_cast<double>(counts[i][j]) / static_cast<double>(row) : 0, i == j);
    out += str("<td class=\"n\">",
               row > 0 ? percent(static_cast<double>(counts[i][i]) / static_cast<double>(row)) : "–", "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

/// One class against the rest.
RocCurve curve_of(const Report& r, std::size_t k) {
  std::vector<float> scores;
  std::vector<bool> positive;
  const std::int64_t classes = r.probabilities.dim(1);
  for (std::size_t i = 0; i < r.labels.size(); ++i) {
    scores.push_back(
        r.probabilities.data<float>()[static_cast<std::int64_t>(i) * classes + static_cast<std::int64_t>(k)]);
    positive.push_back(r.labels[i] == static_cast<std::int64_t>(k));
  }
  return roc_curve(scores, positive);
}

/// Classes by a figure, the lowest first, those without it left out.
template <class Figure>
std::vector<std::size_t> lowest(const Report& r, Figure figure) {
  std::vector<std::size_t> order;
  for (std::size_t k = 0; k < r.metrics.classes.size(); ++k) {
    if (r.metrics.classes[k].support > 0 && std::isfinite(figure(r.metrics.classes[k]))) order.push_back(k);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return figure(r.metrics.classes[a]) < figure(r.metrics.classes[b]);
  });
  return order;
}

std::string two_class_decisions(const Report& r) {
  const auto p = static_cast<std::size_t>(r.positive), q = 1 - p;
  const RocCurve curve = curve_of(r, p);
  if (std::isnan(curve.auc)) return {};
  const auto& c = r.metrics.confusion;
  const BinaryCounts likely{
      .true_positives = c[p][p], .false_negatives = c[p][q], .true_negatives = c[q][q], .false_positives = c[q][p]};
  const std::string plain = plain_name(r, p);
  Table table(
      str("What comes of calling a picture ", class_name(r, p), " from which probability on; 95\u00a0% intervals"),
      {"rule", "from>", "sensitivity>", "specificity>", "missed>", "false alarms>", "alarms that are right>"});
  const auto row = [&](const std::string& rule, double threshold, const BinaryCounts& b) {
    table.row({rule,
               std::isfinite(threshold) ? fixed(threshold, 3)
               : threshold > 0          ? "never"
                                        : "always",
               stacked(percent(b.sensitivity()), range(b.sensitivity_interval())),
               stacked(percent(b.specificity()), range(b.specificity_interval())),
               str(grouped(b.false_negatives), " of ", grouped(b.positives())),
               str(grouped(b.false_positives), " of ", grouped(b.negatives())),
               stacked(percent(b.precision()), range(b.precision_interval()))});
  };
  row("the likelier class", 0.5, likely);
  const auto add = [&](const std::string& rule, const RocPoint& point) { row(rule, point.threshold, point.counts); };
  add("finds at least 95\u00a0%", at_sensitivity(curve, 0.95));
  add("passes at least 95\u00a0%", at_specificity(curve, 0.95));
  add("both alike (Youden)", at_youden(curve));
  const std::vector<RocMark> marks{{"the likelier class", likely}};
  return str("<div class=\"plots\">",
             figure(roc_svg(curve, marks, str("ROC curve of ", plain)),
                    str("ROC curve of ", plain, ": area ", fixed(curve.auc))),
             figure(precision_recall_svg({{plain, curve}}, marks),
                    str("Precision over recall of ", plain, ": average precision ", fixed(average_precision(curve)))),
             "</div>\n", table.finish(),
             "<p>All thresholds but the first were chosen on these very pictures, so that they look a little better "
             "than they are. "
             "How many alarms are right depends on how common each class is where the network is used.</p>\n");
}

std::string many_class_decisions(const Report& r) {
  std::vector<std::size_t> order = lowest(r, [](const ClassScore& c) { return c.auc; });
  if (order.empty()) return {};
  const std::size_t all = order.size();
  order.resize(std::min(order.size(), kMostCurves));
  std::vector<NamedRoc> curves;
  std::string words;
  for (const std::size_t k : order) {
    curves.push_back({plain_name(r, k), curve_of(r, k)});
    words += str(words.empty() ? "" : ", ", curves.back().name, " ", fixed(curves.back().curve.auc));
  }
  return str("<div class=\"plots\">", figure(roc_curves_svg(curves), str("ROC curves, area: ", words)),
             figure(precision_recall_svg(curves), "Precision over recall of the same classes"), "</div>\n<p>",
             all > kMostCurves
                 ? str("The ", kMostCurves, " classes of ", all, " that are hardest to tell from the rest.")
                 : "",
             "</p>\n");
}

std::string coverage(const Report& r) {
  const Tensor& p = r.calibrated ? r.tempered : r.probabilities;
  const std::vector<CoveragePoint> curve = coverage_curve(p, r.labels);
  const double wanted = r.metrics.accuracy < 0.945 ? 0.95 : 0.99;
  if (r.metrics.accuracy >= 0.99) return {};
  const std::optional<CoveragePoint> chosen = choose_coverage(curve, wanted);
  std::string words = str("No threshold makes ", percent(wanted, 0), " of the answers right.");
  if (chosen && chosen->kept > 0) {
    words = str("Answering only from a confidence of ", percent(chosen->threshold), " on leaves ",
                percent(1 - chosen->coverage()), " of the pictures to people; of the answers given, ",
                percent(chosen->accuracy()), " are right (", range(chosen->accuracy_interval()), ").");
  }
  return str("<h3>Leaving the doubtful to people</h3>\n",
             figure(coverage_svg(curve, chosen, "How right the answers are that remain"), words), "<p>", words,
             "</p>\n");
}

std::string p_value(double p) { return p < 0.001 ? "&lt; 0.001" : fixed(p, 3); }

}  // namespace

std::string confusion(const Report& r) {
  const auto& counts = r.metrics.confusion;
  const std::string caption = "What it says (columns) of each class (rows)";
  if (counts.size() <= kMostCells) return matrix(r, counts, caption);
  std::vector<std::string> names = r.class_names;
  for (std::size_t k = names.size(); k < counts.size(); ++k) names.push_back(str("class ", k));
  std::string out = figure(confusion_svg(counts, names), str("Confusion matrix of ", counts.size(), " classes"));
  struct Pair {
    std::int64_t n;
    std::size_t from, to;
  };
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (std::size_t j = 0; j < counts.size(); ++j) {
      if (i != j && counts[i][j] > 0) pairs.push_back({counts[i][j], i, j});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.n > b.n; });
  Table table("Most often confused", {"true class", "taken for", "times>"});
  for (std::size_t i = 0; i < std::min<std::size_t>(15, pairs.size()); ++i)
    table.row({class_name(r, pairs[i].from), class_name(r, pairs[i].to), grouped(pairs[i].n)});
  return table.empty() ? out : out + table.finish();
}

std::string classes(const Report& r) {
  const std::vector<ClassScore>& all = r.metrics.classes;
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), 0);
  std::string note;
  if (all.size() > kMostClasses) {
    order = lowest(r, [](const ClassScore& c) { return c.recall; });
    order.resize(std::min(order.size(), kMostClasses));
    note = str("<p>The ", order.size(), " of ", all.size(), " classes that are found least often.</p>\n");
  }
  Table table("Each class, with 95\u00a0% intervals",
              {"class", "pictures>", "recall>", "", "precision>", "F1>", "area under ROC>"});
  for (const std::size_t k : order) {
    const ClassScore& c = all[k];
    const std::int64_t found = r.metrics.confusion[k][k];
    const Interval recall = wilson_interval(found, c.support), precision = wilson_interval(found, c.predicted);
    const Interval auc = std::isfinite(c.auc) ? curve_of(r, k).auc_interval : Interval{NAN, NAN};
    const bool present = c.support > 0, taken = c.predicted > 0;
    table.row({class_name(r, k), grouped(c.support), present ? stacked(percent(c.recall), range(recall)) : "–",
               present ? interval_bar(c.recall, recall) : "",
               taken ? stacked(percent(c.precision), range(precision)) : "–", fixed(c.f1),
               stacked(fixed(c.auc), range_fixed(auc))});
  }
  std::string out = table.finish() + note;
  if (r.intervals) {
    const MetricValues& m = r.metrics;
    Table whole(str("Over all classes; 95\u00a0% intervals of ", grouped(r.resamples), " resamples"),
                {"figure", "value>", "interval>"});
    whole.row({"accuracy", percent(m.accuracy), range(r.intervals->accuracy)});
    whole.row({"mean recall (balanced accuracy)", percent(m.balanced_accuracy), range(r.intervals->balanced_accuracy)});
    whole.row({"macro F1", fixed(m.macro_f1), range_fixed(r.intervals->macro_f1)});
    whole.row({"area under ROC", fixed(m.auc), range_fixed(r.intervals->auc)});
    whole.row({"log loss", fixed(m.log_loss), range_fixed(r.intervals->log_loss)});
    whole.row({"calibration error", percent(m.ece), range(r.intervals->ece)});
    out += whole.finish();
  }
  return out;
}

std::string decisions(const Report& r) {
  const std::string curves = r.metrics.classes.size() == 2 ? two_class_decisions(r) : many_class_decisions(r);
  return curves + coverage(r);
}

std::string calibration(const Report& r) {
  const auto words = [](const char* when, const MetricValues& m) {
    return str("Reliability ", when, ": expected calibration error ", fixed(100 * m.ece, 2), " %");
  };
  std::string out =
      "<p>Whether a confidence of 80\u00a0% is right four times out of five. Bars should reach the dashed line.</p>\n"
      "<div class=\"plots\">";
  out += figure(
      reliability_svg(r.metrics.reliability, r.metrics.ece, r.calibrated ? "As the network answers" : "Reliability"),
      words("as the network answers", r.metrics));
  if (r.calibrated)
    out += figure(reliability_svg(r.calibrated->reliability, r.calibrated->ece, "After temperature scaling"),
                  words("after temperature scaling", *r.calibrated));
  out += "</div>\n";
  if (r.calibrated && !helps(r)) {
    out += str("<p>One temperature for all answers does not help here: ", fixed(r.temperature), ", fitted on ",
               escape(r.temperature_source), ", leaves the log loss at ", fixed(r.calibrated->log_loss), " (",
               fixed(r.metrics.log_loss), " without).</p>\n");
  } else if (r.calibrated) {
    out += str("<p>Temperature ", fixed(r.temperature), ", fitted on ", escape(r.temperature_source), ": log loss ",
               fixed(r.metrics.log_loss), " becomes ", fixed(r.calibrated->log_loss), ", calibration error ",
               percent(r.metrics.ece, 2), " becomes ", percent(r.calibrated->ece, 2),
               ". Which class is the likeliest does not change. <code>fovea evaluate "
               "--calibrate</code> writes a file with which <code>fovea predict --trust</code> uses it.</p>\n");
  } else {
    out +=
        "<p>No temperature was fitted: there are too few pictures, or too few mistakes among them, to learn one "
        "from.</p>\n";
  }
  return out;
}

std::string verdict(const Report& r, const SliceDetail& s) {
  std::string out;
  const auto say = [&](const std::string& text) { out += str(out.empty() ? "" : "; ", text); };
  if (s.worse) say(str("served worse (", percent(s.accuracy), " right, elsewhere ", percent(s.rest_accuracy), ")"));
  int worse = 0;
  for (std::size_t k = 0; k < s.classes.size(); ++k) {
    if (!s.classes[k].worse || ++worse > 2) continue;
    say(str(class_name(r, k), " found less often (", percent(s.classes[k].recall), ", elsewhere ",
            percent(s.classes[k].rest_recall), ")"));
  }
  if (worse > 2) say(str(worse - 2, worse == 3 ? " more class" : " more classes", " found less often"));
  if (s.miscalibrated) say(str("confidence promises ", s.gap() > s.rest_gap ? "more" : "less", " than elsewhere"));
  return out;
}

std::string slices(const Report& r) {
  const std::vector<SliceDetail>& all = r.slices.slices;
  if (all.empty()) return {};
  const std::size_t classes = all[0].classes.size();
  std::vector<std::string> columns{"slice", "pictures>", "right>", "", "elsewhere>", "p>"};
  for (std::size_t k = 0; classes <= 4 && k < classes; ++k) columns.push_back(str("recall of ", class_name(r, k), ">"));
  columns.emplace_back("calibration error>");
  Table table("How each part of the pictures is served", columns);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const SliceDetail& s = all[i];
    if (i == 0 || all[i - 1].attribute != s.attribute) table.heading(name(s.attribute));
    const std::string words = verdict(r, s);
    std::vector<std::string> row{
        words.empty() ? name(s.name) : str(name(s.name), "<small class=\"i\">", words, "</small>"),
        grouped(s.n),
        stacked(percent(s.accuracy), range(s.interval)),
        interval_bar(s.accuracy, s.interval),
        percent(s.rest_accuracy),
        p_value(s.adjusted_p)};
    for (std::size_t k = 0; classes <= 4 && k < classes; ++k) {
      const SliceRecall& c = s.classes[k];
      row.push_back(c.n == 0 ? "–" : stacked(percent(c.recall), str(c.found, " of ", c.n)));
    }
    row.push_back(
        stacked(percent(s.ece), str(s.gap() > 0 ? "too sure by " : "too shy by ", percent(std::abs(s.gap())))));
    table.row(row, words.empty() ? "" : "flag");
  }
  std::string out = table.finish();
  out +=
      "<p>p: Fisher's exact test against the other pictures, after Holm's correction for all slices, so that chance "
      "alone flags any slice "
      "at most once in 20 reports; recall by class and calibration are two more such families of tests. Intervals: "
      "Wilson, 95\u00a0%.";
  if (r.slices.left_out > 0) out += str(" ", count(r.slices.left_out, "slice"), " of fewer than 10 pictures left out.");
  out += "</p>\n";
  if (r.slices.worst >= 0 && classes <= kMostCells) {
    const SliceDetail& w = all[static_cast<std::size_t>(r.slices.worst)];
    out += str("<h3>The worst slice</h3>\n",
               matrix(r, w.confusion, str("Confusion in ", escape(w.attribute), " ", name(w.name))));
  }
  return out;
}

}  // namespace fovea::insight::html
