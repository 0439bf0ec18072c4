// What answers are worth: temperature, conformal sets, novelty, intervals. Promises are checked on data that nothing
// was fitted on.
#include "insight/trust.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <numeric>

#include "augment/open.h"
#include "catch.h"
#include "core/error.h"
#include "core/io/safetensors.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "layers/ops/reduce.h"
#include "models/load.h"
#include "train/linear_probe.h"
#include "train/roc.h"

using namespace fovea;
using namespace fovea::insight;

namespace {

struct Answers {
  Tensor logits;
  std::vector<std::int64_t> labels;
};

/// Labels drawn from softmax(logits / temperature): logits of a network that is too sure where temperature is above 1.
Answers drawn(std::int64_t n, std::int64_t classes, double temperature, std::uint64_t seed) {
  Answers a{Tensor({n, classes}), {}};
  Rng rng(seed, "trust_test");
  float* z = a.logits.mutable_data<float>();
  for (std::int64_t i = 0; i < n * classes; ++i) z[i] = static_cast<float>(3 * rng.normal());
  const Tensor p = tempered_probabilities(a.logits, temperature);
  for (std::int64_t i = 0; i < n; ++i) {
    double left = rng.uniform();
    std::int64_t k = 0;
    while (k + 1 < classes && (left -= static_cast<double>(p.data<float>()[i * classes + k])) > 0) ++k;
    a.labels.push_back(k);
  }
  return a;
}

Answers part(const Answers& all, const std::vector<std::int64_t>& items) {
  const std::int64_t classes = all.logits.dim(1);
  Answers out{Tensor({static_cast<std::int64_t>(items.size()), classes}), {}};
  float* to = out.logits.mutable_data<float>();
  for (const std::int64_t i : items) {
    const float* from = all.logits.data<float>() + i * classes;
    to = std::copy(from, from + classes, to);
    out.labels.push_back(all.labels[static_cast<std::size_t>(i)]);
  }
  return out;
}

/// Calibrates on `calibrate` random items and gives the coverage of the rest.
double coverage_of_split(const Answers& all, std::size_t calibrate, const ConformalOptions& options,
                         std::uint64_t split) {
  std::vector<std::int64_t> order(all.labels.size());
  std::iota(order.begin(), order.end(), 0);
  Rng rng(split, "split");
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(calibrate);
  const Answers first = part(all, {order.begin(), middle}), second = part(all, {middle, order.end()});
  ConformalOptions own = options;
  own.seed = split;  // or all splits would share their draws
  const ConformalPredictor predictor(softmax(first.logits), first.labels, own);
  return predictor.evaluate(softmax(second.logits), second.labels).coverage;
}

template <class Fn>
ErrorKind error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.kind();
  }
  FAIL("no error");
  return ErrorKind::usage;
}

constexpr ConformalScore kScores[] = {ConformalScore::lac, ConformalScore::aps, ConformalScore::raps};

}  // namespace

TEST_CASE("trust: the temperature that labels were drawn at is found") {
  for (const double truth : {0.5, 1.0, 2.5}) {
    const Answers a = drawn(20'000, 5, truth, 1);
    const Temperature t = fit_temperature(a.logits, a.labels);
    CHECK(t.value == Approx(truth).epsilon(0.03));  // three standard errors
    CHECK_FALSE(t.at_limit);
    CHECK(t.log_loss_after <= t.log_loss_before);
    // The minimum, by neighbours; and logits ten times as large want ten times the temperature.
    const auto loss = [&](double temperature) {
      const Tensor p = tempered_probabilities(a.logits, temperature);
      double sum = 0;
      for (std::size_t i = 0; i < a.labels.size(); ++i)
        sum -= std::log(static_cast<double>(p.data<float>()[static_cast<std::int64_t>(i) * 5 + a.labels[i]]));
      return sum / static_cast<double>(a.labels.size());
    };
    CHECK(loss(t.value) == Approx(t.log_loss_after).epsilon(1e-5));
    CHECK(loss(t.value * 1.02) > loss(t.value));
    CHECK(loss(t.value * 0.98) > loss(t.value));
    Tensor large = a.logits.to(DType::f64).clone();
    for (double *v = large.mutable_data<double>(), *end = v + large.numel(); v != end; ++v) *v *= 10;
    CHECK(fit_temperature(large, a.labels).value == Approx(10 * t.value).epsilon(1e-9));
  }
  // Every answer is right: the surer the better.
  const Tensor right = Tensor::from(Shape{2, 2}, {1.0f, 0.0f, 0.0f, 1.0f});
  CHECK(fit_temperature(right, {0, 1}).at_limit);
  CHECK(fit_temperature(right, {0, 1}).value == Approx(0.01));
  CHECK(fit_temperature(right, {1, 0}).value == Approx(100));
  CHECK(error_of([&] { fit_temperature(right, {0, 2}); }) == ErrorKind::usage);
  CHECK(error_of([&] { fit_temperature(right, {0}); }) == ErrorKind::shape);
  CHECK(error_of([&] { fit_temperature(Tensor::full({2, 2}, std::nan("")), {0, 1}); }) == ErrorKind::numeric);
}

TEST_CASE("trust: tempered probabilities have a smaller calibration error on other pictures") {
  const Answers fitted = drawn(5000, 4, 3.0, 2), other = drawn(5000, 4, 3.0, 3);
  const double t = fit_temperature(fitted.logits, fitted.labels).value;
  ClassificationMetrics before(4), after(4);
  const Tensor labels = Tensor::from(Shape{5000}, other.labels);
  before.add_logits(other.logits, labels);
  after.add_probabilities(tempered_probabilities(other.logits, t), labels);
  CHECK(before.compute().ece > 0.2);
  CHECK(after.compute().ece < 0.03);
  CHECK(before.compute().accuracy == after.compute().accuracy);
}

TEST_CASE("trust: conformal sets by hand") {
  // 1 - p of the true class: 0.1, 0.2, 0.3, 0.6; of 4 pictures the ⌈5 · 0.6⌉ = 3rd smallest.
  const Tensor p = Tensor::from(Shape{4, 2}, {0.9, 0.1, 0.2, 0.8, 0.7, 0.3, 0.6, 0.4});
  const std::vector<std::int64_t> labels = {0, 1, 0, 1};
  const ConformalPredictor lac(p, labels, {.coverage = 0.6});
  CHECK(lac.threshold() == Approx(0.3));
  const Tensor q = Tensor::from(Shape{3, 2}, {0.71, 0.29, 0.5, 0.5, 0.1, 0.9});
  CHECK(lac.sets(q) == std::vector<std::vector<int>>{{0}, {}, {1}});
  const ConformalResult r = lac.evaluate(q, {0, 0, 0});
  CHECK(r.coverage == Approx(1.0 / 3));
  CHECK(r.sizes == std::vector<std::int64_t>{1, 2, 0});
  CHECK(r.mean_size == Approx(2.0 / 3));
  CHECK(std::isnan(r.class_coverage[1]));
  // Too few pictures for the promise: every class.
  const ConformalPredictor few(p, labels, {.coverage = 0.9});
  CHECK(std::isinf(few.threshold()));
  CHECK(few.sets(q)[0] == std::vector<int>{0, 1});
  // aps: between what is likelier than the class and that with the class; raps adds to classes beyond the free ones.
  const ConformalPredictor aps(0.95, {.score = ConformalScore::aps});
  CHECK(aps.sets(Tensor::from(Shape{1, 3}, {0.5, 0.46, 0.04}))[0].size() >= 2);
  const ConformalPredictor raps(0.95, {.score = ConformalScore::raps, .penalty = 1, .free_classes = 1});
  CHECK(raps.sets(Tensor::from(Shape{1, 3}, {0.5, 0.46, 0.04}))[0] == std::vector<int>{0});
  CHECK(error_of([&] { ConformalPredictor(p, labels, {.coverage = 1}); }) == ErrorKind::usage);
  CHECK(error_of([&] { conformal_score_from_string("abs"); }) == ErrorKind::usage);
}

TEST_CASE("trust: conformal sets keep their promise in the mean over splits, even of a network that is far too sure") {
  const Answers all = drawn(300, 6, 4.0, 4);
  for (const ConformalScore score : kScores) {
    for (const double coverage : {0.8, 0.9}) {
      double mean = 0;
      for (std::uint64_t split = 0; split < 200; ++split)
        mean += coverage_of_split(all, 99, {.score = score, .coverage = coverage}, split) / 200;
      INFO(to_string(score) << " " << coverage << ": " << mean);
      // ⌈100·c⌉/100 is exact; the standard error of 200 splits is 0.003.
      CHECK(mean > coverage - 0.01);
      CHECK(mean < coverage + 0.01);
    }
  }
}

TEST_CASE("trust: conformal sets at 90 % cover 89 to 91 % of Fashion-MNIST's test pictures") {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) FOVEA_SKIP("dataset-fashion-mnist is not installed");
  // A linear classifier of 14×14 pixels: the promise does not depend on how good it is.
  const auto features = [&](const char* split, std::int64_t count) {
    const DatasetPtr data = open_dataset(folder, split);
    Features out{Tensor({count, 196}), {}, std::vector<std::string>(static_cast<std::size_t>(count)), {}};
    float* to = out.values.mutable_data<float>();
    for (std::int64_t i = 0; i < count; ++i) {
      const image::Image small = image::resize(data->image(i), 14, 14, image::Filter::box);
      for (const std::uint8_t v : small.pixels) *to++ = static_cast<float>(v) / 255;
      out.labels.push_back(data->label(i));
    }
    return out;
  };
  const LinearProbe probe = fit_linear_probe(features("train", 3000), 10, {.c = {0.01}});
  const Features test = features("test", 10'000);
  const Tensor p = probe_probabilities(probe, test.values);
  Answers all{Tensor(p.shape()), test.labels};
  for (std::int64_t i = 0; i < p.numel(); ++i)
    all.logits.mutable_data<float>()[i] = std::log(std::max(p.data<float>()[i], 1e-30f));
  for (const ConformalScore score : kScores) {
    double mean = 0;
    int within = 0;
    for (std::uint64_t split = 0; split < 100; ++split) {
      const double coverage = coverage_of_split(all, 5000, {.score = score}, split);
      within += std::abs(coverage - 0.9) < 0.01;
      mean += coverage / 100;
    }
    INFO(to_string(score) << " " << mean << ", " << within << " of 100 within 1 %");
    // 5000 and 5000 give a split a standard deviation of 0.6 %: 90 of 100 lie within 1 %.
    CHECK(std::abs(mean - 0.9) < 0.002);
    CHECK(within >= 80);
    const ConformalPredictor predictor(p.slice(0, 5000), {test.labels.begin(), test.labels.begin() + 5000},
                                       {.score = score});
    CHECK(predictor.evaluate(p, test.labels).mean_size < 2.5);
  }
}

TEST_CASE("trust: conformal sets of small real sets cover 89 to 92 % in the mean over 200 splits") {
  const char* folder = std::getenv("FOVEA_WEIGHTS");
  const std::string path = str(folder ? folder : "", "/efficientnet-lite0-57934424.pth");
  if (!folder || !std::filesystem::exists(path) || !shared_path(""))
    FOVEA_SKIP("FOVEA_SHARED or FOVEA_WEIGHTS is not set");
  const Model model = models::load(path);
  for (const char* set : {"hymenoptera", "xray"}) {
    const std::string data = *shared_path(str("data/", set));
    const Features train = compute_features(model, open_dataset(data, "train")),
                   val = compute_features(model, open_dataset(data, "val"));
    const LinearProbe probe = fit_linear_probe(train, 2, {.c = {1e-3}});
    const Tensor p = probe_probabilities(probe, val.values);
    Answers all{Tensor(p.shape()), val.labels};
    for (std::int64_t i = 0; i < p.numel(); ++i)
      all.logits.mutable_data<float>()[i] = std::log(std::max(p.data<float>()[i], 1e-30f));
    for (const ConformalScore score : kScores) {
      double mean = 0;
      for (std::uint64_t split = 0; split < 200; ++split)
        mean += coverage_of_split(all, all.labels.size() / 2, {.score = score}, split) / 200;
      INFO(set << " " << to_string(score) << " " << mean);
      CHECK(mean > 0.89);
      CHECK(mean < 0.92);
    }
  }
}

TEST_CASE("trust: strange pictures have other scores, ordinary ones rarely cross the threshold") {
  CHECK(energy_scores(Tensor::from(Shape{1, 2}, {0.0f, 0.0f}))[0] == Approx(-std::log(2.0)));
  CHECK(energy_scores(Tensor::from(Shape{1, 2}, {800.0f, 0.0f}))[0] == Approx(-800));
  // Two classes around (±3, 0) with standard deviations 1 and 0.1: distance is measured in those.
  Rng rng(5, "novelty");
  const auto sample = [&](std::int64_t n, double y) {
    std::pair<Tensor, std::vector<std::int64_t>> out{Tensor({n, 2}), {}};
    for (std::int64_t i = 0; i < n; ++i) {
      out.first.mutable_data<float>()[2 * i] = static_cast<float>((i % 2 ? 3 : -3) + rng.normal());
      out.first.mutable_data<float>()[2 * i + 1] = static_cast<float>(y + 0.1 * rng.normal());
      out.second.push_back(i % 2);
    }
    return out;
  };
  const auto [train, labels] = sample(4000, 0);
  const MahalanobisScore score(train, labels, 3, 1e-6);  // a class without pictures does not matter
  CHECK(score(Tensor::from(Shape{1, 2}, {3.0f, 0.5f}))[0] == Approx(25).epsilon(0.1));
  CHECK(score(Tensor::from(Shape{1, 2}, {5.0f, 0.0f}))[0] == Approx(4).epsilon(0.1));
  const std::vector<double> usual = score(sample(2000, 0).first), strange = score(sample(2000, 0.5).first);
  std::vector<float> all;
  std::vector<bool> positive;
  for (const double v : usual) all.push_back(static_cast<float>(v)), positive.push_back(false);
  for (const double v : strange) all.push_back(static_cast<float>(v)), positive.push_back(true);
  CHECK(roc_auc(all, positive) > 0.98);
  const double limit = novelty_threshold(score(sample(2000, 0).first), 0.05);
  const auto beyond = std::count_if(usual.begin(), usual.end(), [&](double v) { return v > limit; });
  CHECK(beyond > 2000 * 0.03);
  CHECK(beyond < 2000 * 0.07);
  // As a file, in f32.
  const std::string path =
      (std::filesystem::temp_directory_path() / str("fovea-novelty-", ::getpid(), ".safetensors")).string();
  score.save(path);
  const MahalanobisScore loaded = MahalanobisScore::load(path);
  CHECK(loaded.width() == 2);
  CHECK(loaded(Tensor::from(Shape{1, 2}, {3.0f, 0.5f}))[0] ==
        Approx(score(Tensor::from(Shape{1, 2}, {3.0f, 0.5f}))[0]).epsilon(1e-5));
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    write_safetensors(path, {{"means", Tensor({1, 2})}, {"factor", Tensor::from(Shape{2, 2}, {1.0f, 0.0f, 0.0f, bad})}},
                      {{"format", "fovea features 1"}});
    CHECK(error_of([&] { MahalanobisScore::load(path); }) == ErrorKind::format);
  }
  write_safetensors(path, {{"means", Tensor({1, 3})}, {"factor", Tensor({2, 2})}}, {{"format", "fovea features 1"}});
  CHECK(error_of([&] { MahalanobisScore::load(path); }) == ErrorKind::format);
  std::filesystem::remove(path);
  CHECK(error_of([&] { MahalanobisScore::load(path); }) == ErrorKind::file);

  CHECK(novelty_threshold({4, 1, 3, 2}, 0.4) == 3);
  CHECK(std::isinf(novelty_threshold({1, 2}, 0.05)));
  CHECK(error_of([] { novelty_threshold({}, 0.1); }) == ErrorKind::usage);
  CHECK(error_of([&] { score(Tensor({1, 3})); }) != ErrorKind::file);
}

TEST_CASE("trust: distances of features decide where the calibration goes by them") {
  const Tensor logits = Tensor::from(Shape{2, 2}, {4.0f, 0.0f, 4.0f, 0.0f});
  Trust trust;
  trust.classes = 2;
  trust.set_threshold = 0.9;
  trust.energy_threshold = -1e9;  // every energy is beyond it
  CHECK(judge(trust, logits)[0].answer == Answer::strange);
  CHECK(error_of([&] { judge(trust, logits, 0, {1, 2}); }) == ErrorKind::shape);
  trust.distance_threshold = 5;
  const auto verdicts = judge(trust, logits, 0, {4.9, 5.1});
  CHECK(verdicts[0].answer == Answer::sure);
  CHECK(verdicts[0].distance == 4.9);
  CHECK(verdicts[1].answer == Answer::strange);
  CHECK(error_of([&] { judge(trust, logits); }) == ErrorKind::shape);
  CHECK(error_of([&] { judge(trust, logits, 0, {1}); }) == ErrorKind::shape);
  CHECK(Trust::from_json(trust.to_json()).distance_threshold == 5);
  trust.distance_threshold = std::numeric_limits<double>::infinity();  // too few pictures for a limit
  CHECK(std::isinf(Trust::from_json(trust.to_json()).distance_threshold));
  CHECK(std::isnan(Trust::from_json(Trust{.classes = 2}.to_json()).distance_threshold));
}

TEST_CASE("trust: bootstrap intervals") {
  Rng rng(6, "bootstrap_test");
  std::vector<double> values(400);
  for (double& v : values) v = rng.normal(2, 3);
  const auto mean = [&](const std::vector<std::int64_t>& items) {
    double sum = 0;
    for (const std::int64_t i : items) sum += values[static_cast<std::size_t>(i)];
    return sum / static_cast<double>(items.size());
  };
  std::vector<std::int64_t> all(400);
  std::iota(all.begin(), all.end(), 0);
  const int threads = num_threads();
  const Interval one = bootstrap_interval(400, mean, {.resamples = 4000});
  CHECK((one.high - one.low) / 2 == Approx(1.96 * 3 / 20).epsilon(0.12));
  CHECK((one.high + one.low) / 2 == Approx(mean(all)).margin(0.02));
  set_num_threads(1);
  const Interval same = bootstrap_interval(400, mean, {.resamples = 4000});
  set_num_threads(threads);
  CHECK(one.low == same.low);
  CHECK(one.high == same.high);

  const Answers a = drawn(500, 3, 2.0, 7);
  const MetricIntervals i = bootstrap_metrics(softmax(a.logits), a.labels, {.resamples = 500});
  ClassificationMetrics metrics(3);
  metrics.add_logits(a.logits, Tensor::from(Shape{500}, a.labels));
  const MetricValues v = metrics.compute();
  CHECK(i.accuracy.low == Approx(v.accuracy_interval.low).margin(0.01));
  CHECK(i.accuracy.high == Approx(v.accuracy_interval.high).margin(0.01));
  for (const auto& [interval, value] : {std::pair{i.macro_f1, v.macro_f1},
                                        {i.auc, v.auc},
                                        {i.log_loss, v.log_loss},
                                        {i.balanced_accuracy, v.balanced_accuracy}}) {
    CHECK(interval.low < value);
    CHECK(interval.high > value);
  }
  CHECK(i.ece.low < i.ece.high);
  // AUC of data without one of the classes.
  CHECK(std::isnan(bootstrap_metrics(softmax(a.logits.slice(0, 1)), {0}, {.resamples = 10}).auc.low));
  CHECK(error_of([&] { bootstrap_interval(0, mean); }) == ErrorKind::usage);
}

TEST_CASE("trust: test-time augmentation is the mean over views") {
  // The class is told by the left pixel against the right one.
  const auto forward = [](const Tensor& x) {
    Tensor z({x.dim(0), 2});
    for (std::int64_t n = 0; n < x.dim(0); ++n) {
      z.mutable_data<float>()[2 * n] = x.data<float>()[n * 3];
      z.mutable_data<float>()[2 * n + 1] = x.data<float>()[n * 3 + 2];
    }
    return z;
  };
  const Tensor x = Tensor::from(Shape{2, 1, 3, 1}, {2.0f, 0.0f, 0.0f, 1.0f, 5.0f, 3.0f});
  const Tensor flipped = softmax(augmented_logits(forward, x));
  CHECK(static_cast<double>(flipped.data<float>()[0]) ==
        Approx(0.5));  // it cannot tell a picture from its mirror image
  const Tensor plain = augmented_logits(forward, x, {.flip = false});
  for (std::int64_t i = 0; i < 4; ++i)
    CHECK(static_cast<double>(plain.data<float>()[i]) ==
          Approx(static_cast<double>(forward(x).data<float>()[i])).margin(1e-6));
  CHECK(energy_scores(plain)[1] == Approx(energy_scores(forward(x))[1]).epsilon(1e-6));
  const Tensor tall = x.view_as(Shape{2, 3, 1, 1});
  CHECK(error_of([&] { augmented_logits(forward, tall, {.shift = 1}); }) == ErrorKind::usage);
  // Where all views answer alike, that is the answer: the logits' own level too, from which energies are made.
  const Tensor same = Tensor::from(Shape{1, 3}, {1.0f, 4.0f, -2.0f});
  const std::vector<float> kept =
      augmented_logits([&](const Tensor&) { return same; }, Tensor::zeros({1, 8, 8, 1}), {.shift = 1})
          .to_vector<float>();
  for (std::size_t k = 0; k < 3; ++k) CHECK(kept[k] == Approx(same.data<float>()[k]).epsilon(1e-5));
}

TEST_CASE("trust: a file of it, and the answers it leads to") {
  const Answers a = drawn(2000, 3, 2.0, 8);
  const Trust trust = Trust::fit(a.logits, a.labels);
  CHECK(trust.temperature == Approx(2).epsilon(0.1));
  CHECK(trust.pictures == 2000);
  const Trust back = Trust::from_json(trust.to_json());
  CHECK(back.to_json() == trust.to_json());
  CHECK(back.set_threshold == trust.set_threshold);
  Trust none = trust;
  none.set_threshold = none.energy_threshold = std::numeric_limits<double>::infinity();
  CHECK(std::isinf(Trust::from_json(none.to_json()).energy_threshold));

  const Tensor z = Tensor::from(Shape{3, 3}, {20.0f, 0.0f, 0.0f, 6.0f, 6.0f, -9.0f, -40.0f, -60.0f, -60.0f});
  const std::vector<Verdict> v = judge(back, z);
  CHECK(v[0].answer == Answer::sure);
  CHECK(v[0].set == std::vector<int>{0});
  CHECK(v[1].answer == Answer::ambiguous);
  CHECK(v[1].set == std::vector<int>{0, 1});
  CHECK(v[2].answer == Answer::strange);  // sure of its class, but all logits are unlike any it has seen
  CHECK(v[2].energy == Approx(40));
  CHECK(error_of([&] { judge(back, Tensor::zeros({1, 2})); }) == ErrorKind::shape);
  for (const char* bad : {"", "{}", "[1]", "{\"format\":\"fovea trust 1\",\"classes\":-1}"})
    CHECK(error_of([&] { Trust::from_json(bad); }) == ErrorKind::format);
  std::string text = trust.to_json();
  text.replace(text.find("\"lac\""), 5, "\"xyz\"");
  CHECK(error_of([&] { Trust::from_json(text); }) == ErrorKind::format);
}
