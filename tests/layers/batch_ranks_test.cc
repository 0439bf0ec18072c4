// A batch whose parts lie on several ranks: with statistics of all of it, each part has the results and gradients that
// its rows have in the whole.
#include <cmath>
#include <map>
#include <optional>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "layers/fused/fused_pass.h"
#include "layers/ops.h"
#include "support.h"
#include "tests/tensor_distance.h"
#include "tests/thread_ranks.h"

using namespace fovea;
using namespace fovea::test;

namespace {

using Tensors = std::map<std::string, Tensor>;
using Network = Tensor (*)(const Tensor&, Tensors&);

Tensor tensor(Tensors& tensors, const std::string& name, const Shape& shape, double low, double high, DType dtype,
              bool trained = true) {
  const auto found = tensors.find(name);
  if (found != tensors.end()) return found->second;
  Tensor t = random(shape, name, low, high).to(dtype);
  if (trained) t.set_requires_grad(true);
  return tensors[name] = t;
}

Tensor norm_of(const Tensor& x, Tensors& t, const std::string& name, ActivationParams activation) {
  BatchNormOptions options;
  options.activation = activation;
  const Shape c{x.dim(-1)};
  const DType d = x.dtype();
  return batch_norm(x, tensor(t, name + "gamma", c, 0.5, 1.5, d), tensor(t, name + "beta", c, -1, 1, d),
                    tensor(t, name + "mean", c, -0.5, 0.5, d, false), tensor(t, name + "variance", c, 0.5, 2, d, false),
                    options);
}

/// Convolutions that fuse, one that does not, a residual, and dropout.
Tensor network(const Tensor& x, Tensors& t) {
  const DType d = x.dtype();
  Conv2dParams same;
  same.padding = Padding::same_both(1);
  Tensor y = conv2d(x, tensor(t, "w0", {3, 3, 3, 8}, -0.3, 0.3, d), {}, same);
  y = norm_of(y, t, "a", {Activation::relu6});
  const Tensor before = y;
  Conv2dParams depthwise = same;
  depthwise.groups = 8;
  y = conv2d(y, tensor(t, "w1", {3, 3, 1, 8}, -0.5, 0.5, d), {}, depthwise);
  y = norm_of(y, t, "b", {Activation::relu});
  y = conv2d(y, tensor(t, "w2", {1, 1, 8, 8}, -0.5, 0.5, d), {}, {});
  y = add(norm_of(y, t, "c", {Activation::none}), before);
  y = dropout(y, 0.3);
  y = norm_of(conv2d(y, tensor(t, "w3", {3, 3, 8, 4}, -0.3, 0.3, d), {}, same), t, "d", {Activation::silu});
  return global_average_pool(y);
}

struct Pass {
  Tensor result, input_gradient;
  Tensors tensors;
};

Pass run(const Tensor& x, const Tensor& seed, Communicator* ranks, std::int64_t first, bool fused) {
  std::optional<NoFusion> off;
  if (!fused) off.emplace();
  Pass pass;
  Tensor input = x.clone();
  if (input.dtype() == DType::f64) input.set_requires_grad(true);  // in f32 a convolution reads the input as it is
  const TrainingMode mode({.seed = 4, .step = 9, .batch_ranks = ranks, .first_example = first});
  Tape tape;
  pass.result = fused_forward([&](const Tensor& images) { return network(images, pass.tensors); }, input);
  tape.backward(pass.result, seed);
  pass.input_gradient = input.grad();
  return pass;
}

/// |a − b| in terms of |b|.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  return test::relative_distance(a, b, 1e-3);
}

void check_parts(DType dtype, const std::vector<std::int64_t>& parts, double tolerance, bool fused = true) {
  std::int64_t examples = 0;
  for (const std::int64_t n : parts) examples += n;
  const Tensor x = random({examples, 7, 6, 3}, "x").to(dtype), seed = random({examples, 4}, "seed").to(dtype);
  const Pass whole = run(x, seed, nullptr, 0, fused);
  std::vector<Pass> got(parts.size());
  run_ranks(static_cast<int>(parts.size()), [&](Communicator& ranks) {
    const auto r = static_cast<std::size_t>(ranks.rank());
    std::int64_t first = 0;
    for (std::size_t k = 0; k < r; ++k) first += parts[k];
    got[r] = run(x.slice(first, first + parts[r]), seed.slice(first, first + parts[r]), &ranks, first, fused);
  });
  std::vector<double> result, input;
  std::map<std::string, std::vector<double>> gradients;
  for (Pass& part : got) {
    for (const double v : part.result.to_vector<double>()) result.push_back(v);
    if (part.input_gradient.defined())
      for (const double v : part.input_gradient.to_vector<double>()) input.push_back(v);
    for (const auto& [name, t] : part.tensors) {
      if (!t.requires_grad()) {  // statistics are the whole's on every rank
        CHECK(distance(t.to_vector<double>(), whole.tensors.at(name).to_vector<double>()) < tolerance);
        continue;
      }
      REQUIRE(t.grad().defined());
      std::vector<double>& sum = gradients[name];
      const std::vector<double> here = t.grad().to_vector<double>();
      sum.resize(here.size());
      for (std::size_t i = 0; i < here.size(); ++i) sum[i] += here[i];
    }
  }
  CHECK(distance(result, whole.result.to_vector<double>()) < tolerance);
  if (whole.input_gradient.defined()) CHECK(distance(input, whole.input_gradient.to_vector<double>()) < tolerance);
  REQUIRE(gradients.size() == 12);
  for (const auto& [name, sum] : gradients) {
    INFO(name);
    CHECK(distance(sum, whole.tensors.at(name).grad().to_vector<double>()) < tolerance);
  }
}

}  // namespace

TEST_CASE("batch norm over ranks: parts of a batch have the results and gradients of the whole") {
  // An uneven parting, and a rank that has nothing this time.
  for (const std::vector<std::int64_t>& parts : {std::vector<std::int64_t>{3, 3}, {5, 1}, {6, 0}, {1, 2, 3}}) {
    INFO(parts[0] << " + " << parts[1]);
    check_parts(DType::f64, parts, 1e-12);
    // Sums over 42 to 252 values in another order; the fused passes.
    check_parts(DType::f32, parts, 5e-6);
    check_parts(DType::f32, parts, 5e-6, false);
  }
}

TEST_CASE("backward tells of each leaf as soon as its gradient is complete") {
  struct Listener : GradientListener {
    std::vector<const void*> order;
    std::vector<double> seen;
    void complete(const Tensor& leaf) override {
      order.push_back(leaf.identity());
      seen.push_back(leaf.grad().defined() ? leaf.grad().item() : -1);
    }
  } listener;
  Tensor a = Tensor::scalar(2.0), b = Tensor::scalar(3.0), unused = Tensor::scalar(5.0);
  for (Tensor* t : {&a, &b, &unused}) t->set_requires_grad(true);
  b.set_grad(Tensor::scalar(10.0));  // of a pass before
  Tape tape;
  const Tensor first = multiply(a, b);  // 6
  multiply(unused, unused);             // nothing depends on it
  const Tensor loss = multiply(first, a);
  tape.backward(loss, {}, listener);
  // a comes into the last op too, but is complete only behind the first one.
  REQUIRE(listener.order == std::vector<const void*>{unused.identity(), a.identity(), b.identity()});
  CHECK(listener.seen[0] == -1);
  CHECK(listener.seen[1] == 12.0);  // d(a²b)/da
  CHECK(listener.seen[2] == 14.0);  // 10 + a²
  CHECK(a.grad().item() == 12.0);
  CHECK(b.grad().item() == 14.0);
}
