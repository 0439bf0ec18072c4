// Fine-tuning: who learns and who keeps its bits.
#include "train/finetune.h"
#include "image/views.h"
#include "models/options.h"
#include "train/evaluation.h"

#include <cstring>
#include <map>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "models/transfer.h"
#include "models/zoo.h"
#include "tests/temp_folder.h"
#include "train/trainer.h"

using namespace fovea;

namespace {

Model small_network() {
  Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
  // Fresh statistics (0 and 1) would not show whether they are used or changed.
  for (NamedTensor& t : model.network().named_tensors()) {
    Rng rng(7, t.name);
    if (!t.is_buffer || t.tensor.dtype() != DType::f32) continue;
    const bool variance = t.name.find("running_var") != t.name.npos;
    float* v = t.tensor.mutable_data<float>();
    for (std::int64_t i = 0; i < t.tensor.numel(); ++i)
      v[i] = static_cast<float>(variance ? 0.5 + rng.uniform() : 0.2 * rng.uniform() - 0.1);
  }
  return model;
}

DatasetPtr noise_pictures() {
  Tensor pictures(Shape{16, 32, 32, 3}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < 16; ++i) {
    labels.push_back(i % 2);
    for (int j = 0; j < 32 * 32 * 3; ++j) *p++ = static_cast<std::uint8_t>(rng.below(156) + (i % 2 ? 100 : 0));
  }
  return std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b"});
}

std::map<std::string, std::vector<float>> values(const Model& model) {
  std::map<std::string, std::vector<float>> out;
  for (const NamedTensor& t : model.network().named_tensors()) out[t.name] = t.tensor.to(DType::f32).to_vector<float>();
  return out;
}

/// Trains three epochs with everything that touches weights (decay, averages, clipping, best weights) and says which
/// tensors changed a bit.
std::vector<std::string> changed(const FinetuneOptions& options, OptimizerConfig optimizer = AdamW{.lr = 1e-3}) {
  Model model = small_network();
  const auto before = values(model);
  TrainerOptions training;
  training.optimizer = optimizer;
  training.optimizer_options.lr_scales = begin_finetuning(model, options);
  training.epochs = 3;
  training.batch_size = 8;
  training.clip_norm = 1;
  training.ema = EmaOptions{.decay = 0.9};
  Trainer(model, training).fit(noise_pictures(), noise_pictures());
  std::vector<std::string> out;
  for (const auto& [name, now] : values(model)) {
    const std::vector<float>& then = before.at(name);
    if (std::memcmp(now.data(), then.data(), now.size() * sizeof(float)) != 0) out.push_back(name);
  }
  return out;
}

bool is_norm(const std::string& name) { return name.find(".bn.") != name.npos; }

}  // namespace

TEST_CASE("fine-tuning: frozen layers keep their bits") {
  SECTION("none: the classifier only") {
    CHECK(changed({.unfreeze = "none"}) == std::vector<std::string>{"classifier.bias", "classifier.weight"});
  }
  SECTION("from a stage on, batch norms as they are") {
    const std::vector<std::string> names = changed({.unfreeze = "block_15"});
    CHECK(names.size() == 9);  // three convolutions in each of two blocks, the head's, the classifier's two
    for (const std::string& name : names) {
      INFO(name);
      CHECK_FALSE(is_norm(name));
      CHECK((name.rfind("block_15.", 0) == 0 || name.rfind("block_16.", 0) == 0 || name.rfind("head.", 0) == 0 ||
             name.rfind("classifier.", 0) == 0));
    }
  }
  SECTION("all: every convolution, no batch norm") {
    for (const OptimizerConfig& optimizer :
         {OptimizerConfig(AdamW{.lr = 1e-3}), OptimizerConfig(SGD{.lr = 0.01, .weight_decay = 0.1})}) {
      const std::vector<std::string> names = changed({}, optimizer);
      CHECK(names.size() == 54);  // 52 convolutions, the classifier's weight and bias
      for (const std::string& name : names) CHECK_FALSE(is_norm(name));
    }
  }
  SECTION("batch norms too when asked for: scale, shift and statistics") {
    const std::vector<std::string> names = changed({.unfreeze = "head", .train_norm = true});
    CHECK(names == std::vector<std::string>{"classifier.bias", "classifier.weight", "head.bn.bias",
                                            "head.bn.running_mean", "head.bn.running_var", "head.bn.weight",
                                            "head.conv.weight"});
  }
}

TEST_CASE("fine-tuning: rates fall towards the stem") {
  Model model = small_network();
  const std::vector<LearningRateScale> scales = begin_finetuning(model, {.lr_decay = 0.5});
  REQUIRE(scales.size() == 20);  // stem, 17 blocks, head, classifier
  CHECK(scales.back().pattern == "classifier");
  CHECK(scales.back().scale == 1);
  CHECK(scales[18].pattern == "head");
  CHECK(scales[18].scale == 1);
  CHECK(scales[17].scale == 0.5);
  for (std::size_t i = 1; i < 19; ++i) CHECK(scales[i].scale == 2 * scales[i - 1].scale);
}

TEST_CASE("fine-tuning: errors say what there is") {
  Model model = small_network();
  try {
    begin_finetuning(model, {.unfreeze = "block_99"});
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::usage);
    CHECK(std::string(e.what()).find("block_16, head") != std::string::npos);
  }
  CHECK_THROWS_AS(begin_finetuning(model, {.lr_decay = 0}), Error);
  CHECK_THROWS_AS(begin_finetuning(model, {.lr_decay = 1.5}), Error);
}

TEST_CASE("training with blocks that run again ends in the same bits, and takes up a run without") {
  const test::TempFolder folder(true);
  const auto trained = [&](bool first_epoch, bool second_epoch) {
    Model model = models::create("mobilenet_v2", {.classes = 2, .image_size = 32, .seed = 3, .width = 0.35});
    TrainerOptions training;
    training.epochs = 2;
    training.batch_size = 8;
    training.seed = 4;
    training.checkpoint = folder / str("checkpoint", first_epoch, second_epoch);
    struct Stop : TrainObserver {
      void on_checkpoint(std::string_view) override { token.request(); }
      CancelToken token;
    } stop;
    training.observers = {&stop};
    training.cancel = &stop.token;
    training.checkpoint_blocks = first_epoch;
    Trainer(model, training).fit(noise_pictures());
    training.observers.clear();
    training.cancel = nullptr;
    training.resume = true;
    training.checkpoint_blocks = second_epoch;
    CHECK(Trainer(model, training).fit(noise_pictures()).epochs.size() == 2);
    return values(model);
  };
  const auto kept = trained(false, false);
  CHECK(trained(true, true) == kept);
  CHECK(trained(true, false) == kept);
}

TEST_CASE("predict() gives a mirrored model's answer, which mirror images share", "[train]") {
  Model model = models::create("small_cnn", {.classes = 4, .image_size = 28, .channels = 1});
  std::vector<float> values(2 * 28 * 28);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 101) / 101.0f;
  const Tensor x = Tensor::from<float>({2, 28, 28, 1}, values), turned = image::mirrored(x);
  CHECK(predict(model, x).to_vector<float>() != predict(model, turned).to_vector<float>());
  model.preprocessing.mirrored = true;
  CHECK(predict(model, x).to_vector<float>() == predict(model, turned).to_vector<float>());
}
