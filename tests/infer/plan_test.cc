// Compiled networks against the model itself, which is the oracle: every kind of step, odd sizes, batches, reuse.
#include "infer/runtime/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <thread>
#include <tuple>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "infer/compile/compile.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/options.h"
#include "settle.h"

using namespace fovea;
using test::noise, test::settle, test::walk;

namespace {

Tensor rounded(const Tensor& t) {
  Tensor r = t.clone();
  for (float *v = r.mutable_data<float>(), *end = v + r.numel(); v != end; ++v) *v = static_cast<float>(bf16(*v));
  return r;
}

/// The model in f32 with everything rounded that a bf16 plan keeps: weights, the picture, what layers hand on.
Tensor with_rounding(const Model& model, const Tensor& x) {
  const OpList list = model.capture(1);
  const auto weights = [](const OpList::Node& node, std::vector<Tensor>& operands) {
    if (node.op->type() == "conv2d" || node.op->type() == "dense") operands[1] = rounded(operands[1]);
  };
  const auto results = [&](const OpList::Node& node, Tensor& result) {
    // A convolution without bias has its batch norm behind it, which rounds for both.
    const bool half = node.op->type() == "conv2d" && node.inputs[2] < 0;
    if (!half && node.outputs[0] != list.outputs[0]) result = rounded(result);
  };
  return walk(list, rounded(x), weights, results);
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
    const Tensor x = noise({c.batch, c.size, c.size, model.preprocessing.channels}, 3);
    settle(model, std::min(c.size, 96));
    infer::Plan plan = infer::compile(model, {.input = x.shape()});
    INFO(c.name << " at " << c.size << "\n" << plan.describe());
    const Tensor want = model(x);
    REQUIRE(difference(model(noise(x.shape(), 4)), want) > 0.1);  // the picture matters
    const Tensor got = plan(x);
    CHECK(difference(plan(x), got) == 0);  // memory is used again
    infer::Plan copy = plan;
    CHECK(difference(copy(x), got) == 0);
    // As near to the truth as the model itself, or to 1e-4.
    model.network().to(DType::f64);
    const Tensor truth = model(x.to(DType::f64)).to(DType::f32);
    CHECK(difference(got, truth) < std::max(1e-4, 2 * difference(want, truth)));
  }
}

TEST_CASE("large maps of a batch go through picture by picture", "[infer]") {
  const NoGrad no_grad;
  set_num_threads(2);
  models::Options options;
  options.image_size = 128;
  options.classes = 10;
  Model model = models::create("mobilenet_v2", options);
  settle(model, 128);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    infer::Plan one = infer::compile(model, {.input = {1, 128, 128, 3}, .dtype = dtype});
    infer::Plan all = infer::compile(model, {.input = {6, 128, 128, 3}, .dtype = dtype});
    INFO(all.describe());
    CHECK(all.describe().find("picture by picture") != std::string::npos);
    CHECK(one.describe().find("picture by picture") == std::string::npos);
    CHECK(all.activation_bytes() < 4 * one.activation_bytes());  // two lanes and small maps, not six
    CHECK(all.profile(1).size() == all.steps().size());
    const Tensor x = noise({6, 128, 128, 3}, 11), got = all(x);
    for (std::int64_t i = 0; i < 6; ++i) {
      // Thin layers sum in another order when they have one row.
      CHECK(difference(got.slice(i, i + 1).clone(), one(x.slice(i, i + 1).clone())) <
            (dtype == DType::f32 ? 1e-5 : 1e-2));
    }
    // Fewer or more threads than it was planned for.
    for (const int threads : {1, 5, 2}) {
      set_num_threads(threads);
      CHECK(difference(all(x), got) == 0);
    }
  }
}

namespace {

/// Results that are read twice: neither the norm, the activation nor the addition behind them may disappear into the
/// convolution.
class Branches final : public Module {
 public:
  Branches() {
    for (int i = 0; i < 5; ++i)
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
    const Tensor g = conv_[4]->forward(e);
    const Tensor f = add(add(g, c), g);  // g too
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
  const Tensor x = noise({2, 19, 21, 3}, 4);
  settle(model, 20);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
    INFO(plan.describe());
    CHECK(difference(plan(x), model(x)) < (dtype == DType::f32 ? 1e-4 : 0.05));
  }
}

namespace {

/// A network from a function, for shapes that no zoo network has.
class Custom final : public Module {
 public:
  using Forward = std::function<Tensor(const std::vector<ModulePtr>&, const Tensor&)>;
  Custom(std::vector<ModulePtr> parts, Forward forward) : parts_(std::move(parts)), forward_(std::move(forward)) {
    for (std::size_t i = 0; i < parts_.size(); ++i) register_module(str("part", i), parts_[i]);
  }
  std::string_view kind() const override { return "Custom"; }
  Tensor forward(const Tensor& x) override { return forward_(parts_, x); }

 private:
  std::vector<ModulePtr> parts_;
  Forward forward_;
};

Model custom(std::vector<ModulePtr> parts, int height, int width, int channels, Custom::Forward forward) {
  Model model(std::make_shared<Custom>(std::move(parts), std::move(forward)));
  model.preprocessing.height = height;
  model.preprocessing.width = width;
  model.preprocessing.channels = channels;
  return model;
}

}  // namespace

TEST_CASE("small maps whose pixels compete for the cache are made panel by panel", "[infer]") {
  const NoGrad no_grad;
  for (const int threads : {1, 2, 4}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const int stride : {1, 2}) {
        set_num_threads(threads);
        // 14×14 fits L1 as a panel, 40×40 does not.
        for (const int size : {14, 40}) {
          Model model =
              custom({std::make_shared<Conv2d>(6, 1024, Conv2dOptions{.kernel = 1}),
                      std::make_shared<DepthwiseConv2d>(
                          1024, DepthwiseConv2dOptions{.kernel = 3, .stride = stride, .padding = 1}),
                      std::make_shared<Conv2d>(1024, 5, Conv2dOptions{.kernel = 1})},
                     size, size, 6, [](const std::vector<ModulePtr>& p, const Tensor& x) {
                       return global_average_pool(p[2]->forward(relu6(p[1]->forward(relu6(p[0]->forward(x))))));
                     });
          const Tensor x = noise({1, size, size, 6}, 4);
          infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
          INFO(threads << " threads\n" << plan.describe());
          CHECK(plan.describe().find("depthwise + relu6") != std::string::npos);
          const Tensor want = model(x);
          CHECK(difference(plan(x), want) <
                (dtype == DType::f32 ? 1e-4 : 2 * difference(with_rounding(model, x), want)));
        }
      }
    }
  }
  set_num_threads(2);
}

TEST_CASE("bf16 ends at the network's input and result, wherever they are used", "[infer]") {
  const NoGrad no_grad;
  const auto check = [](const Model& model, const Tensor& x) {
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = DType::bf16});
    INFO(plan.describe());
    const Tensor want = model(x);
    CHECK(difference(plan(x), want) < 2 * difference(with_rounding(model, x), want));
  };
  // The result is a sum with a value of the inside; an addend is the picture itself.
  models::Options options;
  options.image_size = 64;
  options.top = models::Top::none;
  Model headless = models::create("resnet18", options);
  settle(headless, 64);
  check(headless, noise({2, 64, 64, 3}, 3));
  const Conv2dOptions same{.kernel = 3, .padding = 1};
  check(
      custom({std::make_shared<Conv2d>(4, 4, same), std::make_shared<Conv2d>(4, 4, same)}, 9, 10, 4,
             [](const std::vector<ModulePtr>& p, const Tensor& x) { return p[1]->forward(add(p[0]->forward(x), x)); }),
      noise({1, 9, 10, 4}, 3));
  // A depthwise convolution is the last layer, and is part of a block.
  check(custom({std::make_shared<Conv2d>(3, 48, same),
                std::make_shared<DepthwiseConv2d>(48, DepthwiseConv2dOptions{.kernel = 3, .padding = 1})},
               64, 64, 3,
               [](const std::vector<ModulePtr>& p, const Tensor& x) { return p[1]->forward(p[0]->forward(x)); }),
        noise({4, 64, 64, 3}, 3));
}

TEST_CASE("parts of a concatenation are made in place, unless something else reads them", "[infer]") {
  const NoGrad no_grad;
  const Conv2dOptions same{.padding = 1}, point{.kernel = 1};
  const Model model = custom(
      {std::make_shared<Conv2d>(3, 10, same), std::make_shared<Conv2d>(10, 6, same),
       std::make_shared<Conv2d>(10, 9, point), std::make_shared<MaxPool2d>(3, Pool2dOptions{.stride = 1, .padding = 1}),
       std::make_shared<Conv2d>(35, 7, point)},
      12, 13, 3, [](const std::vector<ModulePtr>& p, const Tensor& x) {
        const Tensor a = p[0]->forward(x);
        // `a` is read by others; `inner` is part of the outer one.
        const Tensor inner = concat(std::vector<Tensor>{relu(p[1]->forward(a)), p[3]->forward(a)}, 3);
        const Tensor outer = concat(std::vector<Tensor>{p[2]->forward(a), inner, a}, 3);
        return p[4]->forward(outer);
      });
  for (const int batch : {1, 4}) {
    const Tensor x = noise({batch, 12, 13, 3}, 3), want = model(x);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
      INFO(plan.describe());
      CHECK(difference(plan(x), want) < (dtype == DType::f32 ? 1e-5 : 0.02));
      int copies = 0;
      for (const infer::Plan::StepInfo& step : plan.steps()) copies += step.kernel == "copies" ? 1 : 0;
      CHECK(copies == 1);
    }
  }
}

TEST_CASE("what the planned kernels do not do is done otherwise", "[infer]") {
  const NoGrad no_grad;
  const auto check = [](const Model& model, const Tensor& x) {
    for (const DType dtype : {DType::f32, DType::bf16})
      CHECK(difference(infer::fast_forward(model, dtype)(x), model(x)) < (dtype == DType::f32 ? 1e-4 : 0.05));
  };
  // A kernel of 300 rows, and one of 17×17 dilated taps: more stretches of a window than the kernels hold.
  check(custom({std::make_shared<Conv2d>(3, 5, Conv2dOptions{.kernel = {300, 1}})}, 310, 4, 3,
               [](const std::vector<ModulePtr>& p, const Tensor& x) { return p[0]->forward(x); }),
        noise({1, 310, 4, 3}, 3));
  check(custom({std::make_shared<Conv2d>(2, 3, Conv2dOptions{.kernel = 17, .dilation = 2})}, 40, 40, 2,
               [](const std::vector<ModulePtr>& p, const Tensor& x) { return p[0]->forward(x); }),
        noise({1, 40, 40, 2}, 3));
  // More parts than a step takes.
  check(custom({}, 5, 6, 2,
               [](const std::vector<ModulePtr>&, const Tensor& x) {
                 std::vector<Tensor> parts;
                 parts.reserve(70);
                 for (int i = 0; i < 70; ++i) parts.push_back(affine(x, 1 + i));
                 return concat(parts, 3);
               }),
        noise({1, 5, 6, 2}, 3));
  // No picture at all.
  models::Options options;
  options.image_size = 96;
  const Model model = models::create("mobilenet_v2", options);
  for (const DType dtype : {DType::f32, DType::bf16})
    CHECK(infer::compile(model, {.input = {0, 96, 96, 3}, .dtype = dtype})(Tensor(Shape{0, 96, 96, 3})).shape() ==
          Shape{0, 1000});
  // Nothing compiled.
  infer::Plan nothing;
  CHECK_THROWS_AS(nothing(noise({1, 4, 4, 3}, 1)), Error);
  CHECK_THROWS_AS(nothing.run(nullptr, nullptr), Error);
  CHECK_THROWS_AS(nothing.input_shape(), Error);
}

TEST_CASE("a plan's description has a line for each step", "[infer]") {
  models::Options options;
  options.image_size = 224;
  const infer::Plan plan = infer::compile(models::create("mobilenet_v2", options));
  const std::string text = plan.describe();
  CHECK(std::count(text.begin(), text.end(), '\n') == static_cast<std::ptrdiff_t>(plan.steps().size()) + 2);
}

TEST_CASE("bf16 is as far from f32 as rounding its values makes it", "[infer]") {
  const NoGrad no_grad;
  struct Case {
    const char* name;
    double width;
    int size;
  };
  // Width 0.35 has odd channels: neither pairs nor whole vectors.
  for (const Case& c : {Case{"mobilenet_v2", 1, 97}, Case{"mobilenet_v3_small", 1, 96}, Case{"efficientnet_b0", 1, 65},
                        Case{"resnet18", 1, 65}, Case{"inception_v3", 1, 107}, Case{"mobilenet_v1", 0.35, 65},
                        Case{"small_cnn", 1, 28}}) {
    models::Options options;
    options.image_size = c.size;
    options.width = c.width;
    options.classes = 37;
    Model model = models::create(c.name, options);
    settle(model, c.size);
    const Tensor x = noise({4, c.size, c.size, model.preprocessing.channels}, 3);
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = DType::bf16});
    const Tensor want = model(x);
    const double off = difference(plan(x), want), expected = difference(with_rounding(model, x), want);
    INFO(c.name << ": " << off << " of the logits' spread, expected about " << expected << "\n" << plan.describe());
    // The largest of 148 logits' errors, of two ways to round.
    CHECK(off < 2 * expected);
    if (kernels::simd::has_bf16()) CHECK(off > expected / 4);
  }
}

TEST_CASE("a compiled model follows the shape of its input", "[infer]") {
  const NoGrad no_grad;
  models::Options options;
  options.width = 0.35;
  options.classes = 5;
  Model model = models::create("mobilenet_v2", options);
  settle(model, 96);
  infer::Network compiled = infer::compile_network(model);
  for (const Shape& shape : {Shape{1, 96, 96, 3}, Shape{4, 64, 80, 3}, Shape{1, 96, 96, 3}, Shape{2, 33, 47, 3}}) {
    const Tensor x = noise(shape, 5);
    CHECK(difference(compiled(x), model(x)) < 1e-4);
  }
  CHECK_THROWS_AS(compiled(noise({1, 96, 96, 4}, 1)), Error);
  CHECK_THROWS_AS(compiled.plan({1, 96, 96, 3})(noise({1, 97, 96, 3}, 1)), Error);
}

TEST_CASE("copies of a plan run at the same time", "[infer]") {
  const NoGrad no_grad;
  // Two threads each, so that some callers have the team and the others do their chunks alone.
  set_num_threads(2);
  models::Options options;
  options.width = 0.35;
  options.image_size = 64;
  options.classes = 7;
  Model model = models::create("mobilenet_v2", options);
  settle(model, 64);
  for (const DType dtype : {DType::f32, DType::bf16, DType::i8}) {
    infer::Plan plan = infer::compile(model, {.dtype = dtype});
    constexpr std::size_t kCallers = 8;
    std::vector<Tensor> pictures, want, got(kCallers);
    for (std::size_t i = 0; i < kCallers; ++i) {
      pictures.push_back(noise(plan.input_shape(), 20 + i));
      want.push_back(plan(pictures[i]));
    }
    REQUIRE(difference(want[1], want[0]) > 0.1);
    std::vector<std::thread> callers;
    for (std::size_t i = 0; i < kCallers; ++i) {
      callers.emplace_back([&, i] {
        infer::Plan mine = plan;
        for (int run = 0; run < 5; ++run) got[i] = mine(pictures[i]);
      });
    }
    for (std::thread& t : callers) t.join();
    for (std::size_t i = 0; i < kCallers; ++i) CHECK(difference(got[i], want[i]) == 0);  // bit for bit
  }
}

TEST_CASE("gates of large maps go into the weights behind them", "[infer]") {
  const NoGrad no_grad;
  set_num_threads(2);  // with three, each would have a picture of its own
  models::Options options;
  options.image_size = 96;
  options.classes = 10;
  Model model = models::create("efficientnet_b0", options);
  settle(model, 96);
  const Tensor x = noise({3, 96, 96, 3}, 5), want = model(x);
  for (const std::int64_t batch : {1, 3}) {  // several pictures have a gate each: only where they pass one by one
    infer::Plan plan = infer::compile(model, {.input = {batch, 96, 96, 3}});
    INFO(plan.describe());
    CHECK((plan.describe().find("simd:gated") != std::string::npos) == (batch == 1));
    for (std::int64_t i = 0; i < 3; i += batch)
      CHECK(difference(plan(x.slice(i, i + batch).clone()), want.slice(i, i + batch).clone()) < 1e-4);
  }
}

TEST_CASE("threads that take work from each other make the same bits", "[infer]") {
  const NoGrad no_grad;
  const std::jthread busy([](const std::stop_token& stop) {  // slows whichever thread runs beside it
    while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::microseconds(20));
  });
  // At 112, widths are multiples of a tile of 14 rows; at other sizes cuts leave tiles of one to three rows as well.
  for (const auto& [name, size, batch] : {std::tuple{"mobilenet_v2", 112, 1}, std::tuple{"mobilenet_v2", 129, 1},
                                          std::tuple{"resnet18", 129, 1}, std::tuple{"resnet50", 49, 2}}) {
    models::Options options;
    options.image_size = size;
    Model model = models::create(name, options);
    settle(model, size);
    const Tensor x = noise({batch, size, size, 3}, 3);
    INFO(name << " at " << size);
    for (const DType dtype : {DType::f32, DType::bf16, DType::i8}) {
      set_num_threads(1);
      infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
      const Tensor want = plan(x).clone();
      for (const int threads : {2, 5}) {
        set_num_threads(threads);
        for (int run = 0; run < 4; ++run) REQUIRE(difference(plan(x), want) == 0);
      }
    }
  }
  set_num_threads(2);
}

TEST_CASE("rows that threads take through several layers are those of layer after layer", "[infer]") {
  const NoGrad no_grad;
  // Maps of 8 rows have enough of them for two threads, those of 4 not; with and without squeeze-and-excitation.
  for (const auto& [name, size] :
       {std::pair{"mobilenet_v2", 128}, std::pair{"mobilenet_v3_small", 128}, std::pair{"resnet50", 64}}) {
    models::Options options;
    options.image_size = size;
    options.classes = 10;
    Model model = models::create(name, options);
    settle(model, size);
    const Tensor x = noise({1, size, size, 3}, 3);
    for (const DType dtype : {DType::bf16, DType::i8}) {
      set_num_threads(1);
      infer::Plan alone = infer::compile(model, {.input = x.shape(), .dtype = dtype});
      const Tensor want = alone(x).clone();
      CHECK(alone.describe().find("simd:rows") == std::string::npos);
      for (const int threads : {2, 3}) {
        set_num_threads(threads);
        infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
        INFO(name << " on " << threads << "\n" << plan.describe());
        const bool may = dtype == DType::bf16 ? kernels::simd::has_bf16() : kernels::simd::has_int8();
        if (threads == 2 && may) CHECK(plan.describe().find("simd:rows") != std::string::npos);
        CHECK(difference(plan(x), want) == 0);
      }
    }
  }
  set_num_threads(2);
}

TEST_CASE("1×1 convolutions of the picture itself, which is converted on the way", "[infer]") {
  const NoGrad no_grad;
  const Model model = custom({std::make_shared<Conv2d>(3, 32, Conv2dOptions{.kernel = 1}),
                              std::make_shared<Conv2d>(32, 64, Conv2dOptions{.kernel = 1}),
                              std::make_shared<Conv2d>(64, 10, Conv2dOptions{.kernel = 1})},
                             32, 32, 3, [](const std::vector<ModulePtr>& p, const Tensor& x) {
                               return global_average_pool(p[2]->forward(relu(p[1]->forward(relu(p[0]->forward(x))))));
                             });
  const Tensor x = noise({1, 32, 32, 3}, 3);
  for (const DType dtype : {DType::bf16, DType::i8}) {
    set_num_threads(1);
    infer::Plan alone = infer::compile(model, {.input = x.shape(), .dtype = dtype});
    const Tensor want = alone(x).clone();
    set_num_threads(2);
    infer::Plan plan = infer::compile(model, {.input = x.shape(), .dtype = dtype});
    INFO(plan.describe());
    CHECK(difference(plan(x), want) == 0);
  }
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
