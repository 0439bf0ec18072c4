// Loading: what a weight file is taken for, what is refused and how, heads, and the way there and back.
#include <algorithm>
#include <filesystem>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/io/safetensors.h"
#include "core/rng.h"
#include "models/load.h"
#include "models/transfer.h"
#include "models/weights/weight_file.h"
#include "tests/temp_folder.h"

using namespace fovea;
using models::Layout;
using test::TempFolder;

namespace {

weights::WeightFile in_memory(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  weights::WeightFile file;
  file.path = "memory";
  for (const auto& [name, tensor] : tensors)
    file.tensors.push_back({name, tensor.shape(), tensor.dtype(), [t = tensor] { return t; }});
  return file;
}

Model small(double width = 0.35, int classes = 7) {
  Model model = models::create("mobilenet_v2", {.classes = classes, .image_size = 64, .seed = 3, .width = width});
  // Running statistics that are not the initial ones, so that a mix-up shows.
  for (const NamedTensor& t : model.network().buffers()) {
    Rng rng(7, t.name);
    Tensor values = t.tensor;
    for (std::int64_t i = 0; i < values.numel(); ++i)
      values.mutable_data<float>()[i] = static_cast<float>(0.5 + rng.uniform());
  }
  return model;
}

Tensor input_of(const Model& model) {
  Tensor x({2, model.preprocessing.height, model.preprocessing.width, 3});
  Rng rng(3, "input");
  for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(rng.normal());
  return x;
}

std::string error_of(const weights::WeightFile& file, const models::LoadOptions& options = {}) {
  try {
    models::load(file, options);
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("weights written in a layout are recognised there and give the same bits") {
  const Model model = small();
  const Tensor x = input_of(model);
  for (const Layout layout : {Layout::torchvision, Layout::timm}) {
    const models::Recognition r = models::recognize(in_memory(models::export_weights(model, layout)));
    CHECK(r.fits());
    CHECK(r.architecture == "mobilenet_v2");
    CHECK(r.options.layout == layout);
    CHECK(r.options.width == 0.35);
    CHECK(r.options.classes == 7);
    const Model back = models::load(in_memory(models::export_weights(model, layout)), {.image_size = 64});
    CHECK(back(x).to_vector<float>() == model(x).to_vector<float>());
  }
}

TEST_CASE("any width and depth is told from the file") {
  for (const double width : {0.35, 0.5, 0.83, 1.0, 1.3, 1.4}) {
    const models::Recognition r = models::recognize(in_memory(models::export_weights(small(width), Layout::timm)));
    CHECK(r.fits());
    // Channels are multiples of 8, so several widths build the same network.
    const Model again = models::create("mobilenet_v2", {.classes = 7, .width = r.options.width});
    CHECK(again.network().parameter_count() == small(width).network().parameter_count());
  }
  const Model deep = models::create("mobilenet_v2", {.classes = 3, .width = 0.5, .depth = 1.7});
  const models::Recognition r = models::recognize(in_memory(models::export_weights(deep, Layout::torchvision)));
  CHECK(r.fits());
  CHECK(models::create("mobilenet_v2", r.options).network().named_tensors().size() ==
        deep.network().named_tensors().size());
}

TEST_CASE("prefixes are taken off, and extra batch counters do not matter") {
  auto tensors = models::export_weights(small(), Layout::torchvision);
  tensors.emplace_back("features.0.1.num_batches_tracked", Tensor::zeros({}, DType::i64));
  for (auto& [name, tensor] : tensors) name = "model.backbone." + name;
  const models::Recognition r = models::recognize(in_memory(tensors));
  CHECK(r.fits());
  CHECK(r.prefix == "model.backbone.");
}

TEST_CASE("loading is strict: every missing, unexpected and misshapen tensor is named") {
  auto tensors = models::export_weights(small(), Layout::torchvision);
  std::erase_if(tensors, [](const auto& t) { return t.first == "features.5.conv.1.1.running_var"; });
  tensors.emplace_back("features.5.extra", Tensor::zeros({3}));
  for (auto& [name, tensor] : tensors) {
    if (name == "features.9.conv.3.weight") tensor = Tensor::zeros({5});
  }
  const std::string error = error_of(in_memory(tensors));
  CHECK(contains(error, "mobilenet_v2"));
  CHECK(contains(error, "torchvision"));
  CHECK(contains(error, "missing (1):\n    features.5.conv.1.1.running_var"));
  CHECK(contains(error, "unexpected (1):\n    features.5.extra"));
  CHECK(contains(error, "misshapen (1):\n    features.9.conv.3.weight is 5, expected "));
  CHECK(contains(error_of(in_memory({{"a.weight", Tensor::zeros({2, 3})}})), "a.weight 2×3"));
  CHECK(contains(error_of(in_memory({})), "0 tensors"));
  CHECK(contains(error_of(in_memory(models::export_weights(small(), Layout::timm)), {.model = "no_such"}), "no_such"));
  CHECK(
      contains(error_of(in_memory(models::export_weights(small(), Layout::timm)), {.layout = Layout::keras}), "keras"));
  CHECK(
      contains(error_of(in_memory(models::export_weights(small(), Layout::timm)), {.classes = 9}), "7 classes, not 9"));
}

TEST_CASE("names in a layout that the network does not have are refused, naming those it has") {
  const auto refusal = [](const Model& model, Layout layout) -> std::string {
    try {
      models::export_weights(model, layout);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
      return e.what();
    }
    return {};
  };
  const std::string mobile = refusal(small(), Layout::lukemelas);
  CHECK(contains(mobile, "mobilenet_v2 has no names in the layout lukemelas"));
  CHECK(contains(mobile, "it has: torchvision, timm, keras, huggingface, tfslim"));
  CHECK(contains(mobile, "layout fovea"));
  // Keras has no ResNets below 50 layers.
  const std::string resnet = refusal(models::create("resnet18", {.classes = 2, .image_size = 32}), Layout::keras);
  CHECK(contains(resnet, "it has: torchvision, timm, huggingface"));
  CHECK(contains(refusal(models::create("small_cnn"), Layout::timm), "in no other framework"));
}

TEST_CASE("integers where weights belong are refused by name") {
  auto tensors = models::export_weights(small(), Layout::torchvision);
  for (auto& [name, tensor] : tensors) {
    if (name == "classifier.1.bias") tensor = Tensor::zeros({7}, DType::i64);
  }
  CHECK(contains(error_of(in_memory(tensors)), "classifier.1.bias"));
}

TEST_CASE("heads: kept, replaced, removed; the rest stays bit-identical") {
  const TempFolder folder;
  const Model model = small();
  const auto tensors = models::export_weights(model, Layout::torchvision);
  const std::string file = folder / "m.fovea";
  save(model, file);
  const auto check = [&](const Model& other, int classes) {
    for (const NamedTensor& t : other.network().named_tensors()) {
      if (t.name.starts_with("classifier.")) continue;
      CHECK(t.tensor.to_vector<float>() == model.network().tensor(t.name).to_vector<float>());
    }
    const Tensor y = other(input_of(model));
    CHECK(y.dim(1) == classes);
  };
  const models::LoadOptions replace{.image_size = 64, .classes = 3, .head = Head::replace, .seed = 5};
  const models::LoadOptions remove{.image_size = 64, .head = Head::remove};
  check(models::load(in_memory(tensors), replace), 3);
  check(models::load(in_memory(tensors), remove), 1280);
  check(models::load(file, replace), 3);
  check(models::load(file, remove), 1280);
  check(replace_head(model, 4), 4);
  const Model a = models::load(file, replace), b = models::load(file, replace);
  CHECK(a.network().tensor("classifier.weight").to_vector<float>() ==
        b.network().tensor("classifier.weight").to_vector<float>());
  CHECK_THROWS_AS(replace_head(model, 0), Error);
}

TEST_CASE("a network is cut in two at any stage") {
  const Model model = small();
  const Tensor x = input_of(model);
  const std::vector<float> whole = model(x).to_vector<float>();
  for (const std::string& stage : stage_names(model)) {
    const auto [before, behind] = split_at(model, stage);
    CHECK((*behind)((*before)(x)).to_vector<float>() == whole);
  }
  CHECK_THROWS_AS(split_at(model, "block_99"), Error);
}
