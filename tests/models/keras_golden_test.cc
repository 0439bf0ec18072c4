// Files that Keras 2 and 3 wrote, one network in every form: each tensor is what a formula gives.
#include <algorithm>
#include <cstring>

#include "catch.h"
#include "models/weights/formula.h"
#include "models/weights/keras_names.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using weights::FileTensor;
using weights::KerasLayer;
using weights::WeightFile;

namespace {

struct Case {
  const char* file;
  const char* format;
  bool old_names = false;  // Keras 2 calls the kernel of a depthwise convolution depthwise_kernel
  bool config = true;
};

constexpr Case kCases[] = {
    {"keras3_legacy.h5", "Keras HDF5 model"},
    {"keras3.weights.h5", "Keras 3 weights", false, false},
    {"keras3.keras", "Keras 3 archive"},
    {"keras2_legacy.h5", "Keras HDF5 model", true},
    {"keras2_weights_only.h5", "Keras HDF5 weights", true, false},
};

std::string spelled(std::string name, bool old_names) {
  const std::size_t kernel = name.find("depthwise/kernel");
  if (old_names && kernel != name.npos) name.insert(kernel + 10, "depthwise_");
  return name;
}

}  // namespace

TEST_CASE("Keras' files of every form hold the formula's values, bit for bit, under one naming") {
  const auto formula = shared_path("golden/zoo/files_keras_mobilenetv2_035_96_c10.tsv");
  if (!formula) FOVEA_SKIP("needs FOVEA_SHARED");
  const WeightFile expected = weights::read_formula(*formula);
  REQUIRE(expected.tensors.size() == 262);
  for (const Case& one : kCases) {
    CAPTURE(one.file);
    const WeightFile file =
        weights::read_weight_file(*shared_path(std::string("golden/files/mbv2_035_96_c10_") + one.file));
    CHECK(file.format == one.format);
    CHECK((file.find_metadata("keras.config") != nullptr) == one.config);
    CHECK((file.find_metadata("keras.version") != nullptr) == (file.format != "Keras 3 weights"));
    CHECK(file.find_metadata("keras.submodel") == nullptr);
    REQUIRE(file.tensors.size() == expected.tensors.size());
    for (std::size_t i = 0; i < expected.tensors.size(); ++i) {
      const FileTensor& wanted = expected.tensors[i];
      const std::string name = spelled(wanted.name, one.old_names);
      CAPTURE(name);
      const FileTensor* found = file.find(name);
      REQUIRE(found);
      CHECK(found == &file.tensors[i]);  // in the order of the model too
      REQUIRE(found->shape == wanted.shape);
      const Tensor have = found->read(), want = wanted.read();
      REQUIRE(have.shape() == wanted.shape);
      REQUIRE(have.dtype() == DType::f32);
      REQUIRE(std::memcmp(have.view().data, want.view().data, want.nbytes()) == 0);
    }
  }
}

TEST_CASE("configs of Keras 2 and 3 describe the same network") {
  if (!shared_path("")) FOVEA_SKIP("needs FOVEA_SHARED");
  std::vector<std::vector<KerasLayer>> all;
  for (const char* name : {"keras2_legacy.h5", "keras3_legacy.h5", "keras3.keras"}) {
    const WeightFile file =
        weights::read_weight_file(*shared_path(std::string("golden/files/mbv2_035_96_c10_") + name));
    all.push_back(weights::keras_layers(*file.find_metadata("keras.config"), name));
  }
  for (const std::vector<KerasLayer>& layers : all) {
    REQUIRE(layers.size() == 156);
    for (std::size_t i = 1; i < layers.size(); ++i) {
      CAPTURE(layers[i].name);
      CHECK(layers[i].name == all[0][i].name);
      CHECK(layers[i].class_name == all[0][i].class_name);
      CHECK(layers[i].is_layer);
      CHECK(layers[i].children.empty());
      if (i > 1) CHECK(layers[i].inbound == all[0][i].inbound);
    }
    CHECK(layers[0].class_name == "InputLayer");
    CHECK(layers[1].inbound == std::vector<std::string>{layers[0].name});
    const auto add = std::find_if(layers.begin(), layers.end(), [](const auto& l) { return l.name == "block_2_add"; });
    REQUIRE(add != layers.end());
    CHECK(add->inbound == std::vector<std::string>{"block_1_project_BN", "block_2_project_BN"});
  }
}
