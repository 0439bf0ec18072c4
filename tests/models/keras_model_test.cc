// Keras models around a network of the zoo, from configs written here: what stands before and behind the network, what
// is refused, and layers that are known by class and number only. tests/interop/keras_files.py does the same with files
// that Keras wrote.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/rng.h"
#include "layers/ops.h"
#include "models/golden.h"
#include "models/load.h"
#include "models/transfer.h"
#include "models/weights/weight_file.h"
#include "models/zoo.h"

using namespace fovea;
using models::Layout;
using nlohmann::json;

namespace {

constexpr int kSize = 32;

Model network(models::Top top, const char* name = "mobilenet_v2") {
  models::Options options;
  options.layout = Layout::keras;
  options.width = std::string(name) == "mobilenet_v2" ? 0.1 : 0;
  options.top = top;
  options.classes = 7;
  return models::create(name, options);
}

Tensor random(Shape shape, const char* name, double low = -1, double high = 1) {
  Tensor t(shape);
  Rng rng(5, name);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(low + (high - low) * rng.uniform());
  return t;
}

json layer(const std::string& kind, const std::string& name, json config = json::object()) {
  config["name"] = name;
  return {{"class_name", kind}, {"name", name}, {"config", config}, {"module", "keras.layers"}};
}
json operation(const std::string& kind, const std::string& name) {
  json l = layer(kind, name);
  l["module"] = "keras.src.ops.numpy";
  return l;
}
json tensor(const std::string& from) {
  return {{"class_name", "__keras_tensor__"}, {"config", {{"keras_history", {from, 0, 0}}}}};
}
/// `l` applied to what `from` gives, and further arguments.
json on(json l, const std::string& from, const json& more = json::array()) {
  json args = json::array({tensor(from)});
  for (const json& one : more) args.push_back(one);
  l["inbound_nodes"] = json::array({{{"args", args}, {"kwargs", json::object()}}});
  return l;
}
json input(const std::string& name, int channels = 3) {
  return layer("InputLayer", name, {{"batch_shape", {nullptr, kSize, kSize, channels}}});
}
json functional(const std::string& name, const json& layers) {
  return {{"class_name", "Functional"},
          {"name", name},
          {"config", {{"name", name}, {"layers", layers}, {"output_layers", {{layers.back()["name"], 0, 0}}}}}};
}

/// A layer after the other.
json chained(json layers) {
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (!layers[i].contains("inbound_nodes")) layers[i] = on(layers[i], layers[i - 1]["name"]);
  }
  return layers;
}

/// The network's layers, one after the other: how they are connected is not looked at.
json backbone_layers(const Model& model, const std::string& after) {
  json layers = json::array();
  std::string last = after;
  for (const models::LayerName& n :
       models::mobilenet_v2_names(*models::find_architecture("mobilenet_v2"), model.options, Layout::keras).layers) {
    using enum models::LayerKind;
    if (n.kind == plain || n.kind == dense) continue;
    const char* kind = n.kind == norm ? "BatchNormalization" : n.kind == depthwise ? "DepthwiseConv2D" : "Conv2D";
    layers.push_back(on(layer(kind, n.source), last));
    last = n.source;
  }
  layers.push_back(on(layer("ReLU", "out_relu", {{"max_value", 6.0}}), last));
  return layers;
}

weights::WeightFile file_of(const std::vector<std::pair<std::string, Tensor>>& tensors, const json& config = {}) {
  weights::WeightFile file;
  file.path = "memory";
  file.format = "Keras";
  for (const auto& [name, t] : tensors) file.tensors.push_back({name, t.shape(), t.dtype(), [t = t] { return t; }});
  if (!config.is_null()) file.metadata.emplace_back("keras.config", config.dump());
  return file;
}

/// before → nested backbone → behind.
json around(const Model& backbone, json before, json behind) {
  json layers = json::array({input("photo")});
  for (json& l : before) layers.push_back(l);
  layers = chained(layers);
  json inner = json::array({input("inner")});
  for (const json& l : backbone_layers(backbone, "inner")) inner.push_back(l);
  layers.push_back(on(functional("backbone", inner), layers.back()["name"]));
  for (const json& l : behind) layers.push_back(l);
  return functional("model", chained(layers));
}

const json kPool = layer("GlobalAveragePooling2D", "gap");
const json kDense = layer("Dense", "dense", {{"units", 4}, {"activation", "softmax"}});

struct Parts {
  Model backbone = network(models::Top::none);
  Tensor kernel = random({1280, 4}, "kernel"), bias = random({4}, "bias");
  std::vector<std::pair<std::string, Tensor>> tensors = models::export_weights(backbone, Layout::keras);

  Parts() {
    tensors.emplace_back("dense/kernel", kernel);
    tensors.emplace_back("dense/bias", bias);
  }
  Tensor logits(const Tensor& x) const { return add(matmul_dense(global_average_pool(backbone(x))), bias); }
  Tensor matmul_dense(const Tensor& features) const { return dense(features, kernel, {}); }
};

std::string error_of(const json& config, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  try {
    models::load(file_of(tensors, config));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// The part of an error's text that was expected, or all of it.
std::string part_of(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos ? part : text;
}

}  // namespace

TEST_CASE("a Keras transfer model is its backbone between what its config says") {
  const Parts parts;
  const Tensor x = random({2, kSize, kSize, 3}, "x", 0, 255);
  const Tensor ready = affine(x, 1 / 127.5, -1);
  const json dropout = layer("Dropout", "drop", {{"rate", 0.3}});

  SECTION("rescaling layers") {
    const json before = {layer("RandomFlip", "flip"),
                         layer("Rescaling", "scale", {{"scale", 1 / 127.5}, {"offset", -1}})};
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, before, {kPool, dropout, kDense})));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
    CHECK(model.architecture == "mobilenet_v2");
    CHECK(model.options.classes == 4);
    CHECK(model.options.top == models::Top::classifier);
    CHECK(model.preprocessing.width == kSize);
    CHECK(model.preprocessing.scale == 1);
    CHECK(model.preprocessing.mean == std::array<float, 3>{0, 0, 0});
    const std::vector<std::string> stages = stage_names(model);
    CHECK(stages.front() == "preprocessing");
    CHECK(std::vector<std::string>(stages.end() - 4, stages.end()) ==
          std::vector<std::string>{"head", "pool", "dropout", "classifier"});
  }
  SECTION("operations on tensors") {
    const json before = {on(operation("TrueDivide", "true_divide"), "photo", {127.5}),
                         on(operation("Subtract", "subtract"), "true_divide", {1.0})};
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, before, {kPool, kDense})));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
  }
  SECTION("operations on tensors in Keras 2") {
    json divide = layer("TFOpLambda", "divide", {{"function", "math.truediv"}});
    divide["inbound_nodes"] = json::array({{"photo", 0, 0, {{"y", 127.5}, {"name", nullptr}}}});
    json subtract = layer("TFOpLambda", "subtract", {{"function", "math.subtract"}});
    subtract["inbound_nodes"] = json::array({{"divide", 0, 0, {{"y", 1.0}, {"name", nullptr}}}});
    const Model model =
        models::load(file_of(parts.tensors, around(parts.backbone, {divide, subtract}, {kPool, kDense})));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
  }
  SECTION("blue first, means subtracted, divided per channel") {
    json before = json::array();
    const json ellipsis = json::object({{"class_name", "__ellipsis__"}});
    for (const int c : {2, 1, 0})
      before.push_back(on(operation("GetItem", "item_" + std::to_string(c)), "photo", json::array({{ellipsis, c}})));
    json stack = operation("Stack", "stack");
    stack["inbound_nodes"] = json::array({{{"args", {{tensor("item_2"), tensor("item_1"), tensor("item_0")}}}}});
    before.push_back(stack);
    const json constant = json::parse(
        R"({"class_name": "__tensor__", "config": {"dtype": "float32", "value": [[[[-100.0, -110.0, -120.0]]]]}})");
    before.push_back(on(operation("Add", "add"), "stack", json::array({constant})));
    before.push_back(layer("Normalization", "norm", {{"mean", {1.0, 2.0, 3.0}}, {"variance", {100.0, 400.0, 900.0}}}));
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, before, {kPool, kDense})));
    Tensor by_hand(x.shape());
    const float* from = x.data<float>();
    for (std::int64_t i = 0; i < x.numel() / 3; ++i) {
      const float mean[] = {101, 112, 123}, deviation[] = {10, 20, 30};
      for (int c = 0; c < 3; ++c)
        by_hand.mutable_data<float>()[3 * i + c] = (from[3 * i + 2 - c] - mean[c]) / deviation[c];
    }
    CHECK(greatest_difference(model(x), parts.logits(by_hand)) <= 1e-4);
  }
  SECTION("a normalisation with tensors, which is no part of the network") {
    std::vector<std::pair<std::string, Tensor>> tensors = parts.tensors;
    Tensor mean({3}), variance({3});
    std::fill_n(mean.mutable_data<float>(), 3, 0.5f);
    std::fill_n(variance.mutable_data<float>(), 3, 0.25f);
    tensors.emplace_back("norm/mean", mean);
    tensors.emplace_back("norm/variance", variance);
    tensors.emplace_back("norm/count", Tensor::zeros({}, DType::i64));
    const json before = {layer("Rescaling", "scale", {{"scale", 1 / 255.0}, {"offset", 0}}),
                         layer("Normalization", "norm")};
    const Model model = models::load(file_of(tensors, around(parts.backbone, before, {kPool, kDense})));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
  }
  SECTION("no preprocessing: the convention of Keras for this network") {
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, {}, {kPool, kDense})));
    CHECK(model.preprocessing.scale == 1 / 127.5);
    CHECK(greatest_difference(model(ready), parts.logits(ready)) <= 2e-5);
  }
  SECTION("not nested") {
    json layers =
        json::array({input("photo"), on(layer("Rescaling", "scale", {{"scale", 1 / 127.5}, {"offset", -1}}), "photo")});
    for (const json& l : backbone_layers(parts.backbone, "scale")) layers.push_back(l);
    layers.push_back(kPool);
    layers.push_back(kDense);
    const Model model = models::load(file_of(parts.tensors, functional("model", chained(layers))));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
  }
  SECTION("a Sequential of models") {
    json inner = json::array({input("inner")});
    for (const json& l : backbone_layers(parts.backbone, "inner")) inner.push_back(l);
    const json augmentation = {
        {"class_name", "Sequential"},
        {"config", {{"name", "augment"}, {"layers", json::array({layer("RandomZoom", "zoom")})}}}};
    const json config = {
        {"class_name", "Sequential"},
        {"config",
         {{"name", "all"},
          {"layers",
           {input("photo"), augmentation, layer("Rescaling", "scale", {{"scale", 1 / 127.5}, {"offset", -1}}),
            functional("backbone", inner), kPool, kDense}}}}};
    const Model model = models::load(file_of(parts.tensors, config));
    CHECK(greatest_difference(model(x), parts.logits(ready)) <= 2e-5);
  }
}

TEST_CASE("heads of Keras models are built as they stand") {
  Parts parts;
  const Tensor x = random({2, kSize, kSize, 3}, "x");
  const Tensor features = parts.backbone(x);
  const Tensor hidden = random({1280, 1280}, "hidden", -0.05, 0.05);
  const json dense_hidden = layer("Dense", "hidden", {{"units", 1280}, {"activation", "relu"}, {"use_bias", false}});

  SECTION("two dense layers behind the maximum") {
    parts.tensors.emplace_back("hidden/kernel", hidden);
    json linear = kDense;
    linear["config"]["activation"] = "linear";
    const json behind = {layer("GlobalMaxPooling2D", "gmp"), dense_hidden, linear, layer("Softmax", "softmax")};
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, {}, behind)));
    const Tensor y = dense(relu(dense(max(features, {1, 2}), hidden, {})), parts.kernel, parts.bias);
    CHECK(greatest_difference(model(x), y) <= 1e-4);
    const std::vector<std::string> stages = stage_names(model);
    CHECK(std::vector<std::string>(stages.end() - 3, stages.end()) ==
          std::vector<std::string>{"pool", "hidden", "classifier"});
  }
  SECTION("a norm, and a sigmoid that stays") {
    Tensor variance = Tensor::zeros({1280});
    for (std::int64_t i = 0; i < 1280; ++i) variance.mutable_data<float>()[i] = i % 2 ? 4e-36f : 0.5f;  // dead channels
    parts.tensors.emplace_back("norm/moving_mean", Tensor::zeros({1280}));
    parts.tensors.emplace_back("norm/moving_variance", variance);
    json sigmoid = kDense;
    sigmoid["config"]["activation"] = "sigmoid";
    const json behind = {kPool, layer("BatchNormalization", "norm", {{"epsilon", 0.01}}), sigmoid};
    const Model model = models::load(file_of(parts.tensors, around(parts.backbone, {}, behind)));
    Tensor normal = global_average_pool(features).clone();
    for (std::int64_t i = 0; i < normal.numel(); ++i)
      normal.mutable_data<float>()[i] /= std::sqrt((i % 2 ? 0.0f : 0.5f) + 0.01f);
    CHECK(greatest_difference(model(x), fovea::sigmoid(dense(normal, parts.kernel, parts.bias))) <= 1e-5);
  }
  SECTION("no head: a feature map, or its mean") {
    std::vector<std::pair<std::string, Tensor>> tensors = models::export_weights(parts.backbone, Layout::keras);
    const Model map = models::load(file_of(tensors, around(parts.backbone, {}, json::array())));
    CHECK(map.options.top == models::Top::none);
    CHECK(greatest_difference(map(x), features) <= 1e-6);
    const Model pooled = models::load(file_of(tensors, around(parts.backbone, {}, json::array({kPool}))));
    CHECK(pooled.options.top == models::Top::pooled);
    CHECK(greatest_difference(pooled(x), global_average_pool(features)) <= 1e-6);
  }
}

TEST_CASE("what a Keras model has and the zoo has not is refused by name") {
  const Parts parts;
  const auto refused = [&](const json& before, const json& behind) {
    return error_of(around(parts.backbone, before, behind), parts.tensors);
  };
  CHECK(part_of(refused(json::array({layer("Resizing", "resize")}), {kPool, kDense}), "'resize' (Resizing)") ==
        "'resize' (Resizing)");
  CHECK(part_of(refused(json::array({layer("RandomCrop", "crop")}), {kPool, kDense}), "'crop' (RandomCrop)") ==
        "'crop' (RandomCrop)");
  CHECK(part_of(refused(json::array({layer("Lambda", "magic")}), {kPool, kDense}), "'magic' (Lambda)") ==
        "'magic' (Lambda)");
  CHECK(part_of(refused({}, {layer("Activation", "again", {{"activation", "relu"}}), kPool, kDense}), "'again'") ==
        "'again'");
  CHECK(part_of(refused({}, {kPool, layer("LayerNormalization", "ln"), kDense}), "'ln' (LayerNormalization)") ==
        "'ln' (LayerNormalization)");
  json odd = kDense;
  odd["config"]["activation"] = "mish";
  CHECK(part_of(refused({}, {kPool, odd}), "mish") == "mish");
  CHECK(part_of(refused({}, {kPool, layer("Softmax", "early"), kDense}), "'early'") == "'early'");
  json second = around(parts.backbone, {}, {kPool, kDense});
  second["config"]["layers"].push_back(input("other"));
  CHECK(part_of(error_of(second, parts.tensors), "second input") == "second input");
  json twice = around(parts.backbone, {}, {kPool, kDense});
  for (json& l : twice["config"]["layers"]) {
    if (l["name"] == "dense") l["inbound_nodes"].push_back(l["inbound_nodes"][0]);
  }
  CHECK(part_of(error_of(twice, parts.tensors), "more than once") == "more than once");
}

TEST_CASE("a new head keeps what a Keras model does to its input, in model files too") {
  const Parts parts;
  const json before = json::array({layer("Rescaling", "scale", {{"scale", 1 / 127.5}, {"offset", -1}})});
  const weights::WeightFile file = file_of(parts.tensors, around(parts.backbone, before, {kPool, kDense}));
  const Tensor x = random({2, kSize, kSize, 3}, "x", 0, 255);
  const Tensor features = global_average_pool(parts.backbone(affine(x, 1 / 127.5, -1)));
  const Model bare = models::load(file, {.head = Head::remove});
  CHECK(greatest_difference(bare(x), features) <= 2e-5);
  const Model fresh = models::load(file, {.classes = 2, .head = Head::replace, .seed = 3});
  CHECK(fresh(x).shape() == Shape{2, 2});
  CHECK(stage_names(fresh).front() == "preprocessing");
  const std::string path = (std::filesystem::temp_directory_path() / "fovea-keras-model-test.fovea").string();
  save(fresh, path);
  const Model again = models::load(path, {.head = Head::remove});
  std::remove(path.c_str());
  CHECK(greatest_difference(again(x), features) <= 2e-5);
  CHECK(again.preprocessing == fresh.preprocessing);
}

TEST_CASE("layers are known by class and number where a file says no more") {
  for (const char* name : {"mobilenet_v2", "resnet50", "inception_v3"}) {
    INFO(name);
    const Model model = network(models::Top::classifier, name);
    const auto tensors = models::export_weights(model, Layout::keras);
    const models::Architecture& a = *models::find_architecture(name);
    // As Keras 3.0 to 3.9 writes .weights.h5: the classifier of some in a model around the network.
    const bool nested = std::string(name) == "resnet50";
    std::map<std::string, std::string> groups;
    std::map<models::LayerKind, int> counts;
    for (const models::LayerName& n : a.layer_names(a, model.options, Layout::keras).layers) {
      using enum models::LayerKind;
      if (n.kind == plain) continue;
      const int number = counts[n.kind]++;
      const char* kind = n.kind == norm        ? "batch_normalization"
                         : n.kind == depthwise ? "depthwise_conv2d"
                         : n.kind == dense     ? "dense"
                                               : "conv2d";
      const std::string folder = nested && n.kind != dense ? "layers/functional/layers/" : "layers/";
      groups[n.source] = folder + kind + (number ? "_" + std::to_string(number) : "");
    }
    std::vector<std::pair<std::string, Tensor>> by_class, numbered;
    std::map<std::string, int> variables;
    for (const auto& [key, t] : tensors) {
      const std::string source = key.substr(0, key.rfind('/')), variable = key.substr(key.rfind('/'));
      by_class.emplace_back(groups[source] + "/vars/" + std::to_string(variables[source]++), t);
      // As in a session that has made another network before.
      const std::size_t bar = source.rfind('_');
      const bool first = source == "conv2d" || source == "batch_normalization";
      const bool automatic = first || source.starts_with("conv2d_") || source.starts_with("batch_normalization_");
      const int number = first ? 0 : automatic ? std::stoi(source.substr(bar + 1)) : 0;
      numbered.emplace_back(
          automatic ? source.substr(0, first ? source.size() : bar) + "_" + std::to_string(number + 30) + variable
                    : key,
          t);
    }
    std::reverse(by_class.begin(), by_class.end());  // their order in the file says nothing
    for (const auto* list : {&by_class, &numbered}) {
      const Model again = models::load(file_of(*list));
      CHECK(again.architecture == name);
      CHECK(again.options.classes == 7);
      const auto before = model.network().named_tensors(), after = again.network().named_tensors();
      REQUIRE(before.size() == after.size());
      std::vector<std::string> different;
      for (std::size_t i = 0; i < before.size(); ++i) {
        if (before[i].tensor.to_vector<float>() != after[i].tensor.to_vector<float>())
          different.push_back(before[i].name);
      }
      CHECK(different == std::vector<std::string>{});
    }
  }
}
