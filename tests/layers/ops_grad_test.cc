// Gradients of every op over odd, even, one and empty sizes, and tests of the checker itself.
#include "catch.h"
#include "core/autograd/tape.h"
#include "core/graph/op.h"
#include "layers/modules.h"
#include "op_cases.h"

using namespace fovea;
using namespace fovea::test;

TEST_CASE("gradients of every op over odd, even, one and empty sizes") {
  const OneThread one_thread;
  const Shape shapes[] = {{3, 5, 3, 7}, {2, 4, 6, 4}, {1, 1, 1, 1}, {0, 4, 3, 4}};
  for (const OpCase& op : op_cases()) {
    for (const Shape& shape : shapes) {
      const auto operands = op.operands(shape);
      GradCheckOptions options = op.options;
      const auto report = check_gradients(op.run, operands, options);
      INFO(op.name << " on " << shape.to_string() << ": " << report.text);
      CHECK(report.ok);
      if (shape[0] > 0) CHECK(report.checked > 0);
    }
  }
}

TEST_CASE("gradients of empty extents other than the batch") {
  const OneThread one_thread;
  const auto check = [](const char* name, const TensorFunction& run, const std::vector<Tensor>& operands) {
    const auto report = check_gradients(run, operands);
    INFO(name << ": " << report.text);
    CHECK(report.ok);
  };
  check("concat with an empty part", [](const std::vector<Tensor>& t) { return concat(t, 1); },
        {random({2, 0}, "a"), random({2, 3}, "b")});
  check("sum of nothing", [](const std::vector<Tensor>& t) { return sum(t[0], {1}); }, {random({2, 0}, "a")});
  check("relu of nothing", [](const std::vector<Tensor>& t) { return relu(t[0]); }, {random({2, 0}, "a")});
}

TEST_CASE(
    "every op over empty rows, columns, channels and all: a result with gradients, or an error that names the op") {
  const OneThread one_thread;
  const Shape shapes[] = {{2, 0, 3, 4}, {2, 3, 0, 4}, {2, 3, 5, 0}, {0, 0, 0, 0}, {0, 4, 3, 1}};
  int computed = 0, refused = 0;
  for (const OpCase& op : op_cases()) {
    for (const Shape& shape : shapes) {
      CAPTURE(op.name, shape.to_string());
      try {
        // Labels below 0 classes cannot be drawn: the shape rule is what is asked, and labels of no row.
        const bool no_class = shape[3] == 0 && (op.type == "cross_entropy" || op.type == "focal");
        const auto operands =
            no_class ? std::vector<Tensor>{random(shape, "x"),
                                           Tensor::zeros({shape[0], shape[1], shape[2]}, DType::i64), random({0}, "w")}
                     : op.operands(shape);
        const auto report = check_gradients(op.run, operands, op.options);
        INFO(report.text);
        CHECK(report.ok);
        ++computed;
      } catch (const Error& e) {
        const std::string text = e.what();
        CAPTURE(text);
        CHECK(e.kind() == ErrorKind::shape);
        CHECK(text.starts_with("[" + op.type + "]"));
        CHECK(text.size() > op.type.size() + 15);
        ++refused;
      }
    }
  }
  CAPTURE(computed, refused);
  CHECK(computed > 3 * refused);  // refusing is for what has no meaning: the mean of nothing, weights of no extent
}

namespace {

// y = x² with a gradient that is wrong in the way its name says.
class WrongOp final : public Op {
 public:
  enum Fault { none, factor, one_element, accumulates, leaves_out, forgets };
  explicit WrongOp(Fault fault) : fault_(fault) {}
  std::string_view type() const override { return "wrong"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const override { return {in[0]}; }
  void forward(ForwardContext& context) const override {
    const double* x = context.in[0].data<double>();
    double* y = context.allocate().mutable_data<double>();
    for (std::int64_t i = 0; i < context.in[0].numel(); ++i) y[i] = x[i] * x[i];
  }
  void backward(BackwardContext& context) const override {
    if (fault_ == forgets) return;
    context.grad_in[0] = Tensor(context.in_spec[0]);
    const double *x = context.in[0].data<double>(), *dy = context.grad_out[0].data<double>();
    double* dx = context.grad_in[0].mutable_data<double>();
    for (std::int64_t i = 0; i < context.in[0].numel(); ++i) {
      const double right = 2 * x[i] * dy[i];
      if (fault_ == leaves_out && i == 3) continue;
      if (fault_ == accumulates) {
        dx[i] += right;
      } else {
        dx[i] = fault_ == factor ? 1.00001 * right : fault_ == one_element && i == 5 ? -right : right;
      }
    }
  }

 private:
  Fault fault_;
};

GradCheckReport check_wrong(WrongOp::Fault fault) {
  return check_gradients(
      [=](const std::vector<Tensor>& t) { return run_op1(std::make_shared<WrongOp>(fault), {t[0]}); },
      {random({2, 4}, "x", 0.5, 1)}, {.names = {"x"}});
}

}  // namespace

TEST_CASE("the gradient checker catches wrong gradients and names the element") {
  const OneThread one_thread;
  const auto right = check_wrong(WrongOp::none);
  INFO(right.text);
  CHECK(right.ok);
  CHECK(right.checked == 8);
  CHECK_FALSE(check_wrong(WrongOp::factor).ok);  // one part in 100 000
  const auto one = check_wrong(WrongOp::one_element);
  CHECK_FALSE(one.ok);
  CHECK(one.worst.find("x[1, 1]") == 0);
  // Memory is NaN first, so these fail although leftover memory may happen to be zero.
  CHECK_FALSE(check_wrong(WrongOp::accumulates).ok);
  const auto left = check_wrong(WrongOp::leaves_out);
  CHECK_FALSE(left.ok);
  CHECK(left.worst.find("x[0, 3]") == 0);
  CHECK_FALSE(check_wrong(WrongOp::forgets).ok);
}

TEST_CASE("gradients of modules, which come back as they were") {
  const OneThread one_thread;
  Sequential net(
      Conv2d(2, 4, {.padding = 1}), BatchNorm(4), ReLU6(), MaxPool2d(2),
      Residual(Sequential(ConvBnAct(4, 4, {.padding = 1, .activation = {Activation::silu}})), {Activation::tanh}),
      Branch(Join::concat, DepthwiseConv2d(4, {.padding = 1, .multiplier = 2}), GroupNorm(2, 4),
             AvgPool2d(3, {.stride = 1, .padding = 1})),
      Branch(Join::product, ConvTranspose2d(16, 3), ConvTranspose2d(16, 3)), LayerNorm(3), AdaptiveAveragePool({2, 3}),
      Resize({3, 3}), Flatten(), Dropout(0.3), Dense(27, 5), HardSwish(), Dense(5, 2), Sigmoid());
  net.initialize(3);
  const auto before = net.named_tensors();
  std::vector<std::vector<double>> values;
  for (const auto& t : before) values.push_back(t.tensor.to_vector<double>());
  for (const bool training : {false, true}) {
    // The step must not cross kinks of the ReLUs and ties of the pooling between random activations; a small step makes
    // that unlikely.
    const auto report = check_module_gradients(
        net, random({2, 6, 6, 2}, "input").to(DType::f32),
        {.step = 1e-6, .relative = 1e-5, .absolute = 1e-6, .max_elements = 40, .training = training});
    INFO(report.text);
    CHECK(report.ok);
    CHECK(report.checked > 300);
  }
  const auto after = net.named_tensors();
  REQUIRE(after.size() == before.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    CHECK(after[i].tensor.dtype() == DType::f32);
    CHECK(after[i].tensor.to_vector<double>() == values[i]);
    CHECK(after[i].tensor.requires_grad() == !after[i].is_buffer);
    CHECK_FALSE(after[i].tensor.grad().defined());
  }
}
