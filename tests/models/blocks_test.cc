// Networks whose blocks run again in backward (TrainingMode::Options::checkpoint_blocks): the same bits in less memory.
#include <map>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/device.h"
#include "core/rng.h"
#include "layers/ops/loss.h"
#include "models/model.h"
#include "models/zoo.h"

using namespace fovea;

namespace {

struct Step {
  std::map<std::string, std::vector<float>> values;
  std::int64_t peak = 0;  // bytes of tensors, above those before the step
};

Step step(const Model& model, DType precision, bool blocks) {
  Tensor x({4, 64, 64, 3});
  Rng rng(5, "pictures");
  for (float *v = x.mutable_data<float>(), *end = v + x.numel(); v != end; ++v) *v = static_cast<float>(rng.normal());
  const Tensor labels = Tensor::from<std::int64_t>({4}, {0, 1, 2, 0});
  const std::int64_t before = memory_stats().current;
  reset_peak_memory();
  {
    const TrainingMode mode({.seed = 1, .step = 7, .precision = precision, .checkpoint_blocks = blocks});
    Tape tape;
    tape.backward(cross_entropy(model(x), labels));
  }
  Step out;
  out.peak = memory_stats().peak - before;
  for (NamedTensor& t : model.network().named_tensors()) {
    out.values[t.name] = (t.is_buffer ? t.tensor : t.tensor.grad()).to(DType::f32).to_vector<float>();
    t.tensor.zero_grad();
  }
  return out;
}

}  // namespace

TEST_CASE("checkpointed blocks: gradients and running statistics to the bit, in less memory") {
  for (const char* name : {"mobilenet_v2", "resnet18", "efficientnet_lite0", "mobilenet_v3_small"}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      CAPTURE(name, to_string(precision));
      const auto model = [&] { return models::create(name, {.classes = 3, .image_size = 64, .seed = 2}); };
      const Step kept = step(model(), precision, false), again = step(model(), precision, true);
      CHECK(again.values == kept.values);
      CHECK(again.peak < kept.peak);
      // Of MobileNetV2's maps two thirds are inside of blocks; gradients of parameters remain.
      std::int64_t parameters = 0;
      const Model counted = model();
      for (const NamedTensor& t : counted.network().parameters())
        parameters += static_cast<std::int64_t>(t.tensor.nbytes());
      if (std::string(name) == "mobilenet_v2" && precision == DType::f32)
        CHECK(again.peak - parameters < 0.75 * static_cast<double>(kept.peak - parameters));
    }
  }
}

TEST_CASE("checkpointed blocks: frozen parts keep their bits, and what comes before them gets no gradient") {
  const auto frozen = [] {
    Model model = models::create("mobilenet_v2", {.classes = 3, .image_size = 64, .seed = 2});
    model.freeze_until("block_9");
    model.freeze("*.bn.*");
    return model;
  };
  const auto gradients = [](const Model& model, bool blocks) {
    const TrainingMode mode({.checkpoint_blocks = blocks});
    Tape tape;
    Tensor x = Tensor::full({2, 64, 64, 3}, 0.3);
    tape.backward(cross_entropy(model(x), Tensor::from<std::int64_t>({2}, {0, 2})));
    std::map<std::string, std::vector<float>> out;
    for (const NamedTensor& t : model.network().parameters()) {
      if (t.tensor.grad().defined()) out[t.name] = t.tensor.grad().to_vector<float>();
    }
    return out;
  };
  const auto kept = gradients(frozen(), false), again = gradients(frozen(), true);
  CHECK(kept.size() > 20);
  CHECK(again == kept);
}
