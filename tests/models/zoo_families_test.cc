// What can be said of the zoo's networks without running them: numbers of parameters as published, names of layers that
// no two layers share and that lead back, and Keras' order of layers.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "catch.h"
#include "layers/init.h"
#include "models/load.h"
#include "models/weights/formula.h"
#include "models/weights/tensor_map.h"
#include "models/zoo.h"

using namespace fovea;
using models::Layout;

namespace {

/// A network of the name, without memory for its parameters.
Model outline(const char* name, Layout layout) {
  models::Options options;
  options.layout = layout;
  const models::Resolved r = models::resolve(name, options);
  const ParameterMode mode(ParameterMode::Kind::meta);
  return models::build(*r.architecture, r.options);
}

std::int64_t count(const Model& model, bool with_statistics) {
  std::int64_t n = model.network().parameter_count();
  if (with_statistics) {
    for (const NamedTensor& t : model.network().buffers()) n += t.tensor.numel();
  }
  return n;
}

}  // namespace

TEST_CASE("networks have as many parameters as published") {
  // torchvision's documentation counts what is trained; Keras' tables and summaries count running statistics too.
  const struct {
    const char* name;
    Layout layout;
    std::int64_t published;
  } rows[] = {
      {"resnet18", Layout::torchvision, 11689512},
      {"resnet34", Layout::torchvision, 21797672},
      {"resnet50", Layout::torchvision, 25557032},
      {"resnet101", Layout::torchvision, 44549160},
      {"resnet152", Layout::torchvision, 60192808},
      {"resnet50", Layout::keras, 25636712},
      {"resnet101", Layout::keras, 44707176},
      {"resnet152", Layout::keras, 60419944},
      {"inception_v3", Layout::keras, 23851784},
      // 27 161 264 with the auxiliary classifier, which has 3 326 696.
      {"inception_v3", Layout::torchvision, 27161264 - 3326696},
  };
  for (const auto& row : rows) {
    INFO(row.name << " " << models::to_string(row.layout));
    CHECK(count(outline(row.name, row.layout), row.layout == Layout::keras) == row.published);
  }
}

TEST_CASE("the network for private training has the published size, at any picture size no batch statistics") {
  CHECK(models::create("private_cnn").network().parameter_count() == 26010);  // Papernot et al. 2021, table 1
  for (const int size : {16, 17, 28, 40, 64, 97}) {
    const Model model = models::create("private_cnn", {.classes = 3, .image_size = size, .channels = 3});
    CHECK(model(Tensor::zeros({2, size, size, 3})).shape() == Shape{2, 3});
    CHECK(model.network().buffers().empty());
  }
}

TEST_CASE("every tensor of every zoo network has one name in each of its layouts") {
  for (const models::Architecture& a : models::architectures()) {
    if (!a.layer_names) continue;
    for (const Layout layout : a.layouts) {
      INFO(a.name << " " << models::to_string(layout));
      const Model model = outline(a.name, layout);
      std::map<std::string, int> theirs, ours;
      for (const models::TensorPair& pair : models::tensor_pairs(a.layer_names(a, model.options, layout), layout)) {
        ++theirs[pair.theirs.front()];
        ++ours[pair.ours];
      }
      std::vector<std::string> wrong;
      for (const auto& [name, times] : theirs) {
        if (times != 1) wrong.push_back(name);
      }
      for (const NamedTensor& t : model.network().named_tensors()) {
        if (ours[t.name] != 1) wrong.push_back(t.name);
      }
      CHECK(wrong == std::vector<std::string>{});
    }
  }
}

TEST_CASE("weights written in a layout's names are read back as they were") {
  for (const auto& [name, layout] : std::vector<std::pair<const char*, Layout>>{
           {"resnet18", Layout::huggingface}, {"resnet50", Layout::keras}, {"inception_v3", Layout::tfslim}}) {
    INFO(name << " " << models::to_string(layout));
    models::Options options;
    options.layout = layout;
    options.classes = 3;
    const Model model = models::create(name, options);
    weights::WeightFile file;
    file.path = "memory";
    for (const auto& [key, tensor] : models::export_weights(model, layout))
      file.tensors.push_back({key, tensor.shape(), tensor.dtype(), [t = tensor] { return t; }});
    const Model again = models::load(file);
    CHECK(again.architecture == name);
    CHECK(again.options.layout == layout);
    CHECK(again.options.classes == 3);
    const auto before = model.network().named_tensors(), after = again.network().named_tensors();
    REQUIRE(before.size() == after.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
      INFO(before[i].name);
      CHECK(before[i].name == after[i].name);
      CHECK(before[i].tensor.to_vector<float>() == after[i].tensor.to_vector<float>());
    }
  }
}

TEST_CASE("Keras layers of one class are listed in the order of model.layers") {
  const char* shared = std::getenv("FOVEA_SHARED");
  if (!shared) {
    WARN("SKIPPED: FOVEA_SHARED is not set");
    return;
  }
  // The golden lists have the order of model.weights, which is that of the layers.
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(shared) + "/golden/zoo")) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("keras_") || !name.ends_with(".tsv")) continue;
    const weights::WeightFile file = weights::read_formula(entry.path().string());
    models::Recognition r;
    try {
      r = models::recognize(file);
    } catch (const Error&) {
      continue;  // a network that the zoo has not
    }
    INFO(name << " as " << r.architecture);
    if (!r.fits()) continue;
    ++cases;
    const models::Architecture& a = *models::find_architecture(r.architecture);
    std::map<models::LayerKind, std::vector<std::string>> ours, theirs;
    std::map<std::string, models::LayerKind> kinds;
    for (const models::LayerName& layer : a.layer_names(a, r.options, Layout::keras).layers) {
      if (layer.kind == models::LayerKind::plain) continue;
      ours[layer.kind].push_back(layer.source);
      kinds[layer.source] = layer.kind;
    }
    std::set<std::string> seen;
    for (const weights::FileTensor& t : file.tensors) {
      const std::string layer = t.name.substr(0, t.name.rfind('/'));
      if (kinds.contains(layer) && seen.insert(layer).second) theirs[kinds[layer]].push_back(layer);
    }
    for (const auto& [kind, order] : ours) CHECK(order == theirs[kind]);
  }
  CHECK(cases >= 5);
}

TEST_CASE("spellings of other frameworks bring their layout; canonical names do not") {
  CHECK(models::resolve("ResNet50", {}).options.layout == Layout::keras);
  CHECK(models::resolve("resnet50", {}).options.layout == Layout::torchvision);
  CHECK(models::resolve("microsoft/resnet-18", {}).options.layout == Layout::huggingface);
  CHECK(std::string(models::resolve("microsoft/resnet-18", {}).architecture->name) == "resnet18");
  CHECK(models::resolve("resnet34.a1_in1k", {}).options.layout == Layout::timm);
  CHECK(models::resolve("InceptionV3", {}).options.layout == Layout::keras);
  CHECK_THROWS_AS(models::resolve("ResNet34", {}), Error);  // Keras has none
}
