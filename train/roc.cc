// ROC curve, its area by DeLong's method, operating points.
#include "train/roc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "train/share_internal.h"

namespace fovea {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check(const char* where, const std::vector<float>& scores, const std::vector<bool>& positive) {
  if (scores.size() != positive.size())
    throw Error(ErrorKind::shape, where, str(scores.size(), " scores for ", positive.size(), " labels"));
  for (const float s : scores) {
    if (std::isnan(s)) throw Error(ErrorKind::numeric, where, "a score is NaN");
  }
}

/// Variance of values around their mean, divided by n - 1 and by n: that of the mean.
double variance_of_mean(const std::vector<double>& values, double mean) {
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  const auto n = static_cast<double>(values.size());
  return sum / (n - 1) / n;
}

/// AUC, error and interval, from runs of equal scores in descending order. DeLong's placement of a positive item is the
/// share of negative ones below it (equal ones half), of a negative item that of the positive ones above: means of
/// both are the AUC, and their variances add up to its own.
void fill_auc(RocCurve& curve) {
  const BinaryCounts all = curve.points.back().counts;
  const std::int64_t p = all.true_positives, q = all.false_positives;
  curve.auc = curve.auc_error = kNaN;
  if (p == 0 || q == 0) return;
  std::vector<double> of_positives, of_negatives;
  double sum = 0;
  for (std::size_t k = 1; k < curve.points.size(); ++k) {
    const BinaryCounts &before = curve.points[k - 1].counts, &here = curve.points[k].counts;
    const std::int64_t positives = here.true_positives - before.true_positives,
                       negatives = here.false_positives - before.false_positives;
    const double below =
        (static_cast<double>(q - here.false_positives) + 0.5 * static_cast<double>(negatives)) / static_cast<double>(q);
    const double above =
        (static_cast<double>(before.true_positives) + 0.5 * static_cast<double>(positives)) / static_cast<double>(p);
    of_positives.insert(of_positives.end(), static_cast<std::size_t>(positives), below);
    of_negatives.insert(of_negatives.end(), static_cast<std::size_t>(negatives), above);
    sum += below * static_cast<double>(positives);
  }
  curve.auc = sum / static_cast<double>(p);
  if (p < 2 || q < 2) return;
  curve.auc_error = std::sqrt(variance_of_mean(of_positives, curve.auc) + variance_of_mean(of_negatives, curve.auc));
  constexpr double kZ = 1.959963984540054;
  if (curve.auc <= 0 || curve.auc >= 1) {
    const std::int64_t n = std::min(p, q);
    curve.auc_interval = wilson_interval(curve.auc >= 1 ? n : 0, n);
    return;
  }
  const double logit = std::log(curve.auc / (1 - curve.auc));
  const double half = kZ * curve.auc_error / (curve.auc * (1 - curve.auc));
  const auto back = [](double x) { return 1 / (1 + std::exp(-x)); };
  curve.auc_interval = {back(logit - half), back(logit + half)};
}

}  // namespace

double BinaryCounts::sensitivity() const { return share(true_positives, positives()); }
double BinaryCounts::specificity() const { return share(true_negatives, negatives()); }
double BinaryCounts::precision() const { return share(true_positives, true_positives + false_positives); }
double BinaryCounts::negative_predictive_value() const {
  return share(true_negatives, true_negatives + false_negatives);
}
double BinaryCounts::accuracy() const { return share(true_positives + true_negatives, positives() + negatives()); }

BinaryCounts count_at(const std::vector<float>& scores, const std::vector<bool>& positive, double threshold) {
  check("count_at", scores, positive);
  BinaryCounts counts;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool taken = scores[i] >= threshold;
    std::int64_t& count = positive[i] ? (taken ? counts.true_positives : counts.false_negatives)
                                      : (taken ? counts.false_positives : counts.true_negatives);
    ++count;
  }
  return counts;
}

RocCurve roc_curve(const std::vector<float>& scores, const std::vector<bool>& positive) {
  check("roc_curve", scores, positive);
  if (scores.empty()) throw Error(ErrorKind::usage, "roc_curve", "there are no scores");
  std::vector<std::uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  RocCurve curve;
  RocPoint point{kInfinity, count_at(scores, positive, kInfinity)};
  // A score of +∞ is at or above every threshold; the curve begins before it all the same.
  point.counts = {0, point.counts.positives(), point.counts.negatives(), 0};
  curve.points.push_back(point);
  for (std::size_t i = 0; i < order.size();) {
    const float score = scores[order[i]];
    for (; i < order.size() && scores[order[i]] == score; ++i) {
      if (positive[order[i]]) {
        ++point.counts.true_positives;
        --point.counts.false_negatives;
      } else {
        ++point.counts.false_positives;
        --point.counts.true_negatives;
      }
    }
    const double next = i < order.size() ? static_cast<double>(scores[order[i]]) : -kInfinity;
    // In double precision the middle of two different floats lies between them; an infinite neighbour has no middle.
    const double middle = static_cast<double>(score) + (next - static_cast<double>(score)) / 2;
    point.threshold = i == order.size() ? -kInfinity : std::isfinite(middle) ? middle : static_cast<double>(score);
    curve.points.push_back(point);
  }
  fill_auc(curve);
  return curve;
}

double average_precision(const RocCurve& curve) {
  if (curve.points.empty() || curve.points.front().counts.positives() == 0)
    return std::numeric_limits<double>::quiet_NaN();
  double sum = 0, before = 0;
  for (const RocPoint& point : curve.points) {
    const double recall = point.counts.sensitivity();
    if (recall > before) sum += (recall - before) * point.counts.precision();
    before = recall;
  }
  return sum;
}

const RocPoint& at_sensitivity(const RocCurve& curve, double at_least) {
  const RocPoint* best = nullptr;
  for (const RocPoint& point : curve.points) {
    if (!(point.counts.sensitivity() >= at_least)) continue;
    if (best && point.counts.false_positives > best->counts.false_positives) break;
    best = &point;
  }
  if (best) return *best;
  throw Error(ErrorKind::usage, "at_sensitivity",
              str("no threshold finds a share of ", at_least, " of the positive ones"),
              "a share is 0 to 1, and the data must hold positive ones");
}

const RocPoint& at_specificity(const RocCurve& curve, double at_least) {
  const RocPoint* best = nullptr;
  for (const RocPoint& point : curve.points) {
    if (!(point.counts.specificity() >= at_least)) break;
    if (!best || point.counts.true_positives > best->counts.true_positives) best = &point;
  }
  if (best) return *best;
  throw Error(ErrorKind::usage, "at_specificity",
              str("no threshold passes a share of ", at_least, " of the negative ones"),
              "a share is 0 to 1, and the data must hold negative ones");
}

const RocPoint& at_youden(const RocCurve& curve) {
  if (curve.points.empty() || std::isnan(curve.auc))
    throw Error(ErrorKind::usage, "at_youden", "the data must hold positive and negative ones");
  return *std::max_element(curve.points.begin(), curve.points.end(), [](const RocPoint& a, const RocPoint& b) {
    return a.counts.sensitivity() + a.counts.specificity() < b.counts.sensitivity() + b.counts.specificity();
  });
}

const RocPoint& at_lowest_cost(const RocCurve& curve, const DecisionCosts& costs) {
  // Written so that NaN fails too.
  if (!(costs.missed >= 0 && costs.false_alarm >= 0 && costs.missed + costs.false_alarm > 0 &&
        std::isfinite(costs.missed + costs.false_alarm))) {
    throw Error(ErrorKind::usage, "at_lowest_cost", str("costs ", costs.missed, " and ", costs.false_alarm),
                "finite, none negative, not both 0");
  }
  if (curve.points.empty()) throw Error(ErrorKind::usage, "at_lowest_cost", "the curve is empty");
  const RocPoint* best = &curve.points.front();
  for (const RocPoint& point : curve.points) {
    if (costs.of(point.counts) <= costs.of(best->counts)) best = &point;
  }
  return *best;
}

}  // namespace fovea
