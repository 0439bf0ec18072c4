// The tape on small ops made here: core knows no kernel.
#include "core/autograd/tape.h"

#include <thread>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/graph/op_list.h"

using namespace fovea;

namespace {

/// y = a·b elementwise, f64. Keeps both operands.
class Multiply final : public Op {
 public:
  std::string_view type() const override { return "test_multiply"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const override {
    if (in[0] != in[1]) throw Error(ErrorKind::shape, type(), "operands differ");
    return {in[0]};
  }
  void forward(ForwardContext& c) const override {
    double* y = c.allocate().mutable_data<double>();
    for (std::int64_t i = 0; i < c.in[0].numel(); ++i) y[i] = c.in[0].data<double>()[i] * c.in[1].data<double>()[i];
  }
  void backward(BackwardContext& c) const override {
    for (const std::size_t k : {0u, 1u}) {
      if (!c.needs[k]) continue;
      Tensor g = c.grad_out[0].clone();
      for (std::int64_t i = 0; i < g.numel(); ++i) g.mutable_data<double>()[i] *= c.in[1 - k].data<double>()[i];
      c.grad_in[k] = g;
    }
  }
};

/// y = x + shift; keeps nothing and passes the gradient on as it is.
class Shift final : public Op {
 public:
  explicit Shift(double by) : by_(by) {}
  std::string_view type() const override { return "test_shift"; }
  Attributes attributes() const override { return Attributes().set("by", Attribute(by_)); }
  static OpPtr make(const Attributes& a) { return std::make_shared<Shift>(a.get_double("by")); }
  std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const override { return {in[0]}; }
  void forward(ForwardContext& c) const override {
    Tensor& y = c.allocate();
    for (std::int64_t i = 0; i < y.numel(); ++i) y.mutable_data<double>()[i] = c.in[0].data<double>()[i] + by_;
  }
  void backward(BackwardContext& c) const override { c.grad_in[0] = c.grad_out[0]; }
  Keep keep() const override { return {0, 0}; }

 private:
  double by_;
};

Tensor multiply(const Tensor& a, const Tensor& b) { return run_op1(std::make_shared<Multiply>(), {a, b}); }
Tensor shift(const Tensor& a, double by) { return run_op1(std::make_shared<Shift>(by), {a}); }
Tensor leaf(double value) { return Tensor::full({1}, value, DType::f64).set_requires_grad(); }

}  // namespace

TEST_CASE("gradients follow the product and chain rules") {
  Tensor x = leaf(3), y = leaf(4);
  Tape tape;
  // (x·y + 1)·x: d/dx = 2xy + 1, d/dy = x²
  tape.backward(multiply(shift(multiply(x, y), 1), x));
  CHECK(x.grad().item() == 25);
  CHECK(y.grad().item() == 9);
}

TEST_CASE("a tensor used several times collects all its gradients, and passes add up") {
  Tensor x = leaf(5);
  for (int pass = 1; pass <= 3; ++pass) {
    Tape tape;
    Tensor shared = shift(x, 0);
    tape.backward(multiply(shared, shared));  // x²
    CHECK(x.grad().item() == 10 * pass);
  }
  x.zero_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("only what needs a gradient gets one") {
  Tensor x = leaf(2);
  const Tensor constant = Tensor::full({1}, 7, DType::f64);
  Tape tape;
  const Tensor y = multiply(x, constant);
  CHECK(tape.size() == 1);
  multiply(constant, constant);
  CHECK(tape.size() == 1);
  {
    const NoGrad guard;
    CHECK_FALSE(is_recording());
    multiply(x, x);
  }
  CHECK(tape.size() == 1);
  tape.backward(y);
  CHECK(x.grad().item() == 7);
  CHECK_FALSE(constant.grad().defined());
}

TEST_CASE("backward refuses what it cannot do") {
  Tensor x = leaf(2);
  {
    Tape tape;
    CHECK_THROWS_AS(tape.backward(x), Error);
    CHECK_THROWS_AS(tape.backward(Tensor()), Error);
  }
  {
    Tape tape;
    Tensor wide = Tensor::ones({3}, DType::f64).set_requires_grad();
    const Tensor y = multiply(wide, wide);
    CHECK_THROWS_AS(tape.backward(y), Error);
    tape.backward(y, Tensor::from<double>({3}, {1, 10, 100}));
    CHECK(wide.grad().to_vector<double>() == std::vector<double>{2, 20, 200});
    CHECK_THROWS_AS(tape.backward(y), Error);  // the tape is empty now
  }
}

TEST_CASE("an operand overwritten after the forward pass is noticed") {
  Tensor x = leaf(2);
  Tape tape;
  Tensor y = multiply(x, x);
  x.fill(3);
  try {
    tape.backward(y);
    FAIL("went unnoticed");
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find("overwritten") != std::string::npos);
  }
  // One that backward does not read may be overwritten.
  Tape second;
  Tensor z = shift(x, 1);
  x.fill(4);
  second.backward(z);
  CHECK(x.grad().item() == 1);
}

TEST_CASE("memory that backward does not read is released during the forward pass") {
  const Tensor x = Tensor::ones({1000}, DType::f64).set_requires_grad();
  Tape tape;
  const std::int64_t before = memory_stats().current;
  Tensor y = shift(x, 1);
  for (int i = 0; i < 10; ++i) y = shift(y, 1);
  CHECK(memory_stats().current == before + 8000);
}

TEST_CASE("a tape of 100 000 nodes neither overflows the stack going back nor being destroyed") {
  Tensor x = leaf(1);
  {
    Tape tape;
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = shift(y, 1);
    tape.backward(y);
  }
  CHECK(x.grad().item() == 1);
  Tape abandoned;
  Tensor y = x;
  for (int i = 0; i < 100000; ++i) y = shift(y, 1);
  CHECK(abandoned.size() == 100000);
}

TEST_CASE("tapes nest and belong to their thread") {
  Tensor x = leaf(3);
  Tape outer;
  const Tensor y = multiply(x, x);
  {
    Tape inner;
    inner.backward(multiply(x, x));
    CHECK(x.grad().item() == 6);
  }
  std::thread([&] { CHECK_FALSE(is_recording()); }).join();
  outer.backward(y);
  CHECK(x.grad().item() == 12);
}

TEST_CASE("modes are guards of this thread") {
  CHECK_FALSE(is_training());
  {
    const TrainingMode training;
    CHECK(is_training());
    {
      const InferenceMode inference;
      CHECK_FALSE(is_training());
    }
    CHECK(is_training());
    std::thread([] { CHECK_FALSE(is_training()); }).join();
  }
  CHECK_FALSE(is_training());
}

TEST_CASE("a captured pass is a list that runs, infers and survives its text") {
  register_op("test_shift", &Shift::make);
  register_op("test_multiply", [](const Attributes&) -> OpPtr { return std::make_shared<Multiply>(); });
  const Tensor w = Tensor::full({2}, 10, DType::f64);
  const Tensor x({2}, DType::f64, kMeta);
  Capture capture;
  capture.input(x);
  capture.parameter(w, "scale");
  Tensor y;
  {
    const NameScope scope("block");
    y = shift(multiply(x, w), 0.5);
  }
  OpList list = capture.finish({&y, 1});
  REQUIRE(list.nodes.size() == 2);
  CHECK(list.nodes[0].scope == "block");
  const Tensor in = Tensor::from<double>({2}, {1, 2});
  CHECK(list.run({&in, 1})[0].to_vector<double>() == std::vector<double>{10.5, 20.5});

  OpList again = OpList::from_json(list.to_json());
  CHECK(again.to_json() == list.to_json());
  CHECK(again.values[1].name == "scale");
  again.values[1].tensor = w;
  CHECK(again.run({&in, 1})[0].to_vector<double>() == std::vector<double>{10.5, 20.5});
  const TensorSpec spec{{2}, DType::f64};
  CHECK(again.infer({&spec, 1}).back() == spec);
}

TEST_CASE("a damaged op list is refused, whatever is wrong with it") {
  register_op("test_shift", &Shift::make);
  const std::string good =
      R"({"version":1,"inputs":[0],"outputs":[1],"values":[{"kind":"input","dtype":"f64","shape":[2]},)"
      R"({"kind":"intermediate","dtype":"f64","shape":[2]}],"nodes":[{"op":"test_shift","in":[0],"out":[1],"scope":"","attributes":{"by":1.5}}]})";
  CHECK(OpList::from_json(good).nodes.size() == 1);
  const auto broken = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string("null"), broken("\"version\":1", "\"version\":2"),
        broken("\"in\":[0]", "\"in\":[7]"), broken("\"in\":[0]", "\"in\":[1]"), broken("\"in\":[0]", "\"in\":[-2]"),
        broken("\"out\":[1]", "\"out\":[0]"), broken("\"out\":[1]", "\"out\":[9]"), broken("test_shift", "no_such_op"),
        broken("\"by\"", "\"bye\""), broken("1.5", "\"x\""), broken("1.5", "[null]"), broken("f64", "f8"),
        broken("[2]", "[-2]"), broken("\"outputs\":[1]", "\"outputs\":[5]"), broken("intermediate", "nonsense"),
        broken("[2]", "[9223372036854775807, 9]")}) {
    CAPTURE(text);
    CHECK_THROWS_AS(OpList::from_json(text), Error);
  }
  for (std::size_t n = 0; n < good.size(); ++n) REQUIRE_THROWS_AS(OpList::from_json(good.substr(0, n)), Error);
}
