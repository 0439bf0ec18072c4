// Compiled networks against the model itself, which is the oracle: every kind of step, odd sizes, batches, reuse.
#include "infer/runtime/plan.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <thread>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "infer/compile/compile.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/options.h"

using namespace fovea;

namespace {

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Tensor x(shape);
  Rng rng(seed, "plan_test");
  for (float *p = x.mutable_data<float>(), *end = p + x.numel(); p != end; ++p) *p = static_cast<float>(rng.normal());
  return x;
}

/// Gives norms statistics other than 0 and 1, so that folding them matters.
void disturb(Model& model) {
  Rng rng(7, "plan_test");
  for (auto& p : model.network().named_tensors()) {
    if (p.name.ends_with("running_mean") || p.name.ends_with("bn.bias")) {
      for (float *v = p.tensor.mutable_data<float>(), *end = v + p.tensor.numel(); v != end; ++v)
        *v = static_cast<float>(0.2 * rng.normal());
    } else if (p.name.ends_with("running_var") || p.name.ends_with("bn.weight")) {
      for (float *v = p.tensor.mutable_data<float>(), *end = v + p.tensor.numel(); v != end; ++v)
        *v = static_cast<float>(0.5 + rng.uniform());
    }
  }
}

/// The largest difference, relative to the spread of the model's results.
double difference(const Tensor& got, const Tensor& want) {
  REQUIRE(got.shape() == want.shape());
  double sum = 0, squares = 0, worst = 0;
  const auto n = static_cast<double>(want.numel());
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    const double w = static_cast<double>(want.data<float>()[i]);
    sum += w;
    squares += w * w;
    worst = std::max(worst, std::abs(static_cast<double>(got.data<float>()[i]) - w));
  }
  return worst / std::sqrt(std::max(1e-12, squares / n - sum / n * (sum / n)));
}

}  // namespace

TEST_CASE("a compiled network gives the model's results", "[infer]") {
  const NoGrad no_grad;
  struct Case {
    const char* name;
    double width;
    int size;
    std::int64_t batch;
  };
  // Every family; odd sizes and widths take the tails.
  const Case cases[] = {{"mobilenet_v2", 1.0, 96, 1},
                        {"mobilenet_v2", 0.35, 97, 3},
                        {"mobilenet_v1", 0.25, 65, 2},
                        {"mobilenet_v3_small", 1.0, 64, 1},
                        {"mobilenet_v3_large", 0.75, 65, 2},
                        {"efficientnet_b0", 1.0, 64, 1},
                        {"efficientnet_lite0", 1.0, 75, 2},
                        {"resnet18", 1.0, 64, 1},
                        {"resnet50", 1.0, 49, 2},
                        {"inception_v3", 1.0, 80, 1},
                        {"small_cnn", 1.0, 28, 5},
                        // Maps too large for the cache run in bands, several per thread.
                        {"mobilenet_v2", 1.0, 224, 1},
                        {"efficientnet_lite0", 1.0, 225, 1},
                        {"mobilenet_v3_large", 1.0, 191, 1}};
  for (const Case& c : cases) {
    models::Options options;
    options.width = c.width;
    options.image_size = c.size;
    options.classes = 11;
    Model model = models::create(c.name, options);
    disturb(model);
    const image::Preprocessing& p = model.preprocessing;
    const Tensor x = noise({c.batch, c.size, c.size, p.channels}, 3);
    infer::Plan plan = infer::compile(model, {.input = x.shape()});
    INFO(c.name << " at " << c.size << "\n" << plan.describe());
    const Tensor want = model(x);
    CHECK(difference(plan(x), want) < 1e-4);
    CHECK(difference(plan(x), want) < 1e-4);  // memory is used again
    infer::Plan copy = plan;
    CHECK(difference(copy(x), want) < 1e-4);
  }
}

namespace {

/// Results that are read twice: neither the norm, the activation nor the addition behind them may disappear into the
/// convolution.
class Branches final : public Module {
 public:
  Branches() {
    for (int i = 0; i < 4; ++i)
      conv_.push_back(register_module(
          str("conv", i), std::make_shared<Conv2d>(i == 0 ? 3 : 24, 24, Conv2dOptions{.kernel = 3, .padding = 1})));
    norm_ = register_module("norm", std::make_shared<BatchNorm>(24));
  }
  std::string_view kind() const override { return "Branches"; }
  Tensor forward(const Tensor& x) override {
    const Tensor a = conv_[0]->forward(x);
    const Tensor b = relu(a);  // a is read again below
    const Tensor c = conv_[1]->forward(b);
    const Tensor d = add(norm_->forward(c), a);  // c too
    const Tensor e = add(conv_[2]->forward(d), conv_[3]->forward(d));
    const Tensor f = add(e, c);
    return global_average_pool(add(relu(f), f));
  }

 private:
  std::vector<ModulePtr> conv_;
  ModulePtr norm_;
};

}  // namespace

TEST_CASE("results that are read twice stay", "[infer]") {
  const NoGrad no_grad;
  Model model(std::make_shared<Branches>());
  model.preprocessing.height = 19;
  model.preprocessing.width = 21;
  model.preprocessing.channels = 3;
  disturb(model);
  const Tensor x = noise({2, 19, 21, 3}, 4);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
    INFO(plan.describe());
    CHECK(difference(plan(x), model(x)) < (dtype == DType::f32 ? 1e-4 : 0.05));
  }
}

TEST_CASE("bf16 stays near f32", "[infer]") {
  const NoGrad no_grad;
  // Every value is rounded to 8 bits on its way: each layer adds 2^-9 of its result's size, most of which averages out.
  // Twice the largest seen.
  for (const char* name : {"mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "resnet18", "inception_v3"}) {
    models::Options options;
    options.image_size = std::string(name) == "inception_v3" ? 80 : 65;
    options.classes = 11;
    Model model = models::create(name, options);
    disturb(model);
    const Tensor x = noise({2, options.image_size, options.image_size, 3}, 3);
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = DType::bf16});
    INFO(name << "\n" << plan.describe());
    const double off = difference(plan(x), model(x));
    UNSCOPED_INFO("difference " << off);
    CHECK(off < 0.05);
    CHECK(off > 0);
  }
  // Odd channels: neither pairs nor whole vectors.
  models::Options options;
  options.width = 0.35;
  options.image_size = 33;
  options.classes = 3;
  Model model = models::create("mobilenet_v1", options);
  const Tensor x = noise({1, 33, 33, 3}, 3);
  CHECK(difference(infer::compile(model, {.input = x.shape(), .dtype = DType::bf16})(x), model(x)) < 0.05);
}

TEST_CASE("a compiled model follows the shape of its input", "[infer]") {
  const NoGrad no_grad;
  models::Options options;
  options.width = 0.35;
  options.classes = 5;
  Model model = models::create("mobilenet_v2", options);
  disturb(model);
  infer::CompiledModel compiled(model);
  for (const Shape& shape : {Shape{1, 96, 96, 3}, Shape{4, 64, 80, 3}, Shape{1, 96, 96, 3}, Shape{2, 33, 47, 3}}) {
    const Tensor x = noise(shape, 5);
    CHECK(difference(compiled(x), model(x)) < 1e-4);
  }
  CHECK_THROWS_AS(compiled(noise({1, 96, 96, 4}, 1)), Error);
  CHECK_THROWS_AS(compiled.plan({1, 96, 96, 3})(noise({1, 97, 96, 3}, 1)), Error);
}

TEST_CASE("copies of a plan run at the same time", "[infer]") {
  const NoGrad no_grad;
  models::Options options;
  options.width = 0.35;
  options.image_size = 64;
  options.classes = 7;
  Model model = models::create("mobilenet_v2", options);
  disturb(model);
  const infer::Plan plan = infer::compile(model);
  const Tensor x = noise(plan.input_shape(), 9);
  const Tensor want = model(x);
  std::vector<std::thread> threads;
  std::vector<Tensor> got(8);
  for (std::size_t i = 0; i < got.size(); ++i) {
    threads.emplace_back([&, i] {
      infer::Plan mine = plan;
      for (int run = 0; run < 3; ++run) got[i] = mine(x);
    });
  }
  for (std::thread& t : threads) t.join();
  for (const Tensor& y : got) CHECK(difference(y, want) < 1e-4);
}

TEST_CASE("values share memory only when they are not alive together", "[infer]") {
  models::Options options;
  options.image_size = 224;
  const infer::Plan plan = infer::compile(models::create("mobilenet_v2", options));
  // Blocks of large maps run in bands: what remains alive together is 112×112×16 in front of 56×56×24.
  const double largest = (112.0 * 112 * 16 + 56 * 56 * 24) * 4;
  CHECK(static_cast<double>(plan.activation_bytes()) >= largest);
  CHECK(static_cast<double>(plan.activation_bytes()) < 1.1 * largest);
}

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  if (counting) ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  if (counting) ++allocations;
  return std::aligned_alloc(static_cast<std::size_t>(alignment), (size + 63) / 64 * 64);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }

TEST_CASE("running a plan allocates nothing", "[infer]") {
  for (const char* name : {"mobilenet_v2", "resnet18"}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      models::Options options;
      options.image_size = 64;
      infer::Plan plan = infer::compile(models::create(name, options), {.dtype = dtype});
      const Tensor x = noise(plan.input_shape(), 2);
      Tensor y(plan.output_shape());
      // Threads' scratch comes with their first run.
      for (int i = 0; i < 20; ++i) plan.run(x.data<float>(), y.mutable_data<float>());
      float* const to = y.mutable_data<float>();
      allocations = 0;
      counting = true;
      plan.run(x.data<float>(), to);
      counting = false;
      CHECK(allocations == 0);
    }
  }
}
