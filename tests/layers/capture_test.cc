// Capture: every op, run on the meta device without data, becomes a list that computes what the op computes, survives
// its text, and runs at another batch size.
#include <algorithm>
#include <thread>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/graph/op_list.h"
#include "layers/modules.h"
#include "layers/register_ops.h"
#include "op_cases.h"

using namespace fovea;
using namespace fovea::test;

namespace {

std::vector<Tensor> on_meta(const std::vector<Tensor>& operands) {
  std::vector<Tensor> out;
  for (const Tensor& t : operands) out.emplace_back(t.spec(), kMeta);
  return out;
}

std::vector<TensorSpec> specs_of(const std::vector<Tensor>& operands) {
  std::vector<TensorSpec> out;
  for (const Tensor& t : operands) out.push_back(t.spec());
  return out;
}

OpList capture(const TensorFunction& run, const std::vector<Tensor>& operands) {
  const std::vector<Tensor> shapes = on_meta(operands);
  Capture capture;
  for (const Tensor& t : shapes) capture.input(t);
  const Tensor y = run(shapes);
  CHECK(y.is_meta());
  return capture.finish({&y, 1});
}

}  // namespace

TEST_CASE("the table of op cases holds every registered op") {
  register_ops();
  std::vector<std::string> covered;
  for (const OpCase& op : op_cases()) covered.push_back(op.type);
  for (const std::string& type : registered_ops()) {
    if (type.starts_with("test_")) continue;  // other tests' own
    CAPTURE(type);
    CHECK(std::find(covered.begin(), covered.end(), type) != covered.end());
  }
}

TEST_CASE("every op captured on the meta device computes the same bits, at any batch, and after its text") {
  const OneThread one_thread;
  register_ops();
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const auto operands = op.operands({2, 4, 6, 4});
    const OpList list = capture(op.run, operands);
    REQUIRE(list.nodes.size() == 1);
    CHECK(list.nodes[0].op->type() == op.type);
    const Tensor direct = op.run(operands);
    CHECK(list.values[static_cast<std::size_t>(list.outputs[0])].spec == direct.spec());
    CHECK(same_bits(list.run(operands)[0], direct));

    const OpList read = OpList::from_json(list.to_json());
    CHECK(read.to_json() == list.to_json());
    CHECK(read.nodes[0].op->attributes() == list.nodes[0].op->attributes());
    CHECK(same_bits(read.run(operands)[0], direct));

    if (op.type == "slice_batch") continue;  // its ends are numbers
    const auto more = op.operands({5, 4, 6, 4});
    const Tensor larger = op.run(more);
    const std::vector<TensorSpec> inferred = read.infer(specs_of(more));
    CHECK(inferred[static_cast<std::size_t>(read.outputs[0])] == larger.spec());
    CHECK(same_bits(read.run(more)[0], larger));
  }
}

TEST_CASE("attributes of every op are refused when one is missing, of another type or out of range") {
  const OneThread one_thread;
  register_ops();
  for (const OpCase& op : op_cases()) {
    const OpList list = capture(op.run, op.operands({2, 4, 6, 4}));
    const OpPtr made = list.nodes[0].op;
    const Attributes& good = made->attributes();
    for (const auto& [name, value] : good.all()) {
      CAPTURE(op.name, name);
      Attributes without, mistyped;
      for (const auto& [other, kept] : good.all()) {
        if (other != name) without.set(other, kept);
        mistyped.set(other, other == name ? Attribute(std::vector<double>{0.5, 0.25, 0.125}) : kept);
      }
      const auto refuses = [&](const Attributes& a) {
        try {
          make_op(made->type(), a);
        } catch (const Error& e) {
          return e.kind() == ErrorKind::format || e.kind() == ErrorKind::usage;
        }
        return false;
      };
      CHECK(refuses(mistyped));
      // What is optional (a fused activation) may be left out; then the op must say so by not writing it back.
      if (!refuses(without)) CHECK_FALSE(make_op(made->type(), without)->attributes() == good);
    }
  }
}

TEST_CASE("a captured network knows the modules' names, and runs at any batch as the modules do") {
  register_ops();
  Sequential stem, net;
  stem.add("conv", Conv2d(3, 4, {.stride = 2, .padding = Padding::tf_same()})).add("bn", BatchNorm(4));
  stem.add("act", ReLU6());
  net.add("stem", std::move(stem)).add("block", Residual(ConvBnAct(4, 4, {.padding = 1})));
  net.add("drop", Dropout(0.5)).add("flat", Flatten()).add("head", Dense(64, 2));
  net.initialize(4);
  OpList list;
  {
    Capture capture;
    const Tensor x({1, 8, 8, 3}, DType::f32, kMeta);
    capture.input(x);
    for (const NamedTensor& t : net.named_tensors()) capture.parameter(t.tensor, t.name);
    const Tensor y = net(x);
    CHECK(y.shape() == Shape{1, 2});
    list = capture.finish({&y, 1});
  }
  std::vector<std::string> ops, names;
  for (const auto& node : list.nodes) ops.push_back(node.scope + " " + std::string(node.op->type()));
  for (const auto& value : list.values) {
    if (value.kind == OpList::ValueKind::parameter) names.push_back(value.name);
  }
  INFO(list.to_json());
  CHECK(ops == std::vector<std::string>{"stem.conv conv2d", "stem.bn batch_norm", "block.body.conv conv2d",
                                        "block.body.bn batch_norm", "block add", "drop dropout", "flat flatten",
                                        "head dense"});
  REQUIRE(names.size() == net.named_tensors().size());
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(names[i] == net.named_tensors()[i].name);
  for (const std::int64_t batch : {1, 3}) {
    const Tensor x = random({batch, 8, 8, 3}, "x").to(DType::f32);
    CHECK(same_bits(list.run({&x, 1})[0], net(x)));
  }
  // The list is recorded like the modules: gradients reach the same parameters.
  const Tensor x = random({3, 8, 8, 3}, "x").to(DType::f32);
  const auto gradient = [&](bool by_list) {
    net.zero_grad();
    const TrainingMode training({.seed = 3, .update_statistics = false});
    Tape tape;
    const Tensor y = by_list ? list.run({&x, 1})[0] : net(x);
    tape.backward(sum(multiply(y, y)));
    return net.tensor("stem.conv.weight").grad().clone();
  };
  CHECK(same_bits(gradient(true), gradient(false)));
}

TEST_CASE("a capture refuses what it cannot repeat") {
  const Tensor x({2, 3}, DType::f32, kMeta), other({2, 3}, DType::f32, kMeta);
  const auto kind_of = [](auto call) {
    try {
      call();
    } catch (const Error& e) {
      return static_cast<int>(e.kind());
    }
    return -1;
  };
  const int usage = static_cast<int>(ErrorKind::usage), device = static_cast<int>(ErrorKind::device);
  // A branch on data.
  CHECK(kind_of([&] { static_cast<void>(sum(x).item()); }) == device);
  CHECK(kind_of([&] { static_cast<void>(relu(x).data<float>()); }) == device);
  // Data-less operands from outside, results that are no results.
  CHECK(kind_of([&] {
          Capture capture;
          capture.input(x);
          static_cast<void>(add(x, other));
        }) == usage);
  CHECK(kind_of([&] {
          Capture capture;
          capture.input(x);
          static_cast<void>(relu(x));
          capture.finish({&other, 1});
        }) == usage);
  CHECK(kind_of([&] {
          Capture capture;
          capture.input(x);
          const Tensor y = relu(x);
          const OpList list = capture.finish({&y, 1});
          list.run({});
        }) == static_cast<int>(ErrorKind::shape));
  // After all of these nothing captures any more.
  Capture capture;
  capture.input(x);
  const Tensor y = relu(x);
  CHECK(capture.finish({&y, 1}).nodes.size() == 1);
}

TEST_CASE("captures nest, belong to their thread, and leave constants in the list") {
  const Tensor x({2}, DType::f32, kMeta), c = Tensor::from<float>({2}, {10, 20});
  Capture outer;
  outer.input(x);
  OpList list;
  {
    Capture inner;
    inner.input(x);
    const Tensor y = add(x, c);
    std::thread([&] { static_cast<void>(relu(c)); }).join();
    list = inner.finish({&y, 1});
  }
  const Tensor y = relu(x);
  CHECK(outer.finish({&y, 1}).nodes.size() == 1);
  REQUIRE(list.nodes.size() == 1);
  CHECK(list.values[1].name.starts_with("constant."));
  const Tensor in = Tensor::from<float>({2}, {1, 2});
  CHECK(list.run({&in, 1})[0].to_vector<double>() == std::vector<double>{11, 22});
}
