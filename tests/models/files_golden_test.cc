// One small network in every on-disk format, loaded without being told what it is: logits as its framework gives them.
#include "catch.h"
#include "core/io/safetensors.h"
#include "models/golden.h"
#include "models/load.h"
#include "models/transfer.h"
#include "models/weights/formula.h"

using namespace fovea;

TEST_CASE("PyTorch files of every form give the logits of PyTorch") {
  const auto folder = shared_path("golden/files/");
  if (!folder) FOVEA_SKIP("FOVEA_SHARED is not set");
  const Safetensors expected = read_safetensors(*folder + "mbv2_035_96_c10_torch_expected.safetensors");
  const Tensor x = weights::formula_input("input", 96);
  for (const char* file :
       {"torch.pth", "torch_oldformat.pth", "torch_ckpt.pth", "torch_ddp_ckpt.pth", "torch_views.pth",
        "torch_views_oldformat.pth", "torch_parameters.pth", "torch_f16.pth", "torch_bf16.pth", "torch_f32.safetensors",
        "torch_f16.safetensors", "torch_bf16.safetensors"}) {
    INFO(file);
    const std::string name = file;
    const Model model = models::load(*folder + "mbv2_035_96_c10_" + file, {.image_size = 96});
    CHECK(model.architecture == "mobilenet_v2");
    CHECK(model.options.layout == models::Layout::torchvision);
    CHECK(model.options.width == 0.35);
    CHECK(model.options.classes == 10);
    const std::string type = name.find("bf16") != std::string::npos  ? "bf16"
                             : name.find("f16") != std::string::npos ? "f16"
                                                                     : "f32";
    // Rounding noise on logits of deviation 2 is below 1e-5; weights rounded to half precision move them by 1e-3 and
    // more.
    CHECK(greatest_difference(model(x), expected.find(str("logits_", type, "_f64"))) <= 5e-5);
  }
}

TEST_CASE("Keras files of every form give the logits of Keras") {
  const auto folder = shared_path("golden/files/");
  if (!folder) FOVEA_SKIP("FOVEA_SHARED is not set");
  const Safetensors expected = read_safetensors(*folder + "mbv2_035_96_c10_keras_expected.safetensors");
  const Tensor x = weights::formula_input("input", 96);
  for (const char* file :
       {"keras3_legacy.h5", "keras3.weights.h5", "keras3.keras", "keras2_legacy.h5", "keras2_weights_only.h5"}) {
    INFO(file);
    const std::string name = file;
    const bool config = name != "keras3.weights.h5" && name != "keras2_weights_only.h5";
    const Model model = models::load(*folder + "mbv2_035_96_c10_" + file, {.image_size = config ? 0 : 96});
    CHECK(model.architecture == "mobilenet_v2");
    CHECK(model.options.layout == models::Layout::keras);
    CHECK(model.options.width == 0.35);
    CHECK(model.options.classes == 10);
    CHECK(model.preprocessing.width == 96);
    CHECK(stage_names(model).back() == "classifier");
    CHECK(greatest_difference(model(x), expected.find("logits")) <= 5e-5);
  }
}
