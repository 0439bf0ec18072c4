// The tree of named tensors: names, freezing by pattern, what a frozen batch norm does, strict loading.
#include <cmath>
#include <memory>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "layers/grad_check.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "support.h"

using namespace fovea;
using namespace fovea::test;

namespace {

/// stem (convolution, batch norm), block (the same, inside a residual block), head.
Sequential small_net() {
  Sequential stem, net;
  stem.add("conv", Conv2d(3, 4, {.bias = false})).add("bn", BatchNorm(4)).add("act", ReLU());
  net.add("stem", std::move(stem));
  net.add("block", Residual(ConvBnAct(4, 4, {.padding = 1})));
  net.add("pool", GlobalAveragePool());
  net.add("head", Dense(4, 2));
  net.initialize(5);
  return net;
}

std::vector<std::string> names_of(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& t : tensors) names.push_back(t.name);
  return names;
}

std::string message_of(const std::function<void()>& call, ErrorKind kind) {
  try {
    call();
  } catch (const Error& e) {
    CHECK(e.kind() == kind);
    return e.what();
  }
  FAIL_CHECK("no error");
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// One forward and backward pass of Σ y² in training mode; y. The input wants a gradient, so that a wholly frozen
/// module has something to do.
Tensor train_once(Module& module, const Tensor& input, Tensor* input_gradient = nullptr) {
  Tensor x = input.clone();
  x.set_requires_grad();
  const TrainingMode training;
  Tape tape;
  const Tensor y = module(x);
  tape.backward(sum(multiply(y, y)));
  if (input_gradient) *input_gradient = x.grad();
  return y;
}

}  // namespace

TEST_CASE("parameters and buffers form one tree of names in order of registration") {
  const Sequential net = small_net();
  using Names = std::vector<std::string>;
  CHECK(names_of(net.named_tensors()) ==
        Names{"stem.conv.weight", "stem.bn.weight", "stem.bn.bias", "stem.bn.running_mean", "stem.bn.running_var",
              "block.body.conv.weight", "block.body.bn.weight", "block.body.bn.bias", "block.body.bn.running_mean",
              "block.body.bn.running_var", "head.weight", "head.bias"});
  CHECK(names_of(net.buffers()) == Names{"stem.bn.running_mean", "stem.bn.running_var", "block.body.bn.running_mean",
                                         "block.body.bn.running_var"});
  CHECK(net.parameters().size() == 8);
  CHECK(net.parameter_count() == 3 * 3 * 3 * 4 + 2 * 4 + 3 * 3 * 4 * 4 + 2 * 4 + 4 * 2 + 2);
  for (const NamedTensor& t : net.named_tensors()) {
    CAPTURE(t.name);
    CHECK(t.is_buffer == (t.name.find("running") != std::string::npos));
    CHECK(t.tensor.requires_grad() == !t.is_buffer);
    if (t.is_buffer) continue;
    const bool norm = t.name.find("bn.") != std::string::npos;
    CHECK(t.role == (norm ? ParameterRole::norm : t.name == "head.bias" ? ParameterRole::bias : ParameterRole::weight));
  }
  CHECK(net.tensor("head.weight").shape() == Shape{4, 2});
  const std::string told = message_of([&] { net.tensor("head.wieght"); }, ErrorKind::usage);
  CHECK(contains(told, "did you mean 'head.weight'?"));
}

TEST_CASE("a module that stands in two places has its tensors once, under the first name") {
  const auto shared = std::make_shared<Dense>(3, 3);
  Sequential net(shared, ReLU(), shared);
  CHECK(names_of(net.named_tensors()) == std::vector<std::string>{"0.weight", "0.bias"});
  CHECK(net.parameter_count() == 12);
  // Both uses add to the one gradient: d/dw of w·w·x.
  Sequential twice;
  const auto scale = std::make_shared<Dense>(1, 1, DenseOptions{.bias = false});
  scale->tensor("weight").fill(3);
  twice.add(scale).add(scale);
  train_once(twice, Tensor::full({1, 1}, 2));  // (9·2)², derivative 2·18·(2·3·2)
  CHECK(scale->tensor("weight").grad().item() == Approx(432));
  // It is one tensor after a change of type, and may be loaded under either name.
  net.to(DType::f64);
  CHECK(net.named_tensors().size() == 2);
  const Tensor w = Tensor::full({3, 3}, 7), b = Tensor::full({3}, 8);
  net.load({{"2.weight", w}, {"0.bias", b}});
  CHECK(net.tensor("0.weight").to_vector<double>() == std::vector<double>(9, 7));
  CHECK(net.tensor("2.bias").to_vector<double>() == std::vector<double>(3, 8));
}

TEST_CASE("names that would make the tree ambiguous are refused") {
  Sequential net{ReLU()};
  for (const char* bad : {"a.b", "*", "x?", "0"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(net.add(bad, ReLU()), Error);
  }
  CHECK_THROWS_AS(net.add("null", ModulePtr()), Error);
  const auto self = std::make_shared<Sequential>();
  CHECK_THROWS_AS(self->add("inner", ModulePtr(self)), Error);
  const auto outer = std::make_shared<Sequential>();
  outer->add("middle", ModulePtr(self));
  CHECK_THROWS_AS(self->add("outer", ModulePtr(outer)), Error);
}

TEST_CASE("freezing goes by path, pattern and position, and says how much it froze") {
  Sequential net = small_net();
  const auto trainable = [&] { return names_of(net.parameters(true)); };
  using Names = std::vector<std::string>;
  CHECK(net.freeze("stem") == 3);
  CHECK(trainable() ==
        Names{"block.body.conv.weight", "block.body.bn.weight", "block.body.bn.bias", "head.weight", "head.bias"});
  CHECK(net.freeze("*.bn.*") == 4);  // those of the stem count again
  CHECK(trainable() == Names{"block.body.conv.weight", "head.weight", "head.bias"});
  CHECK(net.unfreeze() == 8);
  CHECK(trainable().size() == 8);
  CHECK(net.freeze("hea?.b*") == 1);
  CHECK(net.freeze("head.weight") == 1);
  CHECK(trainable().size() == 6);
  net.unfreeze();
  net.freeze_until("head");
  CHECK(trainable() == Names{"head.weight", "head.bias"});
  net.unfreeze();
  net.freeze_until("block.body.bn");
  CHECK(trainable() == Names{"block.body.bn.weight", "block.body.bn.bias", "head.weight", "head.bias"});

  net.unfreeze();
  CHECK(contains(message_of([&] { net.freeze("haed"); }, ErrorKind::usage), "did you mean 'head'?"));
  CHECK(contains(message_of([&] { net.freeze_until("block.bdy"); }, ErrorKind::usage), "did you mean 'body'?"));
  // A path ends at a dot: "hea" is no prefix of "head.weight".
  CHECK_THROWS_AS(net.freeze("hea"), Error);
  CHECK_THROWS_AS(net.freeze("head.weight.x"), Error);
  CHECK(trainable().size() == 8);  // errors froze nothing
}

TEST_CASE("freezing survives training mode, change of type and initialisation") {
  Sequential net = small_net();
  net.freeze("stem");
  const Tensor x = random({2, 7, 7, 3}, "x").to(DType::f32);
  const auto check = [&] {
    net.zero_grad();
    train_once(net, x.to(net.tensor("head.weight").dtype()));
    for (const NamedTensor& p : net.parameters()) {
      CAPTURE(p.name);
      CHECK(p.tensor.grad().defined() == !p.name.starts_with("stem"));
    }
    CHECK(net.parameters(true).size() == 5);
  };
  check();
  check();  // the guard of the first pass is gone
  net.to(DType::f64);
  check();
  net.initialize(9);
  check();
  CHECK(net.tensor("stem.bn.running_mean").to_vector<double>() == std::vector<double>(4, 0.0));
  CHECK(net.tensor("block.body.bn.running_mean").to_vector<double>() != std::vector<double>(4, 0.0));
}

TEST_CASE("a frozen batch norm neither uses nor updates batch statistics") {
  const Tensor x = random({8, 2}, "x", 1, 4).to(DType::f32), mean = Tensor::from<float>({2}, {0.5f, -1}),
               variance = Tensor::from<float>({2}, {4, 0.25f}), gamma = Tensor::from<float>({2}, {2, 3}),
               beta = Tensor::from<float>({2}, {1, -1});
  const auto by_formula = [&](const Tensor& y) {
    for (int i = 0; i < 16; ++i) {
      const int c = i % 2;
      const double want = (x.data<float>()[i] - mean.data<float>()[c]) /
                              std::sqrt(static_cast<double>(variance.data<float>()[c]) + 1e-5) *
                              static_cast<double>(gamma.data<float>()[c]) +
                          static_cast<double>(beta.data<float>()[c]);
      if (y.data<float>()[i] != Approx(want)) return false;
    }
    return true;
  };
  const std::vector<NamedTensor> values{
      {"weight", gamma}, {"bias", beta}, {"running_mean", mean}, {"running_var", variance}};
  BatchNorm norm(2);
  norm.load(values);
  const Tensor before = norm.tensor("running_mean").clone();
  const auto moved = [&] { return !same_bits(norm.tensor("running_mean"), before); };

  CHECK_FALSE(norm.frozen());
  CHECK_FALSE(by_formula(train_once(norm, x)));
  CHECK(moved());

  norm.load(values);
  norm.zero_grad();
  norm.freeze();
  CHECK(norm.frozen());
  CHECK(by_formula(train_once(norm, x)));
  CHECK_FALSE(moved());
  CHECK(same_bits(norm.tensor("running_var"), variance));
  CHECK_FALSE(norm.tensor("weight").grad().defined());

  // The gradient goes through as through a fixed affine map.
  Tensor dx;
  train_once(norm, x, &dx);
  for (int i = 0; i < 16; ++i) {
    const int c = i % 2;
    const double scale =
        static_cast<double>(gamma.data<float>()[c]) / std::sqrt(static_cast<double>(variance.data<float>()[c]) + 1e-5);
    const double y = (static_cast<double>(x.data<float>()[i]) - static_cast<double>(mean.data<float>()[c])) * scale +
                     static_cast<double>(beta.data<float>()[c]);
    CHECK(dx.data<float>()[i] == Approx(2 * y * scale));
  }

  norm.unfreeze();
  CHECK_FALSE(by_formula(train_once(norm, x)));
  CHECK(moved());

  // One frozen parameter does not make a frozen layer.
  norm.load(values);
  norm.freeze("weight");
  CHECK_FALSE(norm.frozen());
  train_once(norm, x);
  CHECK(moved());
  CHECK(norm.tensor("bias").grad().defined());

  // Without scale and shift there is nothing to freeze but the statistics.
  Sequential bare;
  bare.add("bn", BatchNorm(2, {}, false, false));
  CHECK(bare.freeze("bn") == 2);
  train_once(bare, x);
  CHECK(bare.tensor("bn.running_mean").to_vector<double>() == std::vector<double>{0, 0});
  CHECK(bare.unfreeze("bn") == 2);
  train_once(bare, x);
  CHECK(bare.tensor("bn.running_mean").to_vector<double>() != std::vector<double>{0, 0});
}

TEST_CASE("loading lists every missing, unexpected and misshapen tensor, and then changes nothing") {
  Sequential net = small_net();
  std::vector<NamedTensor> given;
  for (const NamedTensor& t : net.named_tensors())
    given.push_back({t.name, Tensor::full(t.tensor.shape(), 3, DType::f64)});
  const std::vector<NamedTensor> good = given;
  const Tensor before = net.tensor("stem.conv.weight").clone();

  given[0].name = "stem.conv.kernel";
  given[10].tensor = Tensor::zeros({2, 4});
  given.push_back({"head.extra", Tensor::zeros({1})});
  given.push_back({"head.bias", Tensor::zeros({2})});
  const std::string told = message_of([&] { net.load(given); }, ErrorKind::format);
  for (const char* part : {"1 missing: stem.conv.weight", "2 unexpected: stem.conv.kernel, head.extra",
                           "1 of another shape: head.weight (model 4×2, given 2×4)", "1 given twice: head.bias",
                           "'stem.conv.kernel' may be 'stem.conv.weight'"}) {
    CAPTURE(told, part);
    CHECK(contains(told, part));
  }
  CHECK(same_bits(net.tensor("stem.conv.weight"), before));
  CHECK(net.tensor("head.bias").to_vector<double>() != std::vector<double>{0, 0});

  const std::uint64_t version = net.tensor("head.weight").version();
  net.load(good);  // f64 values in an f32 model
  for (const NamedTensor& t : net.named_tensors()) {
    CAPTURE(t.name);
    CHECK(t.tensor.dtype() == DType::f32);
    CHECK(t.tensor.to_vector<double>() == std::vector<double>(static_cast<std::size_t>(t.tensor.numel()), 3.0));
    CHECK(t.tensor.requires_grad() == !t.is_buffer);
  }
  CHECK(net.tensor("head.weight").version() > version);  // packed copies of the old values are stale

  CHECK(contains(message_of([&] { net.load({}); }, ErrorKind::format), "12 missing: "));
  CHECK(contains(message_of([&] { net.load({{"x", Tensor()}}); }, ErrorKind::format), "1 unexpected: x"));
  std::vector<NamedTensor> hollow = good;
  hollow[3].tensor = Tensor();
  CHECK(contains(message_of([&] { net.load(hollow); }, ErrorKind::format), "given nothing"));
}

TEST_CASE("first values depend on the seed and the name only") {
  Sequential a = small_net(), b = small_net();
  a.initialize(21);
  b.initialize(21);
  for (const NamedTensor& t : a.named_tensors()) CHECK(same_bits(t.tensor, b.tensor(t.name)));
  b.initialize(22);
  CHECK_FALSE(same_bits(a.tensor("stem.conv.weight"), b.tensor("stem.conv.weight")));
  // Another net with a tensor of the same name and shape, built in another order.
  Sequential c, stem;
  stem.add("other", Dense(9, 9)).add("conv", Conv2d(3, 4, {.bias = false}));
  c.add("stem", std::move(stem));
  c.initialize(21);
  CHECK(same_bits(a.tensor("stem.conv.weight"), c.tensor("stem.conv.weight")));
  // Statistics begin anew.
  train_once(a, random({2, 7, 7, 3}, "x").to(DType::f32));
  CHECK(a.tensor("stem.bn.running_mean").to_vector<double>() != std::vector<double>(4, 0.0));
  a.initialize(21);
  CHECK(a.tensor("stem.bn.running_mean").to_vector<double>() == std::vector<double>(4, 0.0));
  CHECK(a.tensor("stem.bn.running_var").to_vector<double>() == std::vector<double>(4, 1.0));
}

TEST_CASE("modules refuse sizes that cannot be, with the sizes in the text") {
  CHECK(contains(message_of([] { Conv2d(6, 8, {.groups = 4}); }, ErrorKind::usage), "6 and 8 channels"));
  CHECK(contains(message_of([] { Conv2d(0, 8); }, ErrorKind::usage), "0 to 8"));
  CHECK(contains(message_of([] { ConvTranspose2d(4, 6, {.groups = 4}); }, ErrorKind::usage), "4 and 6"));
  CHECK(contains(message_of([] { Dense(0, 8); }, ErrorKind::usage), "0 to 8"));
  CHECK_THROWS_AS(BatchNorm(0), Error);
  CHECK_THROWS_AS(LayerNorm(-1), Error);
  CHECK(contains(message_of([] { GroupNorm(3, 8); }, ErrorKind::usage), "8 channels do not divide into 3"));
  CHECK_THROWS_AS(Dropout(1), Error);
  CHECK_THROWS_AS(Dropout(-0.1), Error);
  CHECK_THROWS_AS(Branch(Join::sum)(Tensor::zeros({1, 1})), Error);
  Sequential net = small_net();
  const std::string told = message_of([&] { net(Tensor::zeros({1, 7, 7, 4})); }, ErrorKind::shape);
  CAPTURE(told);
  CHECK(contains(told, "[conv2d]"));
  CHECK(contains(told, "3"));
  CHECK(contains(told, "4"));
}

TEST_CASE("a fused activation gives what the two modules give one after the other") {
  const OneThread one_thread;
  const Tensor x = random({2, 5, 6, 3}, "x", -3, 3).to(DType::f32);
  for (const Activation kind : {Activation::relu, Activation::relu6, Activation::leaky_relu, Activation::sigmoid,
                                Activation::silu, Activation::gelu, Activation::tanh}) {
    CAPTURE(kernels::to_string(kind));
    const std::vector<ModulePtr> heads{std::make_shared<Conv2d>(3, 4), std::make_shared<BatchNorm>(3),
                                       std::make_shared<Dense>(3, 4), std::make_shared<ConvTranspose2d>(3, 4)};
    for (const ModulePtr& head : heads) {
      CAPTURE(head->kind());
      const auto act = std::make_shared<ActivationModule>(ActivationParams{kind, 0.2});
      Sequential both(head, act);
      const TrainingMode training({.update_statistics = false});
      CHECK(relative_difference(both(x), (*act)((*head)(x))) < 1e-6);
    }
  }
}

TEST_CASE("a convolution with a frozen batch norm trains as one op with the same results and gradients") {
  for (const bool bias : {false, true}) {
    for (const Activation activation : {Activation::none, Activation::relu6, Activation::silu}) {
      for (const int groups : {1, 4}) {
        INFO("bias " << bias << ", activation " << static_cast<int>(activation) << ", groups " << groups);
        ConvBnAct block(4, 4,
                        {.kernel = 3,
                         .stride = 2,
                         .padding = Padding::tf_same(),
                         .groups = groups,
                         .bias = bias,
                         .norm = BatchNormOptions::keras(),
                         .activation = {activation}});
        block.initialize(5);
        std::vector<NamedTensor> values;
        for (const NamedTensor& t : block.named_tensors()) {
          if (t.name.starts_with("bn.")) {
            Tensor v = random(t.tensor.shape(), t.name, 0.5, 1.5).to(DType::f32);
            values.push_back({t.name, v});
          } else {
            values.push_back({t.name, t.tensor.clone()});
          }
        }
        block.load(values);
        block.freeze("bn");
        const Tensor x = random({2, 5, 6, 4}, "x").to(DType::f32);
        Tensor y;
        {
          const TrainingMode training;
          y = block(x);
        }
        const std::vector<float> got = y.to_vector<float>(), want = block(x).to_vector<float>();  // apart, in inference
        for (std::size_t i = 0; i < want.size(); ++i) CHECK(got[i] == Approx(want[i]).margin(1e-5));
        const GradCheckReport report = check_module_gradients(block, x, {.training = true});
        INFO(report.text);
        CHECK(report.ok);
        for (const NamedTensor& t : values) {
          if (t.name.starts_with("bn.")) CHECK(same_bits(block.tensor(t.name), t.tensor));
        }
      }
    }
  }
}
