// ROC curves, operating points and coverage against scikit-learn, scipy and definitions; their plots.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/error.h"
#include "train/plot.h"
#include "train/roc.h"
#include "train/selective.h"

using namespace fovea;

namespace {

const nlohmann::json& decisions() {
  static const nlohmann::json data = [] {
    std::ifstream in(FOVEA_SOURCE_DIR "/tests/train/data/decisions.json");
    return nlohmann::json::parse(in);
  }();
  return data;
}

void close(double have, double expected) { CHECK(have == Approx(expected).epsilon(1e-9).margin(1e-12)); }

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("decisions: average precision is scikit-learn's") {
  // The example of its documentation, and worked by hand: a tie is one step.
  close(average_precision(roc_curve({0.1f, 0.4f, 0.35f, 0.8f}, {false, false, true, true})), 0.5 + 0.5 * 2.0 / 3);
  close(average_precision(roc_curve({0.5f, 0.5f, 0.2f, 0.1f}, {true, false, false, true})), 0.5 * 0.5 + 0.5 * 0.5);
  close(average_precision(roc_curve({0.9f, 0.8f, 0.1f}, {true, true, false})), 1);
  CHECK(std::isnan(average_precision(roc_curve({0.9f}, {false}))));
}

TEST_CASE("the ROC curve is scikit-learn's, its area's error DeLong's") {
  for (const auto& c : decisions()["roc"]) {
    const std::vector<float> scores = c["scores"];
    const std::vector<bool> positive = c["positive"];
    const RocCurve curve = roc_curve(scores, positive);
    const std::vector<double> fpr = c["fpr"], tpr = c["tpr"], thresholds = c["thresholds"];
    REQUIRE(curve.points.size() == fpr.size());
    for (std::size_t i = 0; i < fpr.size(); ++i) {
      const RocPoint& point = curve.points[i];
      close(1 - point.counts.specificity(), fpr[i]);
      close(point.counts.sensitivity(), tpr[i]);
      CHECK(point.counts.positives() + point.counts.negatives() == static_cast<std::int64_t>(scores.size()));
      if (i == 0) continue;
      // scikit-learn gives the lowest score taken; ours lies between it and the next.
      CHECK(point.threshold <= thresholds[i - 1]);
      if (i < thresholds.size()) {
        close(point.threshold, (thresholds[i - 1] + thresholds[i]) / 2);
        CHECK(point.threshold > thresholds[i]);
      }
      const BinaryCounts again = count_at(scores, positive, point.threshold);
      CHECK(again.true_positives == point.counts.true_positives);
      CHECK(again.false_positives == point.counts.false_positives);
    }
    CHECK(curve.points.front().threshold == kInfinity);
    CHECK(curve.points.back().threshold == -kInfinity);
    close(curve.auc, c["auc"]);
    close(curve.auc, roc_auc(scores, positive));
    close(curve.auc_error, c["error"]);
    close(curve.auc_interval.low, c["interval"][0]);
    close(curve.auc_interval.high, c["interval"][1]);

    CHECK(&at_sensitivity(curve, 0.9) == &curve.points[c["sensitivity_90"]]);
    CHECK(&at_specificity(curve, 0.9) == &curve.points[c["specificity_90"]]);
    const BinaryCounts& youden = at_youden(curve).counts;
    close(youden.sensitivity() + youden.specificity() - 1, c["youden"]);
    const DecisionCosts costs{c["missed"], c["alarm"]};
    close(costs.of(at_lowest_cost(curve, costs).counts), c["lowest_cost"]);

    const BinaryCounts at = count_at(scores, positive, c["at"]);
    CHECK(at.true_positives == c["tp"]);
    CHECK(at.false_negatives == c["fn"]);
    close(at.precision(), c["precision"]);
    close(at.sensitivity_interval().low, c["wilson"][0]);
    close(at.sensitivity_interval().high, c["wilson"][1]);
  }
}

TEST_CASE("ROC curves at their limits") {
  const std::vector<bool> kinds = {true, true, false, false};
  // Where no pair is wrong DeLong's error is 0; two of each kind still promise little.
  const RocCurve perfect = roc_curve({0.9f, 0.8f, 0.3f, 0.1f}, kinds);
  CHECK(perfect.auc == 1);
  CHECK(perfect.auc_error == 0);
  CHECK(perfect.auc_interval.high == 1);
  close(perfect.auc_interval.low, wilson_interval(2, 2).low);
  CHECK(perfect.auc_interval.low < 0.4);
  CHECK(roc_curve({0, 0, 1, 1}, kinds).auc_interval.low == 0);
  // The decision lies in the middle of the gap, whatever the costs.
  close(at_lowest_cost(perfect, {100, 1}).threshold, (0.8f + 0.3f) / 2);
  close(at_lowest_cost(perfect, {1, 100}).threshold, (0.8f + 0.3f) / 2);
  CHECK(at_lowest_cost(perfect, {1, 0}).threshold == -kInfinity);  // false alarms are free: fewest missed, always
  close(at_youden(perfect).threshold, (0.8f + 0.3f) / 2);
  // Half of the positive ones would do, but the other half costs nothing; and so for the negative ones.
  close(at_sensitivity(perfect, 0.5).threshold, (0.8f + 0.3f) / 2);
  close(at_specificity(perfect, 0.5).threshold, (0.8f + 0.3f) / 2);
  // Of equal costs the one that misses fewer: all the same score, one of each.
  CHECK(at_lowest_cost(roc_curve({1, 1}, {true, false}), {1, 1}).counts.false_negatives == 0);

  const float infinity = std::numeric_limits<float>::infinity();
  const RocCurve wild = roc_curve({infinity, 1, -infinity, 1}, kinds);
  REQUIRE(wild.points.size() == 4);
  CHECK(wild.points[0].counts.true_positives == 0);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK_FALSE(std::isnan(wild.points[i].threshold));
    CHECK(count_at({infinity, 1, -infinity, 1}, kinds, wild.points[i].threshold).true_positives ==
          wild.points[i].counts.true_positives);
  }
  // Neighbouring floats are told apart.
  const float next = std::nextafter(0.5f, 1.0f);
  const RocCurve hair = roc_curve({next, 0.5f}, {true, false});
  CHECK(count_at({next, 0.5f}, {true, false}, hair.points[1].threshold).accuracy() == 1);
  CHECK(std::isnan(hair.auc_error));
  CHECK(hair.auc_interval.low == 0);
  CHECK(hair.auc_interval.high == 1);

  const RocCurve one_kind = roc_curve({1, 2}, {true, true});
  CHECK(std::isnan(one_kind.auc));
  CHECK(std::isnan(one_kind.points[1].counts.specificity()));
  CHECK_THROWS_AS(at_youden(one_kind), Error);
  CHECK_THROWS_AS(at_specificity(one_kind, 0.5), Error);
  CHECK(at_sensitivity(one_kind, 0.5).counts.true_positives == 2);
  CHECK_THROWS_AS(at_sensitivity(one_kind, 1.5), Error);
  CHECK_THROWS_AS(roc_curve({}, {}), Error);
  CHECK_THROWS_AS(roc_curve({1}, {true, false}), Error);
  CHECK_THROWS_AS(roc_curve({std::nanf("")}, {true}), Error);
  CHECK_THROWS_AS(at_lowest_cost(perfect, {-1, 1}), Error);
  CHECK_THROWS_AS(at_lowest_cost(perfect, {0, 0}), Error);
  CHECK_THROWS_AS(at_lowest_cost(perfect, {kInfinity, 1}), Error);
  CHECK_THROWS_AS(at_lowest_cost(perfect, {std::nan(""), 1}), Error);
}

TEST_CASE("coverage and accuracy of answers above a confidence") {
  for (const auto& c : decisions()["coverage"]) {
    const std::vector<std::int64_t> labels = c["labels"];
    const std::vector<double> values = c["probabilities"];
    const Tensor p = Tensor::from({static_cast<std::int64_t>(labels.size()), c["classes"].get<std::int64_t>()}, values);
    const std::vector<CoveragePoint> curve = coverage_curve(p, labels);
    const std::vector<std::int64_t> kept = c["kept"], correct = c["correct"];
    REQUIRE(curve.size() == kept.size());
    for (std::size_t i = 0; i < curve.size(); ++i) {
      CHECK(curve[i].kept == kept[i]);
      CHECK(curve[i].correct == correct[i]);
      const CoveragePoint again = coverage_at(p, labels, curve[i].threshold);
      CHECK(again.kept == kept[i]);
      CHECK(again.correct == correct[i]);
    }
    CHECK(curve.back().threshold == 0);
    CHECK(curve.back().coverage() == 1);
    const auto kept_of = [](const std::optional<CoveragePoint>& point) { return point ? point->kept : 0; };
    CHECK(kept_of(choose_coverage(curve, 0.85)) == c["accuracy_85"]);
    CHECK(kept_of(choose_coverage(curve, 0.7, true)) == c["cautious_70"]);
    CHECK_FALSE(choose_coverage(curve, 1.01));
    CHECK(choose_coverage(curve, 0)->coverage() == 1);
    CHECK(std::isnan(coverage_at(p, labels, 1.5).accuracy()));
    CHECK(coverage_at(p, labels, 1.5).coverage() == 0);
  }
  const Tensor p = Tensor::from({2, 2}, std::vector<float>{0.9f, 0.1f, 0.4f, 0.6f});
  CHECK_THROWS_AS(coverage_curve(p, {0}), Error);
  CHECK_THROWS_AS(coverage_curve(p, {0, 2}), Error);
  CHECK_THROWS_AS(coverage_curve(Tensor::from({1, 2}, std::vector<float>{std::nanf(""), 1}), {0}), Error);
}

TEST_CASE("plots of decisions show their numbers and refuse what does not fit") {
  const std::vector<bool> kinds = {true, false, true, false, true, false};
  const RocCurve curve = roc_curve({0.9f, 0.8f, 0.7f, 0.3f, 0.2f, 0.1f}, kinds);
  const std::string roc = roc_svg(curve, {{"chosen <here>", at_youden(curve).counts}});
  CHECK(roc.find("area 0.667") != roc.npos);
  CHECK(roc.find("chosen &lt;here&gt;: sensitivity 33.3 %, specificity 100 %") != roc.npos);
  CHECK(count(roc, "<circle") == 2);  // on the curve and beside its name
  CHECK(roc_svg(roc_curve({1, 2}, {true, true})).find("does not hold both kinds") != roc.npos);

  const Tensor p = Tensor::from({4, 2}, std::vector<float>{0.9f, 0.1f, 0.4f, 0.6f, 0.45f, 0.55f, 0.3f, 0.7f});
  const std::vector<CoveragePoint> answers = coverage_curve(p, {0, 1, 0, 1});
  const std::string coverage = coverage_svg(answers, choose_coverage(answers, 1));
  CHECK(coverage.find("unsure: 75 % answered, 100 % of them right") != coverage.npos);
  CHECK(coverage_svg(answers).find("all answered: 75 % right") != coverage.npos);
  CHECK_THROWS_AS(coverage_svg({}), Error);

  const std::string confusion =
      confusion_svg({{5, 1}, {2, 40}}, {"ok", "scratch"}, {.title = "Line 3", .costs = {{0, 1}, {20, 0}}});
  CHECK(confusion.find("Line 3") != confusion.npos);
  CHECK(confusion.find(">cost 40<") != confusion.npos);
  CHECK(confusion.find(">cost 1<") != confusion.npos);
  CHECK(count(confusion, ">cost ") == 2);
  const std::string unsure =
      confusion_svg({{5, 1, 3}, {0, 4, 9}}, {"fox", "deer"}, {.columns = {"fox", "deer", "unsure"}});
  CHECK(count(unsure, ">unsure<") == 1);
  CHECK(count(unsure, ">fox<") == 2);
  CHECK(unsure.find(">9<") != unsure.npos);
  CHECK_THROWS_AS(confusion_svg({{1, 2}, {3}}, {"a", "b"}), Error);
  CHECK_THROWS_AS(confusion_svg({{1, 2, 3}, {4, 5, 6}}, {"a", "b"}), Error);
  CHECK_THROWS_AS(confusion_svg({{1, 2}, {3, 4}}, {"a", "b"}, {.costs = {{1, 2}}}), Error);
  CHECK_THROWS_AS(confusion_svg({}, {}), Error);
}
