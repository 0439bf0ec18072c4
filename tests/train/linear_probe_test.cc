// Linear probe: scikit-learn's solution, the choice of its penalty, and its way into a network.
#include "train/linear_probe.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "layers/modules.h"
#include "models/zoo.h"
#include "train/evaluation.h"
#include "train/lbfgs_internal.h"

using namespace fovea;

namespace {

/// Classes whose centres lie `apart` deviations from each other along the first axis; the other axes are noise.
Features clouds(std::int64_t n, std::int64_t width, int classes, double apart, std::uint64_t seed) {
  Rng rng(seed, "clouds");
  Features f;
  f.values = Tensor(Shape{n, width}, DType::f32);
  float* v = f.values.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    f.labels.push_back(i % classes);
    for (std::int64_t j = 0; j < width; ++j)
      v[i * width + j] = static_cast<float>(rng.normal() + (j == 0 ? apart * static_cast<double>(i % classes) : 0));
  }
  return f;
}

double accuracy(const LinearProbe& probe, const Features& f) {
  const Tensor p = probe_probabilities(probe, f.values);
  std::int64_t right = 0;
  const std::int64_t k = p.dim(1);
  for (std::int64_t i = 0; i < p.dim(0); ++i) {
    const float* row = p.data<float>() + i * k;
    right += std::max_element(row, row + k) - row == f.labels[static_cast<std::size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(p.dim(0));
}

}  // namespace

TEST_CASE("linear probe: scikit-learn's logistic regression") {
  std::ifstream in(FOVEA_SOURCE_DIR "/tests/train/data/linear_probe.json");
  const nlohmann::json reference = nlohmann::json::parse(in);
  for (const auto& c : reference["cases"]) {
    Features f;
    f.labels = c["labels"].get<std::vector<std::int64_t>>();
    std::vector<float> values;
    for (const auto& row : c["x"])
      for (const auto& v : row) values.push_back(v.get<float>());
    const auto n = static_cast<std::int64_t>(f.labels.size());
    f.values = Tensor::from(Shape{n, static_cast<std::int64_t>(values.size()) / n}, values);
    const int classes = c["classes"];
    LinearProbeOptions options;
    options.c = {c["c"].get<double>()};
    if (c["balanced"]) {
      std::vector<double> counts(static_cast<std::size_t>(classes));
      for (const std::int64_t label : f.labels) ++counts[static_cast<std::size_t>(label)];
      for (const double count : counts) options.class_weights.push_back(static_cast<double>(n) / (classes * count));
    }
    const LinearProbe probe = fit_linear_probe(f, classes, options);
    const Tensor p = probe_probabilities(probe, f.values);
    double worst = 0;
    for (std::int64_t i = 0; i < n; ++i)
      for (int k = 0; k < classes; ++k)
        worst = std::max(worst, std::abs(static_cast<double>(p.data<float>()[i * classes + k]) -
                                         c["probabilities"][static_cast<std::size_t>(i)][k].get<double>()));
    INFO("C " << c["c"] << ", " << classes << " classes, balanced " << c["balanced"]);
    CHECK(worst < 2e-4);
    CHECK(probe.trials.empty());
  }
}

TEST_CASE("linear probe: the penalty is chosen on held-out rows, groups kept together") {
  // Each group is one point repeated with a random label of its own: a probe may learn groups by heart, which tells
  // nothing about others. Only folds that keep groups together see that.
  Rng rng(5, "groups");
  Features f;
  const std::int64_t groups = 30, each = 4, width = 60;
  f.values = Tensor(Shape{groups * each, width}, DType::f32);
  float* v = f.values.mutable_data<float>();
  for (std::int64_t g = 0; g < groups; ++g) {
    std::vector<float> point(static_cast<std::size_t>(width));
    for (float& x : point) x = static_cast<float>(rng.normal());
    for (std::int64_t i = 0; i < each; ++i) {
      f.labels.push_back(g % 2);
      f.groups.push_back(str("patient ", g));
      for (const float x : point) *v++ = x + static_cast<float>(0.01 * rng.normal());
    }
  }
  const LinearProbe together = fit_linear_probe(f, 2);
  f.groups.clear();
  const LinearProbe cut = fit_linear_probe(f, 2);
  CHECK(together.c < 0.01);
  CHECK(cut.c > 10 * together.c);
  // Two rises in a row end the search.
  CHECK(together.trials.size() < LinearProbeOptions{}.c.size());
  for (const LinearProbe::Trial& t : together.trials) CHECK(t.log_loss > 0.65);
}

TEST_CASE("linear probe: repeats to the same bits and generalises") {
  const Features train = clouds(200, 40, 3, 6, 1), test = clouds(300, 40, 3, 6, 2);
  const LinearProbe a = fit_linear_probe(train, 3), b = fit_linear_probe(train, 3);
  CHECK(a.weight.to_vector<float>() == b.weight.to_vector<float>());
  CHECK(a.c == b.c);
  CHECK(accuracy(a, test) > 0.93);
}

TEST_CASE("linear probe: odd input") {
  Features f = clouds(20, 4, 2, 3, 1);
  // A column that never varies counts for nothing, however large it is.
  for (std::int64_t i = 0; i < 20; ++i) f.values.mutable_data<float>()[i * 4 + 3] = 1e6F;
  const LinearProbe probe = fit_linear_probe(f, 2);
  CHECK(probe.weight.to_vector<float>()[3 * 2] == 0);
  CHECK(accuracy(probe, f) > 0.8);
  SECTION("a class without rows is never predicted") {
    const LinearProbe three = fit_linear_probe(f, 3);
    const Tensor p = probe_probabilities(three, f.values);
    for (std::int64_t i = 0; i < 20; ++i) CHECK(p.data<float>()[i * 3 + 2] < 0.1F);
  }
  SECTION("one group only") {
    f.groups.assign(20, "all");
    CHECK(fit_linear_probe(f, 2).trials.empty());
  }
  SECTION("errors") {
    CHECK_THROWS_AS(fit_linear_probe(f, 1), Error);
    f.labels[0] = 2;
    CHECK_THROWS_AS(fit_linear_probe(f, 2), Error);
    f.labels[0] = 0;
    f.values.mutable_data<float>()[5] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(fit_linear_probe(f, 2), Error);
  }
}

TEST_CASE("linear probe: what it says of features, the network says of pictures") {
  Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  Tensor pictures(Shape{24, 32, 32, 3}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < 24; ++i) {
    labels.push_back(i % 2);
    for (int j = 0; j < 32 * 32 * 3; ++j) *p++ = static_cast<std::uint8_t>(rng.below(128) + (i % 2 ? 100 : 0));
  }
  const auto data = std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b"});
  const Features f = compute_features(model, data, {.batch_size = 7});
  CHECK(f.labels == labels);
  const Features own = compute_features(model, data, {.batch_size = 7, .forward = [](const Tensor& x) {
                                                        return Tensor::full({x.dim(0), 2}, 3.0);
                                                      }});
  CHECK(own.values.to_vector<float>() == std::vector<float>(48, 3.0F));
  const LinearProbe probe = fit_linear_probe(f, 2);
  set_classifier(model, probe);
  const Tensor wanted = probe_probabilities(probe, f.values), got = evaluate(model, data).probabilities;
  for (std::int64_t i = 0; i < wanted.numel(); ++i)
    CHECK(std::abs(wanted.data<float>()[i] - got.data<float>()[i]) < 1e-4F);
}

TEST_CASE("linear probe: a network has the same features after it was a file") {
  Rng rng(4, "features");
  for (const char* name : {"mobilenet_v2", "efficientnet_lite0"}) {
    const Model model = models::create(name, {.classes = 3, .image_size = 32, .channels = 3});
    const std::string path =
        (std::filesystem::temp_directory_path() / str("fovea-features-", ::getpid(), ".fovea")).string();
    save(model, path);
    const Model read = load_model(path);
    std::filesystem::remove(path);
    Tensor x({5, 32, 32, 3});
    for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(rng.normal());
    const Tensor chain = feature_extractor(model)(x), list = feature_extractor(read)(x);
    REQUIRE(chain.shape() == list.shape());
    for (std::int64_t i = 0; i < chain.numel(); ++i)
      REQUIRE(list.data<float>()[i] == Approx(chain.data<float>()[i]).margin(1e-6));
  }
  // Of one's own, in no chain and no file: nothing says where features end.
  const Model own(Sequential(Flatten(), Dense(12, 3)));
  CHECK_THROWS_AS(feature_extractor(own)(Tensor({1, 2, 2, 3})), Error);
}

TEST_CASE("l-bfgs: Rosenbrock's valley and a badly scaled bowl") {
  std::vector<double> x = {-1.2, 1};
  const double low = minimize_lbfgs(
      [](const std::vector<double>& at, std::vector<double>& g) {
        const double a = 1 - at[0], b = at[1] - at[0] * at[0];
        g = {-2 * a - 400 * at[0] * b, 200 * b};
        return a * a + 100 * b * b;
      },
      x, {.gradient_tolerance = 1e-9});
  CHECK(low < 1e-16);
  CHECK(std::abs(x[0] - 1) < 1e-8);
  std::vector<double> y(50, 1.0);
  minimize_lbfgs(
      [](const std::vector<double>& at, std::vector<double>& g) {
        double value = 0;
        for (std::size_t i = 0; i < at.size(); ++i) {
          const double scale = std::pow(10.0, static_cast<double>(i % 5));
          g[i] = scale * (at[i] - static_cast<double>(i));
          value += 0.5 * g[i] * (at[i] - static_cast<double>(i));
        }
        return value;
      },
      y, {.gradient_tolerance = 1e-6});
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(y[i] - static_cast<double>(i)) < 1e-5);
}
