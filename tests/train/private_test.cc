// Private training: clipped gradients against the oracle that takes one example at a time, Poisson samples, noise, the
// account, and what is refused.
#include <cmath>
#include <numeric>

#include "augment/loader.h"
#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "layers/modules.h"
#include "layers/ops/arithmetic.h"
#include "layers/ops/loss.h"
#include "layers/ops/reduce.h"
#include "layers/ops/shape_ops.h"
#include "tests/temp_folder.h"
#include "train/evaluation.h"
#include "train/privacy/accountant.h"
#include "train/privacy/per_example.h"
#include "train/trainer.h"

using namespace fovea;
using test::TempFolder;

namespace {

Tensor random(const Shape& shape, std::uint64_t seed, DType dtype = DType::f64) {
  Rng rng(seed, "input");
  std::vector<double> v(static_cast<std::size_t>(shape.numel()));
  for (double& x : v) x = rng.normal();
  return Tensor::from(shape, v).to(dtype);
}

Tensor losses_of(Module& net, const Tensor& x, const Tensor& labels) {
  return cross_entropy(net(x), labels, {.label_smoothing = 0.1, .reduction = LossReduction::none});
}

/// Σ min(1, clip/‖gᵢ‖)·gᵢ with one pass for each example.
std::vector<std::vector<double>> oracle(Module& net, const Tensor& x, const Tensor& labels, double clip,
                                        std::vector<double>& norms) {
  std::vector<std::vector<double>> sum;
  const auto parameters = net.parameters(true);
  sum.reserve(parameters.size());
  for (const NamedTensor& p : parameters) sum.emplace_back(static_cast<std::size_t>(p.tensor.numel()), 0.0);
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    net.zero_grad();
    {
      const TrainingMode training;
      Tape tape;
      tape.backward(losses_of(net, x.slice(i, i + 1), labels.slice(i, i + 1)), Tensor::ones({1}, x.dtype()));
    }
    double squares = 0;
    for (const NamedTensor& p : parameters) {
      for (const double g : p.tensor.grad().to_vector<double>()) squares += g * g;
    }
    norms.push_back(std::sqrt(squares));
    const double factor = std::min(1.0, clip / norms.back());
    for (std::size_t k = 0; k < sum.size(); ++k) {
      const std::vector<double> g = parameters[k].tensor.grad().to_vector<double>();
      for (std::size_t j = 0; j < g.size(); ++j) sum[k][j] += factor * g[j];
    }
  }
  net.zero_grad();
  return sum;
}

std::vector<double> clipped(Module& net, const Tensor& x, const Tensor& labels, double clip) {
  const TrainingMode training;
  const PerExampleMode apart;
  Tape tape;
  return backward_clipped(tape, losses_of(net, x, labels), clip);
}

/// The same parameters in two places.
class Tied : public Module {
 public:
  Tied() {
    conv_ = register_module("conv", std::make_shared<Conv2d>(3, 3, Conv2dOptions{.kernel = 3, .padding = 1}));
    dense_ = register_module("dense", std::make_shared<Dense>(3, 3));
  }
  std::string_view kind() const override { return "Tied"; }
  Tensor forward(const Tensor& x) override {
    const Tensor y = mean((*conv_)((*conv_)(x)), {1, 2});
    return (*dense_)((*dense_)(y));
  }

 private:
  std::shared_ptr<Conv2d> conv_;
  std::shared_ptr<Dense> dense_;
};

/// Pictures of one colour, which is their class, with noise.
DatasetPtr pictures(std::int64_t n, int classes = 2, std::uint64_t seed = 1) {
  Tensor images({n, 8, 8, 1}, DType::u8);
  std::vector<std::int64_t> labels;
  std::vector<std::string> names;
  labels.reserve(static_cast<std::size_t>(n));
  Rng rng(seed, "pictures");
  for (std::int64_t i = 0; i < n; ++i) {
    labels.push_back(i % classes);
    for (int p = 0; p < 64; ++p)
      images.mutable_data<std::uint8_t>()[i * 64 + p] =
          static_cast<std::uint8_t>(40 + 150 * labels.back() / classes + static_cast<std::int64_t>(rng.below(60)));
  }
  names.reserve(static_cast<std::size_t>(classes));
  for (int c = 0; c < classes; ++c) names.push_back("c" + std::to_string(c));
  return std::make_shared<TensorDataset>(images, labels, names);
}

Model small_model(bool batch_norm = false) {
  Sequential net;
  net.add(Conv2d(1, 4, {.kernel = 3, .padding = 1}));
  if (batch_norm) {
    net.add("bn", BatchNorm(4));
  } else {
    net.add("gn", GroupNorm(2, 4));
  }
  net.add(ReLU());
  net.add(GlobalAveragePool());
  net.add(Dense(4, 2));
  Model model(std::move(net));
  model.network().initialize(3);
  model.preprocessing.width = model.preprocessing.height = 8;
  model.preprocessing.channels = 1;
  model.preprocessing.rule = image::ResizeRule::stretch;
  return model;
}

TrainerOptions options(double noise, std::uint64_t seed = 1) {
  TrainerOptions o;
  o.optimizer = SGD{.lr = 1};
  o.epochs = 1;
  o.batch_size = 16;
  o.seed = 5;
  o.privacy = PrivacyOptions{.clip = 1, .noise = noise, .seed = seed};
  return o;
}

std::vector<double> weights(const Model& model) {
  std::vector<double> all;
  for (const NamedTensor& p : model.network().parameters()) {
    const auto v = p.tensor.to_vector<double>();
    all.insert(all.end(), v.begin(), v.end());
  }
  return all;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("private: clipped gradients are those of one example at a time") {
  const ActivationParams silu{Activation::silu}, relu{Activation::relu};
  BatchNormOptions frozen;
  frozen.frozen = true;
  std::vector<std::pair<const char*, std::shared_ptr<Module>>> nets;
  nets.emplace_back("convolutions", std::make_shared<Sequential>(
                                        Conv2d(3, 6, {.kernel = 3, .stride = 2, .padding = 1, .activation = relu}),
                                        GroupNorm(3, 6), DepthwiseConv2d(6, {.kernel = 3, .padding = 1}), MaxPool2d(2),
                                        Flatten(), Dense(24, 7, {.activation = silu}), Dense(7, 3)));
  nets.emplace_back("norms", std::make_shared<Sequential>(
                                 Conv2d(3, 6, {.kernel = 3, .bias = false, .activation = silu}), BatchNorm(6, frozen),
                                 Residual(Sequential(LayerNorm(6), Conv2d(6, 6, {.kernel = 1, .groups = 2}))),
                                 GlobalAveragePool(), Dense(6, 3, {.bias = false})));
  auto folded = std::make_shared<Sequential>(ConvBnAct(3, 6), GlobalAveragePool(), Dense(6, 3));
  folded->freeze("0.bn");
  nets.emplace_back("a frozen norm that is folded into its convolution elsewhere", folded);
  nets.emplace_back("parameters in two places", std::make_shared<Tied>());
  auto part = std::make_shared<Sequential>(Conv2d(3, 6, {.kernel = 3}), GlobalAveragePool(), Dense(6, 3));
  part->freeze("0");
  nets.emplace_back("a frozen beginning", part);
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (auto& [name, net] : nets) {
      net->initialize(7);
      net->to(dtype);
      const Tensor x = random({5, 8, 8, 3}, 2, dtype);
      const Tensor labels = Tensor::from({5}, std::vector<std::int64_t>{0, 2, 1, 1, 0});
      std::vector<double> want_norms;
      oracle(*net, x, labels, 1, want_norms);
      std::vector<double> sorted = want_norms;
      std::sort(sorted.begin(), sorted.end());
      const double clip = (sorted[1] + sorted[2]) / 2;  // two stay as they are, three are clipped
      want_norms.clear();
      const auto want = oracle(*net, x, labels, clip, want_norms);
      const std::vector<double> norms = clipped(*net, x, labels, clip);
      const double tolerance = dtype == DType::f64 ? 1e-12 : 2e-5;
      const auto parameters = net->parameters(true);
      for (std::size_t i = 0; i < norms.size(); ++i) {
        INFO(name << ", example " << i);
        CHECK(norms[i] == Approx(want_norms[i]).epsilon(tolerance));
      }
      double scale = 0;
      for (const auto& w : want) {
        for (const double v : w) scale = std::max(scale, std::abs(v));
      }
      for (std::size_t k = 0; k < want.size(); ++k) {
        INFO(name << ", " << parameters[k].name << ", " << to_string(dtype));
        const std::vector<double> got = parameters[k].tensor.grad().to_vector<double>();
        double worst = 0;
        for (std::size_t j = 0; j < got.size(); ++j) worst = std::max(worst, std::abs(got[j] - want[k][j]));
        CHECK(worst <= tolerance * scale);
      }
    }
  }
}

TEST_CASE("private: examples that do not stay apart are refused, with what to do") {
  const Tensor x = random({3, 8, 8, 3}, 2, DType::f32), labels = Tensor::from({3}, std::vector<std::int64_t>{0, 2, 1});
  Sequential norm(Conv2d(3, 6, {.kernel = 3}), BatchNorm(6), GlobalAveragePool(), Dense(6, 3));
  const std::string batch = error_of([&] { clipped(norm, x, labels, 1); });
  CHECK(contains(batch, "statistics of the batch"));
  CHECK(contains(batch, "GroupNorm"));
  norm.freeze("1");
  CHECK(error_of([&] { clipped(norm, x, labels, 1); }) == "none");

  class Centred : public Module {
   public:
    Centred() { dense_ = register_module("dense", std::make_shared<Dense>(3, 3)); }
    std::string_view kind() const override { return "Centred"; }
    Tensor forward(const Tensor& input) override {
      const Tensor y = (*dense_)(mean(input, {1, 2}));
      return subtract(y, mean(y, {0}, true));
    }
    std::shared_ptr<Dense> dense_;
  } centred;
  CHECK(contains(error_of([&] { clipped(centred, x, labels, 1); }), "does not begin with the batch of 3"));

  const OpList adding = [&] {
    Capture capture;
    const Tensor input({3, 4}, DType::f32, kMeta);
    capture.input(input);
    return capture.finish(std::vector<Tensor>{add(input, mean(input, {0}, true))});
  }();
  CHECK(contains(error_of([&] { check_examples_apart(adding); }), "adds up over the batch"));

  class Scaled : public Module {
   public:
    Scaled() { scale_ = register_parameter("scale", Shape{3}, init::ones()); }
    std::string_view kind() const override { return "Scaled"; }
    Tensor forward(const Tensor& input) override { return multiply(mean(input, {1, 2}), scale_); }
    Tensor scale_;
  } scaled;
  CHECK(contains(error_of([&] { clipped(scaled, x, labels, 1); }), "takes a parameter"));

  // The mean of the losses, instead of each.
  Sequential net(GlobalAveragePool(), Dense(3, 3));
  Tape tape;
  CHECK(contains(error_of([&] { backward_clipped(tape, cross_entropy(net(x), labels), 1); }), "one loss for each"));

  const DatasetPtr data = pictures(40);
  const auto refused = [&](const std::function<void(TrainerOptions&)>& change, bool with_bn = false, bool val = false) {
    TrainerOptions o = options(1);
    change(o);
    return error_of([&] { Trainer(small_model(with_bn), o).fit(data, val ? pictures(10) : nullptr); });
  };
  CHECK(refused([](TrainerOptions&) {}) == "none");
  CHECK(contains(refused([](TrainerOptions&) {}, true), "[bn] normalises with the statistics"));
  CHECK(contains(refused([](TrainerOptions& o) { o.balance = ClassBalance::oversample; }), "balancing"));
  CHECK(contains(refused([](TrainerOptions& o) { o.clip_norm = 1; }), "clip"));
  CHECK(contains(refused([](TrainerOptions& o) { o.accumulate = 2; }), "batch size"));
  CHECK(contains(refused([](TrainerOptions& o) { o.restore_best = true; }), "validation data"));
  CHECK(refused([](TrainerOptions& o) { o.restore_best = true; }, false, true) == "none");
  CHECK(contains(refused([](TrainerOptions& o) { o.schedule = PlateauLr{}; }), "validation data"));
  CHECK(contains(refused([](TrainerOptions& o) { o.privacy->epsilon = 3; }), "either"));
  CHECK(contains(refused([](TrainerOptions& o) { o.privacy->noise = 0; }), "either"));
  CHECK(contains(refused([](TrainerOptions& o) { o.privacy->clip = 0; }), "clip"));
  CHECK(contains(refused([](TrainerOptions& o) { o.privacy->delta = 2; }), "delta"));
}

TEST_CASE("private: passes that training would fuse run op by op") {
  Sequential net;
  net.add("conv", Conv2d(1, 4, {.kernel = 3, .padding = 1}));
  net.add("bn", BatchNorm(4));
  net.add("act", ReLU());
  net.add("pool", GlobalAveragePool());
  net.add("fc", Dense(4, 2));
  Model model(std::move(net));
  model.network().initialize(3);
  model.freeze("bn");
  const Tensor x = random({3, 8, 8, 1}, 2, DType::f32), labels = Tensor::from({3}, std::vector<std::int64_t>{0, 1, 1});
  std::vector<double> want;
  oracle(model.network(), x, labels, 1, want);
  const TrainingMode training;
  const PerExampleMode apart;
  Tape tape;
  const std::vector<double> norms = backward_clipped(
      tape, cross_entropy(model(x), labels, {.label_smoothing = 0.1, .reduction = LossReduction::none}), 1);
  for (std::size_t i = 0; i < 3; ++i) CHECK(norms[i] == Approx(want[i]).epsilon(1e-4));
}

TEST_CASE("private: Poisson batches hold every picture with the same probability, some none at all") {
  const DatasetPtr data = pictures(50);
  LoaderOptions o;
  o.preprocessing = small_model().preprocessing;
  o.poisson = PoissonSampling{.rate = 0.04, .batches = 2000, .seed = 9};
  Loader loader(data, o);
  CHECK(loader.batches_per_epoch() == 2000);
  std::vector<double> count(50, 0);
  std::vector<std::vector<std::int64_t>> drawn;
  Batch batch;
  loader.start_epoch(0);
  while (loader.next(batch)) {
    drawn.push_back(batch.indices);
    CHECK(batch.images.dim(0) == static_cast<std::int64_t>(batch.indices.size()));
    CHECK(batch.labels.dim(0) == batch.images.dim(0));
    CHECK(std::is_sorted(batch.indices.begin(), batch.indices.end()));
    CHECK(std::adjacent_find(batch.indices.begin(), batch.indices.end()) == batch.indices.end());
    for (const std::int64_t i : batch.indices) count[static_cast<std::size_t>(i)] += 1;
  }
  REQUIRE(drawn.size() == 2000);
  double sum = 0, squares = 0, empty = 0, together = 0;
  for (const auto& b : drawn) {
    const auto n = static_cast<double>(b.size());
    sum += n, squares += n * n, empty += n == 0;
    together += std::find(b.begin(), b.end(), 3) != b.end() && std::find(b.begin(), b.end(), 4) != b.end();
  }
  // Binomial(50, 0.04): mean 2, variance 1.92; five standard errors.
  const double mean_size = sum / 2000;
  CHECK(mean_size == Approx(2).margin(5 * std::sqrt(1.92 / 2000)));
  CHECK(squares / 2000 - mean_size * mean_size == Approx(1.92).margin(0.35));
  CHECK(empty / 2000 == Approx(std::pow(0.96, 50)).margin(5 * std::sqrt(0.13 * 0.87 / 2000)));
  CHECK(together <= 14);  // 3.2 expected: neighbours are independent
  for (const double c : count) CHECK(c == Approx(80).margin(5 * std::sqrt(80 * 0.96)));

  // From the middle, on other threads, in another epoch, with every picture.
  o.workers = 3;
  Loader again(data, o);
  again.start_epoch(0, 700);
  for (std::size_t b = 700; b < 720; ++b) {
    REQUIRE(again.next(batch));
    CHECK(batch.indices == drawn[b]);
  }
  again.start_epoch(1);
  REQUIRE(again.next(batch));
  const auto first = batch.indices;
  REQUIRE(again.next(batch));
  CHECK((first != drawn[0] || batch.indices != drawn[1]));
  o.poisson->rate = 1;
  o.poisson->batches = 1;
  Loader all(data, o);
  all.start_epoch(0);
  REQUIRE(all.next(batch));
  CHECK(batch.indices.size() == 50);
  CHECK_FALSE(all.next(batch));
  o.poisson->rate = 0;
  CHECK_THROWS_AS(Loader(data, o), Error);
}

TEST_CASE("private: a step is the clipped sum over the expected size, and noise of the stated deviation") {
  const DatasetPtr data = pictures(64);
  const std::vector<double> start = weights(small_model());
  // All pictures in each step, hardly any noise and no clipping: plain gradient descent over all.
  TrainerOptions o = options(1e-9);
  o.privacy->clip = 1e3;
  o.batch_size = 64;
  o.epochs = 3;
  const Model ours = small_model(), plain = small_model();
  Trainer(ours, o).fit(data);
  TrainerOptions usual = o;
  usual.privacy.reset();
  Trainer(plain, usual).fit(data);
  const std::vector<double> a = weights(ours), b = weights(plain);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).epsilon(1e-4).margin(1e-5));

  // Results do not depend on how many pictures a pass takes.
  const auto with_chunk = [&](std::int64_t chunk) {
    TrainerOptions c = options(0.5);
    c.privacy->chunk = chunk;
    const Model m = small_model();
    Trainer(m, c).fit(data);
    return weights(m);
  };
  const std::vector<double> whole = with_chunk(64), parts = with_chunk(3);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(whole[i] == Approx(parts[i]).epsilon(1e-4).margin(1e-5));

  // One step on a rate so small that it is empty: noise alone, σ·clip/size·lr.
  std::vector<double> noise;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    TrainerOptions n = options(2, seed);
    n.privacy->clip = 0.25;
    n.batch_size = 1;
    n.cancel = nullptr;
    const Model m = small_model();
    struct Stop : TrainObserver {
      void on_batch(const BatchReport& r) override {
        images = r.images;
        cancel.request();
      }
      CancelToken cancel;
      std::int64_t images = 0;
    } stop;
    n.observers = {&stop};
    n.cancel = &stop.cancel;
    Trainer(m, n).fit(data);
    if (stop.images > 0) continue;
    const std::vector<double> end = weights(m);
    for (std::size_t i = 0; i < end.size(); ++i) noise.push_back(end[i] - start[i]);
  }
  REQUIRE(noise.size() > 3000);  // about e^-1 of 300 runs are empty
  double squares = 0, sum = 0, fourth = 0;
  for (const double v : noise) sum += v, squares += v * v, fourth += v * v * v * v;
  const auto n = static_cast<double>(noise.size());
  CHECK(std::sqrt(squares / n) == Approx(0.5).epsilon(0.04));
  CHECK(std::abs(sum / n) < 5 * 0.5 / std::sqrt(n));
  CHECK(fourth / n / (squares / n * squares / n) == Approx(3).epsilon(0.15));  // normal
}

TEST_CASE("private: secret noise differs from run to run, seeded noise does not") {
  const DatasetPtr data = pictures(40);
  const auto run = [&](std::optional<std::uint64_t> seed) {
    TrainerOptions o = options(1);
    o.privacy->seed = seed;
    const Model m = small_model();
    Trainer trainer(m, o);
    trainer.fit(data);
    REQUIRE(trainer.privacy());
    CHECK(trainer.privacy()->secret == !seed);
    return weights(m);
  };
  CHECK(run(4) == run(4));
  CHECK(run(4) != run(5));
  CHECK(run({}) != run({}));
}

TEST_CASE("private: epsilon is told, found again after an interruption, and never forgotten") {
  const DatasetPtr data = pictures(80);
  const TempFolder folder;
  struct Watch : TrainObserver {
    void on_batch(const BatchReport& r) override {
      epsilon.push_back(r.epsilon);
      if (r.step == stop_at) cancel.request();
    }
    std::vector<double> epsilon;
    std::int64_t stop_at = -1;
    CancelToken cancel;
  };
  const auto make = [&](Watch& watch, const std::string& file, bool resume) {
    TrainerOptions o = options(1);
    o.epochs = 4;
    o.batch_size = 8;
    o.privacy->delta = 1e-4;
    o.observers = {&watch};
    o.cancel = &watch.cancel;
    o.checkpoint = folder / file;
    o.resume = resume;
    return o;
  };
  Watch whole, first, second;
  const Model a = small_model(), b = small_model();
  Trainer one(a, make(whole, "a", false));
  const History history = one.fit(data);
  REQUIRE(whole.epsilon.size() == 40);
  CHECK(std::is_sorted(whole.epsilon.begin(), whole.epsilon.end()));
  CHECK(whole.epsilon[0] > 0);
  RdpAccountant account;
  account.add(0.1, 1, 40);
  CHECK(whole.epsilon.back() == Approx(account.spent(1e-4).epsilon));
  REQUIRE(history.epochs.size() == 4);
  CHECK(history.epochs[1].epsilon == whole.epsilon[19]);
  CHECK(one.privacy()->epsilon == whole.epsilon.back());
  CHECK(one.privacy()->steps == 40);
  CHECK(one.privacy()->sampling_rate == Approx(0.1));

  first.stop_at = 17;
  Trainer(b, make(first, "b", false)).fit(data);
  CHECK(first.epsilon.size() == 17);
  Trainer two(b, make(second, "b", true));
  const History resumed = two.fit(data);
  CHECK(second.epsilon.front() == whole.epsilon[17]);
  CHECK(second.epsilon.back() == whole.epsilon.back());
  CHECK(resumed.epochs[0].epsilon == history.epochs[0].epsilon);
  CHECK(weights(a) == weights(b));

  // A checkpoint of a private training is not gone on with in another way.
  Watch third;
  TrainerOptions o = make(third, "b", true);
  o.privacy.reset();
  CHECK(contains(error_of([&] { Trainer(b, o).fit(data); }), "private training"));
  o = make(third, "b", true);
  o.privacy->noise = 0.9;
  CHECK(contains(error_of([&] { Trainer(b, o).fit(data); }), "another privacy"));
}

TEST_CASE("private: the noise for an epsilon keeps it, and the network learns all the same") {
  const DatasetPtr data = pictures(600);
  TrainerOptions o = options(0);
  o.privacy->noise = 0;
  o.privacy->epsilon = 4;
  o.batch_size = 60;
  o.epochs = 15;
  const Model m = small_model();
  Trainer trainer(m, o);
  trainer.fit(data);
  CHECK(trainer.privacy()->delta == 1e-3);  // the power of ten below 1/600
  CHECK(trainer.privacy()->epsilon <= 4);
  CHECK(trainer.privacy()->epsilon > 3.95);
  CHECK(evaluate(m, pictures(200, 2, 2)).metrics.accuracy > 0.95);
}
