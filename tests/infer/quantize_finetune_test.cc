// Quantisation-aware fine-tuning: the module is the simulation, has gradients, and goes back to integers without loss.
#include "infer/quantize/finetune.h"

#include <cmath>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "layers/ops.h"
#include "models/options.h"
#include "settle.h"

using namespace fovea;
using test::noise, test::settle;

namespace {

infer::QuantizedModel quantized_model(Tensor& pictures) {
  Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 48, .seed = 5, .width = 0.35});
  settle(model, 48);
  pictures = noise({8, 48, 48, 3}, 81);
  infer::QuantizeOptions options;
  options.most_loss = 1;
  options.keep_f32 = {"classifier"};
  options.measure_layers = false;
  return infer::quantize(model, {&pictures, 1}, options);
}

}  // namespace

TEST_CASE("a quantised module is the simulation, and goes back to the same integers", "[quantize]") {
  Tensor x;
  const infer::QuantizedModel start = quantized_model(x);
  const auto module = std::make_shared<infer::QuantizedModule>(start);
  const NoGrad no_grad;
  const Tensor want = start.simulate(x);
  CHECK((*module)(x).to_vector<float>() == want.to_vector<float>());
  CHECK(module->quantized().simulate(x).to_vector<float>() == want.to_vector<float>());
  // 52 convolutions in integers, a weight and a bias each; the classifier stays as it is.
  CHECK(module->parameters(true).size() == 104);
}

TEST_CASE("a few steps on the integers' own loss lower it", "[quantize]") {
  Tensor x;
  const infer::QuantizedModel start = quantized_model(x);
  const auto module = std::make_shared<infer::QuantizedModule>(start);
  const Tensor labels = Tensor::from<std::int64_t>({8}, {0, 1, 2, 3, 4, 0, 1, 2});
  const auto loss_of = [&](const infer::QuantizedModel& q) {
    const NoGrad no_grad;
    return cross_entropy(q.simulate(x), labels).item();
  };
  const double before = loss_of(start);
  for (int step = 0; step < 24; ++step) {
    module->zero_grad();
    Tape tape;
    tape.backward(cross_entropy((*module)(x), labels));
    for (NamedTensor& p : module->parameters(true)) {
      REQUIRE(p.tensor.grad().defined());
      const Tensor grad = p.tensor.grad();
      double norm = 1e-12;
      for (std::int64_t i = 0; i < grad.numel(); ++i) norm += std::pow(static_cast<double>(grad.data<float>()[i]), 2);
      // A step of a hundredth of each tensor's size.
      double size = 0;
      for (std::int64_t i = 0; i < grad.numel(); ++i)
        size += std::pow(static_cast<double>(p.tensor.data<float>()[i]), 2);
      const auto rate = static_cast<float>(0.01 * std::sqrt(size / norm));
      float* const v = p.tensor.mutable_data<float>();
      for (std::int64_t i = 0; i < grad.numel(); ++i) v[i] -= rate * grad.data<float>()[i];
    }
  }
  const double after = loss_of(module->quantized());
  INFO(before << " and " << after);
  CHECK(after < 0.8 * before);
}
