// ImageNet's class names: as many as there are classes, told apart, in the order of the networks' outputs.
#include "models/imagenet_classes.h"

#include <set>

#include "catch.h"
#include "core/error.h"
#include "models/load.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using models::imagenet_class_names;

namespace {

/// A weight file in memory as torchvision writes it, of a network with fresh weights.
weights::WeightFile torchvision_weights(int classes) {
  weights::WeightFile file;
  file.path = "memory";
  const Model model = models::create("mobilenet_v2", {.classes = classes, .image_size = 32, .width = 0.35});
  for (const auto& [name, tensor] : models::export_weights(model, models::Layout::torchvision)) {
    const Tensor t = tensor;
    file.tensors.push_back({name, t.shape(), t.dtype(), [t] { return t; }});
  }
  return file;
}

}  // namespace

TEST_CASE("ImageNet's classes have names") {
  const std::vector<std::string> names = imagenet_class_names();
  REQUIRE(names.size() == 1000);
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == 1000);
  for (const std::string& name : names) {
    INFO(name);
    CHECK((name.size() > 1 && name.front() != ' ' && name.back() != ' '));
    CHECK(name.find_first_of("\n,_") == std::string::npos);
  }
  CHECK(names.front() == "tench");
  CHECK(names[134] == "crane (bird)");
  CHECK(names[281] == "tabby cat");
  CHECK(names[282] == "tiger cat");
  CHECK(names[285] == "Egyptian cat");
  CHECK(names[517] == "crane (machine)");
  CHECK(names[639] == "tank suit");
  CHECK(names[698] == "palace");
  CHECK(names[967] == "espresso");
  CHECK(names.back() == "toilet tissue");
  const std::vector<std::string> more = imagenet_class_names(1001);
  REQUIRE(more.size() == 1001);
  CHECK(more[0] == "background");
  CHECK(std::equal(names.begin(), names.end(), more.begin() + 1));
  CHECK_THROWS_AS(imagenet_class_names(10), Error);
}

TEST_CASE("weights with ImageNet's number of classes get its names, others none") {
  CHECK(models::load(torchvision_weights(1000)).class_names == imagenet_class_names(1000));
  CHECK(models::load(torchvision_weights(1001)).class_names == imagenet_class_names(1001));
  CHECK(models::load(torchvision_weights(10)).class_names.empty());
  const weights::WeightFile file = torchvision_weights(1000);
  CHECK(models::load(file, {.classes = 1000, .head = Head::replace}).class_names.empty());
  CHECK(models::load(file, {.head = Head::remove}).class_names.empty());
}
