// Optimizers beyond the golden data: weight decay's scope, learning-rate scales, frozen parameters, state, LAMB,
// Lookahead, refusals.
#include "train/optimizer.h"

#include <cmath>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "train/gradients.h"

using namespace fovea;

namespace {

Tensor filled(const Shape& shape, std::uint64_t seed, DType dtype = DType::f64) {
  Rng rng(seed);
  std::vector<double> v(static_cast<std::size_t>(shape.numel()));
  for (double& x : v) x = rng.normal();
  return Tensor::from(shape, v).to(dtype);
}

/// A weight, a bias and a norm parameter.
std::vector<NamedTensor> some_parameters(DType dtype = DType::f64) {
  std::vector<NamedTensor> p = {{"features.0.weight", filled({3, 5}, 1, dtype), false, ParameterRole::weight},
                                {"features.0.bias", filled({5}, 2, dtype), false, ParameterRole::bias},
                                {"head.norm.weight", filled({7}, 3, dtype), false, ParameterRole::norm}};
  for (NamedTensor& t : p) t.tensor.set_requires_grad();
  return p;
}

void set_gradients(std::vector<NamedTensor>& p, std::uint64_t seed) {
  for (std::size_t i = 0; i < p.size(); ++i)
    p[i].tensor.set_grad(filled(p[i].tensor.shape(), seed + i, p[i].tensor.dtype()));
}

void zero_gradients(std::vector<NamedTensor>& p) {
  for (NamedTensor& t : p) t.tensor.set_grad(Tensor::zeros(t.tensor.shape(), t.tensor.dtype()));
}

std::vector<std::vector<double>> values(const std::vector<NamedTensor>& p) {
  std::vector<std::vector<double>> out;
  for (const NamedTensor& t : p) out.push_back(t.tensor.to_vector<double>());
  return out;
}

const std::vector<OptimizerConfig> kAll = {SGD{.lr = 0.1, .momentum = 0.9},
                                           SGD{.lr = 0.1},
                                           Adam{.lr = 0.01},
                                           AdamW{.lr = 0.01},
                                           RMSprop{.lr = 0.01, .momentum = 0.9, .centered = true},
                                           RMSprop{.lr = 0.01},
                                           RMSprop{.lr = 0.01, .convention = RMSpropConvention::tensorflow1},
                                           LAMB{.lr = 0.01}};

}  // namespace

TEST_CASE("weight decay leaves biases and norms alone unless told otherwise") {
  for (const bool all : {false, true}) {
    auto p = some_parameters();
    const auto before = values(p);
    zero_gradients(p);
    Optimizer optimizer(SGD{.lr = 0.5, .weight_decay = 0.1}, p, {.decay_all = all});
    optimizer.step();
    const auto after = values(p);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double factor = all || i == 0 ? 1 - 0.5 * 0.1 : 1;
      for (std::size_t k = 0; k < after[i].size(); ++k)
        CHECK(after[i][k] == Approx(before[i][k] * factor).epsilon(1e-14));
    }
  }
}

TEST_CASE("learning-rate scales follow name patterns, the last match counts") {
  auto p = some_parameters();
  const auto before = values(p);
  for (NamedTensor& t : p) t.tensor.set_grad(Tensor::ones(t.tensor.shape(), DType::f64));
  Optimizer optimizer(SGD{.lr = 1}, p, {.lr_scales = {{"features", 0.1}, {"*.bias", 0}}});
  optimizer.step();
  const auto after = values(p);
  CHECK(before[0][0] - after[0][0] == Approx(0.1));
  CHECK(before[1][0] == after[1][0]);
  CHECK(before[2][0] - after[2][0] == Approx(1));
  CHECK_THROWS_AS(Optimizer(SGD{}, p, {.lr_scales = {{"nothing.*", 1}}}), Error);

  CHECK(name_matches("features.0.weight", "features"));
  CHECK(name_matches("features.0.weight", "features.0"));
  CHECK_FALSE(name_matches("features.01.weight", "features.0"));
  CHECK(name_matches("features.0.weight", "*.weight"));
  CHECK(name_matches("features.0.weight", "features.?.w*"));
  CHECK_FALSE(name_matches("features.0.weight", "weight"));
  CHECK_FALSE(name_matches("features.0.weight", ""));
}

TEST_CASE("frozen parameters and parameters without a gradient stay as they are, state included") {
  for (const OptimizerConfig& config : kAll) {
    INFO(describe(config));
    auto p = some_parameters();
    set_gradients(p, 10);
    p[0].tensor.set_requires_grad(false);
    p[1].tensor.zero_grad();
    const auto before = values(p);
    Optimizer optimizer(config, p);
    optimizer.step();
    const auto after = values(p);
    CHECK(after[0] == before[0]);
    CHECK(after[1] == before[1]);
    CHECK(after[2] != before[2]);
    for (const NamedTensor& s : optimizer.state()) CHECK_FALSE(s.name.starts_with("features"));
    // Unfrozen later, its bias correction starts from its own first step.
    p[0].tensor.set_requires_grad(true);
    optimizer.step();
    const std::vector<double> unfrozen = values(p)[0];
    CHECK(unfrozen != before[0]);
    for (const double v : unfrozen) CHECK(std::isfinite(v));
  }
}

TEST_CASE("restored state continues to the same bits") {
  for (const bool lookahead : {false, true}) {
    for (const OptimizerConfig& config : kAll) {
      INFO(describe(config));
      OptimizerOptions options;
      if (lookahead) options.lookahead = Lookahead{.every = 3};
      auto p = some_parameters(DType::f32), q = some_parameters(DType::f32);
      Optimizer whole(config, p, options);
      whole.set_learning_rate(0.02);
      for (std::uint64_t step = 0; step < 10; ++step) {
        set_gradients(p, 100 * step);
        whole.step();
      }
      std::vector<NamedTensor> saved;
      {
        Optimizer first(config, q, options);
        first.set_learning_rate(0.02);
        for (std::uint64_t step = 0; step < 4; ++step) {
          set_gradients(q, 100 * step);
          first.step();
        }
        for (NamedTensor s : first.state()) {
          s.tensor = s.tensor.clone();
          saved.push_back(s);
        }
      }
      Optimizer second(config, q, options);
      second.load_state(saved);
      CHECK(second.step_count() == 4);
      CHECK(second.learning_rate() == 0.02);
      for (std::uint64_t step = 4; step < 10; ++step) {
        set_gradients(q, 100 * step);
        second.step();
      }
      CHECK(values(p) == values(q));
    }
  }
}

TEST_CASE("state that does not fit is refused and changes nothing") {
  auto p = some_parameters();
  Optimizer optimizer(Adam{}, p);
  set_gradients(p, 5);
  optimizer.step();
  std::vector<NamedTensor> state = optimizer.state();
  const auto refused = [&](std::vector<NamedTensor> bad) {
    Optimizer other(Adam{}, p);
    CHECK_THROWS_AS(other.load_state(bad), Error);
    CHECK(other.step_count() == 0);
    CHECK(other.state().size() == 2);
  };
  auto bad = state;
  bad.push_back({"unknown/m", filled({2}, 1)});
  refused(bad);
  bad = state;
  bad[0].tensor = filled({4, 4}, 1);
  refused(bad);
  bad = state;
  bad.pop_back();
  refused(bad);
  bad = state;
  bad.erase(bad.begin());
  refused(bad);
  refused({});
}

TEST_CASE("LAMB scales Adam's direction by the trust ratio") {
  // One parameter, first step: m̂ = g, v̂ = g², so the direction is sign(g) + wd·p up to epsilon.
  std::vector<NamedTensor> p = {{"w", Tensor::from<double>({2}, {3, 4}), false, ParameterRole::weight}};
  p[0].tensor.set_requires_grad();
  p[0].tensor.set_grad(Tensor::from<double>({2}, {0.5, -2}));
  Optimizer optimizer(LAMB{.lr = 0.1, .epsilon = 1e-12, .weight_decay = 0.1}, p);
  optimizer.step();
  const double u0 = 1 + 0.3, u1 = -1 + 0.4, ratio = 5 / std::hypot(u0, u1);
  CHECK(p[0].tensor.to_vector<double>()[0] == Approx(3 - 0.1 * ratio * u0).epsilon(1e-10));
  CHECK(p[0].tensor.to_vector<double>()[1] == Approx(4 - 0.1 * ratio * u1).epsilon(1e-10));
}

TEST_CASE("Lookahead pulls the weights back every k steps") {
  std::vector<NamedTensor> p = {{"w", Tensor::from<double>({1}, {10}), false, ParameterRole::weight}};
  p[0].tensor.set_requires_grad();
  Optimizer optimizer(SGD{.lr = 1}, p, {.lookahead = Lookahead{.every = 2, .alpha = 0.25}});
  const double expected[] = {9, 9.5, 8.5, 9};  // 10 → 9 → 8, slow 9.5; 9.5 → 8.5 → 7.5, slow 9
  for (const double e : expected) {
    p[0].tensor.set_grad(Tensor::from<double>({1}, {1}));
    optimizer.step();
    CHECK(p[0].tensor.item() == Approx(e).epsilon(1e-14));
  }
}

TEST_CASE("optimizers refuse values out of range") {
  const auto p = some_parameters();
  CHECK_THROWS_AS(Optimizer(SGD{.lr = -1}, p), Error);
  CHECK_THROWS_AS(Optimizer(SGD{.lr = NAN}, p), Error);
  CHECK_THROWS_AS(Optimizer(SGD{.momentum = 1}, p), Error);
  CHECK_THROWS_AS(Optimizer(SGD{.nesterov = true}, p), Error);
  CHECK_THROWS_AS(Optimizer(Adam{.beta2 = 1}, p), Error);
  CHECK_THROWS_AS(Optimizer(AdamW{.weight_decay = -0.1}, p), Error);
  CHECK_THROWS_AS(Optimizer(Adam{.epsilon = 0}, p), Error);
  CHECK_THROWS_AS(Optimizer(SGD{}, {}), Error);
  CHECK_THROWS_AS(Optimizer(SGD{}, p, {.lookahead = Lookahead{.every = 0}}), Error);
}

TEST_CASE("gradients are clipped by their common norm or by value") {
  auto p = some_parameters(DType::f32);
  set_gradients(p, 7);
  p[2].tensor.zero_grad();
  double sum = 0;
  for (const int i : {0, 1}) {
    for (const double g : p[static_cast<std::size_t>(i)].tensor.grad().to_vector<double>()) sum += g * g;
  }
  const double norm = std::sqrt(sum);
  CHECK(gradient_norm(p) == Approx(norm));
  const double first = p[0].tensor.grad().to_vector<double>()[0];
  CHECK(clip_gradients_by_norm(p, norm * 2) == Approx(norm));
  CHECK(p[0].tensor.grad().to_vector<double>()[0] == first);
  CHECK(clip_gradients_by_norm(p, 0.5) == Approx(norm));
  CHECK(gradient_norm(p) == Approx(0.5).epsilon(1e-5));
  CHECK(p[0].tensor.grad().to_vector<double>()[0] == Approx(first * 0.5 / (norm + 1e-6)));

  p[1].tensor.set_grad(Tensor::from<float>({5}, {-3, -0.1f, 0, 0.2f, 7}));
  clip_gradients_by_value(p, 0.25);
  CHECK(p[1].tensor.grad().to_vector<float>() == std::vector<float>{-0.25f, -0.1f, 0, 0.2f, 0.25f});
  CHECK(first_bad_gradient(p).empty());
  p[1].tensor.set_grad(Tensor::from<float>({5}, {1, 2, NAN, 0, 0}));
  CHECK(first_bad_gradient(p) == "gradient of features.0.bias");
  CHECK_THROWS_AS(clip_gradients_by_norm(p, 0), Error);
  CHECK_THROWS_AS(clip_gradients_by_value(p, -1), Error);
}
