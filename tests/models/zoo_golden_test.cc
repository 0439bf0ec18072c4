// Whole networks against the frameworks they come from: weights and input by formula, logits, sampled activations and
// their checksums in shared/golden/zoo (its README gives the tolerances and their reasons).
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/io/safetensors.h"
#include "models/golden.h"
#include "models/load.h"
#include "models/trace.h"
#include "models/weights/formula.h"

using namespace fovea;
using models::Layout;
using nlohmann::json;

namespace {

struct Case {
  const char* name;
  const char* model;
  Layout layout;
  double logits_tolerance = 1e-3;
  double width = 0;
  std::pair<double, double> input = {-1, 1};
  const char* variant = "";
};

// SiLU networks amplify float32 rounding: the README allows them 2e-3.
constexpr double kSilu = 2e-3;
const std::vector<Case> kCases = {
    {"tv_mobilenet_v2_100_224", "mobilenet_v2", Layout::torchvision},
    {"tv_mobilenet_v2_035_96", "auto", Layout::torchvision},
    {"files_tv_mobilenet_v2_035_96_c10", "auto", Layout::torchvision},
    {"timm_mobilenetv2_100_224", "mobilenetv2_100", Layout::timm},
    {"hf_mobilenet_v2_100_224", "auto", Layout::huggingface},
    {"keras_mobilenetv2_100_224", "MobileNetV2", Layout::keras},
    {"keras_mobilenetv2_035_96", "mobilenet_v2", Layout::keras, 1e-3, 0.35},
    {"keras_mobilenetv2_050_97", "auto", Layout::keras},
    {"files_keras_mobilenetv2_035_96_c10", "auto", Layout::keras},
    {"tv_resnet18_224", "auto", Layout::torchvision},
    {"tv_resnet50_224", "resnet50", Layout::torchvision},
    {"keras_resnet50_224", "auto", Layout::keras},
    {"tv_inception_v3_299", "auto", Layout::torchvision},
    {"keras_inceptionv3_299", "auto", Layout::keras},
    {"keras_mobilenet_100_224", "auto", Layout::keras},
    {"timm_mobilenetv3_small_100_224", "auto", Layout::timm},
    {"timm_tf_efficientnet_lite0_224", "tf_efficientnet_lite0", Layout::timm},
    {"timm_tf_efficientnet_b0_224", "tf_efficientnet_b0", Layout::timm, kSilu},
    {"tv_efficientnet_b0_224", "auto", Layout::torchvision, kSilu},
    {"keras_efficientnetb0_224", "auto", Layout::keras, kSilu, 0, {0, 255}},
    {"keras_efficientnetb0_imagenetgraph_224", "EfficientNetB0", Layout::keras, kSilu, 0, {0, 255}, "imagenet"},
};

void check(const Case& c) {
  const std::string base = *shared_path("golden/zoo/") + c.name;
  std::ifstream in(base + ".json");
  const json about = json::parse(in);
  const Safetensors golden = read_safetensors(base + ".safetensors");
  const int size = about["input"]["shape_nhwc"][1].get<int>();
  const Model model =
      models::load(weights::read_formula(base + ".tsv"),
                   {.model = c.model, .layout = c.layout, .width = c.width, .image_size = size, .variant = c.variant});
  const auto input = [&](const char* name) {
    return weights::formula_input(name, size, 3, c.input.first, c.input.second);
  };
  const models::Trace trace = models::trace(model, input("input"), c.layout);
  CHECK(greatest_difference(trace.result, golden.find("logits_f64")) <= c.logits_tolerance);
  CHECK(greatest_difference(model(input("input2")), golden.find("logits_input2")) <= c.logits_tolerance);
  check_activations(trace, about["activations"], golden, c.name);
}

}  // namespace

TEST_CASE("zoo networks give the logits and activations of the frameworks they come from") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  for (const Case& c : kCases) {
    INFO(c.name);
    check(c);
  }
}

TEST_CASE("every golden network is in the list of this test") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  for (const auto& entry : std::filesystem::directory_iterator(*shared_path("golden/zoo"))) {
    if (entry.path().extension() != ".tsv") continue;
    const std::string name = entry.path().stem().string();
    INFO(name);
    CHECK(std::any_of(kCases.begin(), kCases.end(), [&](const Case& c) { return c.name == name; }));
  }
}
