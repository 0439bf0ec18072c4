// Metrics against scikit-learn's and hand-computed values.
#include "train/metrics.h"

#include <cmath>

#include "catch.h"
#include "core/error.h"
#include "reference.h"

using namespace fovea;

namespace {

Tensor labels_of(const std::vector<std::int64_t>& y) { return Tensor::from({static_cast<std::int64_t>(y.size())}, y); }

void close(double have, const nlohmann::json& expected) {
  CHECK(have == Approx(expected.get<double>()).epsilon(1e-9).margin(1e-12));
}

}  // namespace

TEST_CASE("metrics are scikit-learn's, also when fed in batches") {
  for (const auto& c : reference()["metrics"]) {
    const int classes = c["classes"];
    const std::vector<double> logits = c["logits"];
    const std::vector<std::int64_t> y = c["labels"];
    const auto n = static_cast<std::int64_t>(y.size());
    for (const std::int64_t batch : {n, std::int64_t{7}}) {
      INFO(classes << " classes, batches of " << batch);
      ClassificationMetrics metrics(classes);
      const Tensor all = Tensor::from({n, classes}, logits), labels = labels_of(y);
      for (std::int64_t i = 0; i < n; i += batch) {
        metrics.add_logits(all.slice(i, std::min(n, i + batch)), labels.slice(i, std::min(n, i + batch)));
      }
      const MetricValues m = metrics.compute();
      CHECK(m.n == n);
      close(m.accuracy, c["accuracy"]);
      close(m.balanced_accuracy, c["balanced"]);
      close(m.log_loss, c["log_loss"]);
      close(m.ece, c["ece"]);
      close(m.auc, c["auc"]);
      close(m.macro_precision, c["macro"][0]);
      close(m.macro_recall, c["macro"][1]);
      close(m.macro_f1, c["macro"][2]);
      close(m.weighted_precision, c["weighted"][0]);
      close(m.weighted_recall, c["weighted"][1]);
      close(m.weighted_f1, c["weighted"][2]);
      CHECK(m.confusion == c["confusion"].get<std::vector<std::vector<std::int64_t>>>());
      for (std::size_t k = 0; k < m.classes.size(); ++k) {
        close(m.classes[k].precision, c["precision"][k]);
        close(m.classes[k].recall, c["recall"][k]);
        close(m.classes[k].f1, c["f1"][k]);
        CHECK(m.classes[k].support == c["support"][k]);
      }
    }
  }
}

TEST_CASE("ROC AUC counts ties one half") {
  const auto& roc = reference()["roc"];
  CHECK(roc_auc(roc["scores"], roc["positive"]) == Approx(roc["auc"].get<double>()).epsilon(1e-12));
  CHECK(roc_auc({0.1f, 0.4f, 0.35f, 0.8f}, {false, false, true, true}) == Approx(0.75));
  CHECK(roc_auc({0.5f, 0.5f, 0.5f}, {false, true, true}) == 0.5);
  CHECK(roc_auc({1, 2}, {false, true}) == 1);
  CHECK(roc_auc({2, 1}, {false, true}) == 0);
  CHECK(std::isnan(roc_auc({1, 2}, {true, true})));
  CHECK(std::isnan(roc_auc({}, {})));
  CHECK_THROWS_AS(roc_auc({1}, {true, false}), Error);
  CHECK_THROWS_AS(roc_auc({NAN, 1}, {true, false}), Error);
}

TEST_CASE("top-k, ties and calibration bins by hand") {
  ClassificationMetrics m(3, {.top_k = {1, 2, 5}, .ece_bins = 4});
  //                                                    rank of the label:   1            2            3 (ties go to the
  //                                                    first)
  m.add_probabilities(Tensor::from<double>({3, 3}, {0.7, 0.2, 0.1, 0.5, 0.3, 0.2, 0.4, 0.3, 0.3}),
                      labels_of({0, 1, 2}));
  const MetricValues v = m.compute();
  REQUIRE(v.top_k.size() == 2);
  CHECK(v.top_k[0].second == Approx(1.0 / 3));
  CHECK(v.top_k[1].second == Approx(2.0 / 3));
  CHECK(v.log_loss == Approx(-(std::log(0.7) + std::log(0.3) + std::log(0.3)) / 3));
  // Bins (0, ¼], (¼, ½], (½, ¾], (¾, 1]: confidences 0.5 and 0.4 share the second, both wrong; 0.7 is right.
  CHECK(v.reliability[1].count == 2);
  CHECK(v.reliability[2].count == 1);
  CHECK(v.ece == Approx(2.0 / 3 * 0.45 + 1.0 / 3 * 0.3));

  ClassificationMetrics sure(2);
  sure.add_probabilities(Tensor::from<float>({1, 2}, {0, 1}), labels_of({1}));
  CHECK(sure.compute().ece == 0);
  CHECK(sure.compute().reliability.back().count == 1);
}

TEST_CASE("the Wilson interval") {
  const Interval i = wilson_interval(8, 10);
  CHECK(i.low == Approx(0.4901625).epsilon(1e-5));
  CHECK(i.high == Approx(0.9433178).epsilon(1e-5));
  CHECK(wilson_interval(0, 20).low == 0);
  CHECK(wilson_interval(0, 20).high == Approx(0.1611).epsilon(1e-3));
  CHECK(wilson_interval(20, 20).high == 1);
  CHECK(wilson_interval(0, 0).low == 0);
  CHECK(wilson_interval(0, 0).high == 1);
}

TEST_CASE("metrics refuse what they cannot count, and then count nothing") {
  ClassificationMetrics m(3);
  const Tensor good = Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK_THROWS_AS(m.add_logits(Tensor::from<float>({2, 2}, {1, 2, 3, 4}), labels_of({0, 1})), Error);
  CHECK_THROWS_AS(m.add_logits(good, labels_of({0})), Error);
  CHECK_THROWS_AS(m.add_logits(good, labels_of({0, 3})), Error);
  CHECK_THROWS_AS(m.add_logits(good, labels_of({0, -1})), Error);
  CHECK_THROWS_AS(m.add_logits(Tensor::from<float>({1, 3}, {1, NAN, 3}), labels_of({0})), Error);
  CHECK_THROWS_AS(m.add_probabilities(Tensor::from<float>({1, 3}, {0.5f, -0.1f, 0.6f}), labels_of({0})), Error);
  CHECK(m.count() == 0);
  const MetricValues none = m.compute();
  CHECK(none.accuracy == 0);
  CHECK(std::isnan(none.auc));
  CHECK_THROWS_AS(ClassificationMetrics(0), Error);

  // Huge logits overflow nowhere, and the AUC gives up beyond its memory.
  ClassificationMetrics big(3, {.auc_bytes = 20});
  big.add_logits(Tensor::from<float>({2, 3}, {1e30f, -1e30f, 0, 0, 1e30f, 0}), labels_of({1, 1}));
  CHECK(big.compute().log_loss == Approx(-std::log(1e-15) / 2));
  CHECK(std::isnan(big.compute().auc));
}
