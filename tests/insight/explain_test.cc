// Methods of explanation on networks whose answer can be worked out by hand.
#include "insight/explain.h"

#include <cmath>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "insight/faithfulness.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/options.h"

using namespace fovea;
using namespace fovea::insight;

namespace {

constexpr int kSide = 12;

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Tensor x(shape);
  Rng rng(seed, "explain_test");
  for (float *p = x.mutable_data<float>(), *end = p + x.numel(); p != end; ++p) *p = static_cast<float>(rng.normal());
  return x;
}

Model with_preprocessing(Sequential net, int side = kSide) {
  Model model(std::move(net));
  model.preprocessing.width = model.preprocessing.height = side;
  return model;
}

/// Convolution (bias, ReLU), mean, dense.
Model small_net() {
  Sequential net;
  net.add("conv", Conv2d(3, 5, {.kernel = 3, .stride = 2, .padding = 1, .activation = {Activation::relu}}));
  net.add("pool", GlobalAveragePool());
  net.add("classifier", Dense(5, 4));
  return with_preprocessing(std::move(net));
}

/// logit k = Σ w_k · x: every gradient is known.
Model linear_net() {
  Sequential net;
  net.add("flatten", Flatten());
  net.add("classifier", Dense(kSide * kSide * 3, 3));
  return with_preprocessing(std::move(net));
}

double greatest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    worst =
        std::max(worst, std::abs(static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i])));
  return worst;
}

template <class Fn>
Error error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e;
  }
  FAIL("no error");
  return Error(ErrorKind::usage, "", "");
}

}  // namespace

TEST_CASE("explain: Grad-CAM behind a mean is the dense layer's weights over the channels") {
  const Model model = small_net();
  const Tensor x = noise({1, kSide, kSide, 3}, 1);
  Explainer explainer(model);
  const Explanation why = explainer(x, {.target = 2});
  CHECK(why.layer == "conv.act");
  CHECK(explainer.default_layer() == "conv.act");
  CHECK(why.target == 2);
  const Tensor weight = model.network().tensor("classifier.weight");  // [5, 4]
  const Tensor kernel = model.network().tensor("conv.weight"), bias = model.network().tensor("conv.bias");
  const Tensor maps =
      relu(conv2d(x, kernel, bias, Conv2dParams{.stride = {2, 2}, .padding = Padding::symmetric(1, 1)}));
  Tensor want({6, 6});
  for (std::int64_t p = 0; p < 36; ++p) {
    double sum = 0;
    for (std::int64_t c = 0; c < 5; ++c)
      sum += static_cast<double>(maps.data<float>()[p * 5 + c]) * static_cast<double>(weight.data<float>()[c * 4 + 2]) /
             36;
    want.mutable_data<float>()[p] = static_cast<float>(std::max(0.0, sum));
  }
  CHECK(greatest_difference(why.raw, want) < 1e-7);
  CHECK(greatest_difference(why.map, enlarge(want, kSide, kSide)) < 1e-7);
  CHECK_FALSE(why.is_signed);
  // [H,W,C] is taken too, and the most likely class is the default.
  const Explanation other = explainer(x.view_as(Shape{kSide, kSide, 3}));
  CHECK(other.target == other.predicted);
  CHECK(greatest_difference(explain(model, x, {.target = 2}).map, why.map) == 0);
}

TEST_CASE("explain: gradient methods on a linear network are its weights") {
  const Model model = linear_net();
  const Tensor x = noise({1, kSide, kSide, 3}, 2);
  const Tensor weight = model.network().tensor("classifier.weight");  // [432, 3]
  const Tensor black = filled(x, model.preprocessing, Fill::black);
  for (const bool precise : {true, false}) {
    ExplainOptions options{.method = Method::integrated_gradients, .target = 1};
    options.integrated_gradients = {.steps = 7, .precise = precise};
    const Explanation why = explain(model, x, options);
    double worst = 0;
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const double want = static_cast<double>(weight.data<float>()[i * 3 + 1]) *
                          (static_cast<double>(x.data<float>()[i]) - static_cast<double>(black.data<float>()[i]));
      worst = std::max(worst, std::abs(want - static_cast<double>(why.raw.data<float>()[i])));
    }
    CHECK(worst < 1e-6);
    CHECK(why.completeness == Approx(1).epsilon(1e-4));
    CHECK(why.is_signed);
  }
  const Explanation smooth =
      explain(model, x, {.method = Method::smooth_grad, .target = 0, .smooth_grad = {.samples = 3}});
  double want = 0;
  for (int c = 0; c < 3; ++c) want += std::abs(static_cast<double>(weight.data<float>()[(17 * 3 + c) * 3]));
  CHECK(static_cast<double>(smooth.map.data<float>()[17]) == Approx(want).epsilon(1e-5));
}

TEST_CASE("explain: integrated gradients take midpoints, which are exact where gradients are linear") {
  // logit k = Σ w_k·x²: one step is enough, and where it is taken shows.
  class Squares : public Module {
   public:
    std::string_view kind() const override { return "Squares"; }
    Tensor forward(const Tensor& x) override { return multiply(x, x); }
  };
  Sequential net;
  net.add("square", Squares());
  net.add("flatten", Flatten());
  net.add("classifier", Dense(kSide * kSide * 3, 3));
  const Model model = with_preprocessing(std::move(net));
  for (const int steps : {1, 3}) {
    ExplainOptions options{.method = Method::integrated_gradients, .target = 1};
    options.integrated_gradients.steps = steps;
    CHECK(explain(model, noise({1, kSide, kSide, 3}, 4), options).completeness == Approx(1).epsilon(1e-4));
  }
}

TEST_CASE("explain: the gradient at a layer inside a branch is that of finite differences") {
  Sequential body(Conv2d(6, 6, {.padding = 1}), ReLU(), Conv2d(6, 6, {.padding = 1}));
  Sequential net;
  net.add("stem", Conv2d(3, 6, {.padding = 1}));
  net.add("block", Residual(std::move(body), {Activation::relu}));
  net.add("pool", GlobalAveragePool());
  net.add("classifier", Dense(6, 3));
  const Model model = with_preprocessing(std::move(net));
  const Tensor x = noise({1, kSide, kSide, 3}, 3);
  Explainer explainer(model);
  CHECK(explainer.default_layer() == "block");  // behind the addition and its activation
  const Explanation why = explainer(x, {.target = 1, .layer = "block.body.2"});
  CHECK(why.layer == "block.body.2");
  // A constant added to a channel of that layer's result is a change of its bias: the mean gradient times the extent.
  const Tensor parameter = model.network().tensor("block.body.2.bias");
  Tensor bias = parameter;
  const Tensor stem = model.network().tensor("stem.weight"), stem_bias = model.network().tensor("stem.bias");
  const Conv2dParams same{.padding = Padding::symmetric(1, 1)};
  const Tensor inside = conv2d(conv2d(x, stem, stem_bias, same), model.network().tensor("block.body.0.weight"),
                               model.network().tensor("block.body.0.bias"), same);
  const Tensor inner = conv2d(relu(inside), model.network().tensor("block.body.2.weight"), bias, same);
  std::vector<double> alpha;
  for (int c = 0; c < 6; ++c) {
    const float old = bias.data<float>()[c];
    double side[2];
    for (const int sign : {1, -1}) {
      bias.mutable_data<float>()[c] = old + 1e-2f * static_cast<float>(sign);
      side[sign < 0] = static_cast<double>(model(x).data<float>()[1]);
    }
    bias.mutable_data<float>()[c] = old;
    alpha.push_back((side[0] - side[1]) / 2e-2 / (kSide * kSide));
  }
  double worst = 0, largest = 0;
  for (std::int64_t p = 0; p < kSide * kSide; ++p) {
    double sum = 0;
    for (std::size_t c = 0; c < 6; ++c)
      sum += alpha[c] * static_cast<double>(inner.data<float>()[p * 6 + static_cast<std::int64_t>(c)]);
    worst = std::max(worst, std::abs(std::max(0.0, sum) - static_cast<double>(why.raw.data<float>()[p])));
    largest = std::max(largest, std::abs(sum));
  }
  CHECK(worst < 0.02 * largest);  // ReLUs that switch within the difference
}

TEST_CASE("explain: occlusion and LIME find the square that decides") {
  // The classes compare the mean of the square [4, 8) × [4, 8) with nothing.
  Model model = linear_net();
  Tensor weight = model.network().tensor("classifier.weight"), bias = model.network().tensor("classifier.bias");
  weight.zero();
  bias.zero();
  const auto inside = [](std::int64_t p) {
    const std::int64_t y = p / kSide, x = p % kSide;
    return y >= 4 && y < 8 && x >= 4 && x < 8;
  };
  for (std::int64_t p = 0; p < kSide * kSide; ++p) {
    for (int c = 0; c < 3 && inside(p); ++c) weight.mutable_data<float>()[(p * 3 + c) * 3] = 0.05f;
  }
  Tensor x({1, kSide, kSide, 3});
  for (std::int64_t p = 0; p < kSide * kSide; ++p) {
    for (int c = 0; c < 3; ++c) x.mutable_data<float>()[p * 3 + c] = inside(p) ? 2.0f : -1.5f;
  }
  ExplainOptions lime{.method = Method::lime, .target = 0};
  lime.lime = {.segments = 9, .samples = 200, .fill = Fill::grey, .seeds = 2, .top = 1};
  ExplainOptions occlusion{.method = Method::occlusion, .target = 0};
  occlusion.occlusion = {.window = 4, .stride = 2};
  Explainer explainer(model);
  for (const ExplainOptions& options : {lime, occlusion}) {
    const Explanation why = explainer(x, options);
    INFO(to_string(options.method));
    double in = 0, out = 0;
    for (std::int64_t p = 0; p < kSide * kSide; ++p)
      (inside(p) ? in : out) += static_cast<double>(why.map.data<float>()[p]);
    CHECK(in / 16 > 5 * std::abs(out / (kSide * kSide - 16)));
    CHECK(why.is_signed);
    if (options.method != Method::lime) {
      // Squares begin at -2, 0, …, 10, so that the corners are covered as often as the middle.
      CHECK(why.raw.shape() == Shape{7, 7});
      continue;
    }
    CHECK(why.stability == 1);
    CHECK(why.fit > 0.8);
    CHECK(why.top.size() == 2);
    ExplainOptions once = options;
    once.lime.seeds = 1;
    CHECK(greatest_difference(explainer(x, once).raw, why.raw) <
          0.2 * greatest_difference(why.raw, Tensor::zeros(why.raw.shape())));
    // The same seed gives the same bits, another one other bits.
    CHECK(greatest_difference(explainer(x, options).map, why.map) == 0);
    ExplainOptions other = options;
    other.seed = 2;
    CHECK(greatest_difference(explainer(x, other).map, why.map) > 0);
  }
}

TEST_CASE("explain: every method runs on networks of the zoo, whatever the batch size") {
  for (const char* name : {"mobilenet_v3_small", "resnet18"}) {
    const Model model = models::create(name, {.classes = 5, .image_size = 48, .seed = 3});
    const Tensor x = noise({1, 48, 48, 3}, 5);
    Explainer explainer(model);
    INFO(name << " " << explainer.default_layer());
    for (const Method method : all_methods()) {
      INFO(to_string(method));
      ExplainOptions options{.method = method, .target = 3};
      options.integrated_gradients.steps = 3;
      options.smooth_grad.samples = 3;
      options.lime.samples = 20;
      if (method == Method::score_cam) options.layer = "stem";
      const Explanation why = explainer(x, options);
      CHECK(why.map.shape() == Shape{48, 48});
      CHECK(why.method == method);
      options.batch_size = 5;
      // Other batches take other kernels: rounding only.
      double largest = 0;
      for (const float v : why.map.values<float>()) largest = std::max(largest, std::abs(static_cast<double>(v)));
      CHECK(greatest_difference(explainer(x, options).map, why.map) <= 1e-3 * largest + 1e-7);
    }
  }
}

TEST_CASE("explain: what is wrong is said") {
  const Model model = small_net();
  const Tensor x = noise({1, kSide, kSide, 3}, 1);
  Explainer explainer(model);
  CHECK(error_of([&] { explainer(x, {.target = 4}); }).kind() == ErrorKind::usage);
  CHECK(error_of([&] { explainer(x, {.target = -1}); }).kind() == ErrorKind::usage);
  const Error layer = error_of([&] { explainer(x, {.layer = "head"}); });
  CHECK(layer.kind() == ErrorKind::usage);
  CHECK(std::string(layer.what()).find("conv.act") != std::string::npos);
  CHECK(error_of([&] { explainer(x, {.layer = "classifier"}); }).kind() == ErrorKind::usage);  // no map
  CHECK(error_of([&] { explainer(noise({2, kSide, kSide, 3}, 1)); }).kind() == ErrorKind::shape);
  CHECK(error_of([&] { explainer(Tensor()); }).kind() == ErrorKind::shape);
  CHECK(error_of([&] { explainer(noise({1, kSide, kSide, 1}, 1)); }).kind() == ErrorKind::shape);
  CHECK(error_of([&] { explainer(x, {.method = Method::lime, .lime = {.segments = 1}}); }).kind() == ErrorKind::usage);
  CHECK(error_of([&] {
          explainer(x, {.method = Method::occlusion, .occlusion = {.window = 2, .stride = 3}});
        }).kind() == ErrorKind::usage);
  CHECK(error_of([&] { Explainer{linear_net()}(x); }).kind() == ErrorKind::usage);  // no convolution
  CHECK(error_of([&] {
          const NoGrad no_grad;
          explainer(x);
        }).kind() == ErrorKind::usage);
  CHECK(error_of([&] { method_from_string("gradcan"); }).kind() == ErrorKind::usage);
  CancelToken cancel;
  cancel.request();
  CHECK(error_of([&] { explainer(x, {.method = Method::smooth_grad, .cancel = &cancel}); }).kind() ==
        ErrorKind::cancelled);
  Tensor bad = x.clone();
  bad.fill(std::nan(""));
  CHECK(error_of([&] { Explainer{linear_net()}(bad, {.method = Method::occlusion, .target = 0}); }).kind() ==
        ErrorKind::numeric);
  Sequential maps;
  maps.add("conv", Conv2d(3, 5));
  CHECK(error_of([&] { Explainer{with_preprocessing(std::move(maps))}; }).kind() == ErrorKind::usage);
}

TEST_CASE("explain: the network's input and its picture tell each other") {
  image::Preprocessing p;
  p.width = 5;
  p.height = 4;
  p.rule = image::ResizeRule::stretch;
  p.order = image::ChannelOrder::bgr;
  image::Image picture(5, 4, 3);
  for (std::size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<std::uint8_t>(i * 37 % 256);
  Tensor x({1, 4, 5, 3});
  image::to_floats(picture, p, x.mutable_data<float>());
  CHECK(picture_of(x, p) == picture);
  CHECK(picture_of(filled(x, p, Fill::black), p) == image::Image(5, 4, 3, 0));
  CHECK(filled(x, p, Fill::grey).data<float>()[7] == 0);
  p.mean = {0, 0, 0};
  CHECK(std::abs(picture_of(filled(x, p, Fill::grey), p).at(1, 1, 1) - 127.5) < 1);
  const Tensor mean = filled(x, p, Fill::mean), blur = filled(x, p, Fill::blur);
  double sum = 0;
  for (std::int64_t i = 1; i < x.numel(); i += 3) sum += static_cast<double>(x.data<float>()[i]);
  CHECK(static_cast<double>(mean.data<float>()[1]) == Approx(sum / 20));
  CHECK(greatest_difference(filled(mean, p, Fill::blur), mean) < 1e-6);
  CHECK(greatest_difference(blur, x) > 0);
}

TEST_CASE("explain: deletion and insertion follow a known network; ranks of maps") {
  const Model model = linear_net();
  const Tensor x = noise({1, kSide, kSide, 3}, 9);
  Explainer explainer(model);
  const Explanation why = explainer(
      x, {.method = Method::integrated_gradients, .target = 0, .integrated_gradients = {.baseline = Fill::grey}});
  const Curve deletion = deletion_curve(explainer, x, 0, why.map, {.steps = 144});
  const Curve insertion = insertion_curve(explainer, x, 0, why.map, {.steps = 10, .insertion_fill = Fill::grey});
  CHECK(deletion.share.size() == 145);
  CHECK(deletion.probability.front() == Approx(why.probability).epsilon(1e-5));
  CHECK(deletion.probability.front() == Approx(insertion.probability.back()).epsilon(1e-5));
  CHECK(deletion.probability.back() == Approx(insertion.probability.front()).epsilon(1e-5));
  CHECK(deletion.share.back() == 1);
  double area = 0;
  for (std::size_t i = 1; i < insertion.share.size(); ++i) {
    const double width = insertion.share[i] - insertion.share[i - 1];
    area += width * (insertion.probability[i - 1] + insertion.probability[i]) / 2;
  }
  CHECK(insertion.area == Approx(area).epsilon(1e-9));
  // On a linear network the order by attribution is the best one for the difference of its logit.
  Tensor opposite = why.map.clone();
  for (float *v = opposite.mutable_data<float>(), *end = v + opposite.numel(); v != end; ++v) *v = -*v;
  CHECK(deletion.area < deletion_curve(explainer, x, 0, opposite).area);
  CHECK(rank_correlation(why.map, opposite) == Approx(-1));
  CHECK(rank_correlation(why.map, why.map) == Approx(1));
  CHECK(rank_correlation(why.map, Tensor::ones(why.map.shape())) == 0);
  const Tensor a = Tensor::from(Shape{1, 4}, {1.0f, 2.0f, 2.0f, 3.0f}),
               b = Tensor::from(Shape{1, 4}, {5.0f, 5.0f, 7.0f, 9.0f});
  CHECK(rank_correlation(a, b) == Approx(5.0 / 6));  // scipy.stats.spearmanr: 0.8333
  CHECK(error_of([&] { deletion_curve(explainer, x, 0, a); }).kind() == ErrorKind::shape);
}
