// Features by compiled networks are those of the networks themselves, also of ones that were read from a file.
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "infer/compile/compile.h"
#include "models/zoo.h"
#include "train/linear_probe.h"

using namespace fovea;

TEST_CASE("features: compiled or not, from modules or from a file, they are the same") {
  Rng rng(4, "features");
  for (const char* name : {"mobilenet_v2", "efficientnet_lite0", "resnet18"}) {
    const Model model = models::create(name, {.classes = 3, .image_size = 64, .channels = 3, .seed = 1});
    // Statistics that are neither 0 nor 1: folded wrongly they would show.
    for (NamedTensor& t : model.network().named_tensors()) {
      if (!t.is_buffer || t.tensor.dtype() != DType::f32) continue;
      const bool variance = t.name.find("var") != t.name.npos;
      float* v = t.tensor.mutable_data<float>();
      for (std::int64_t i = 0; i < t.tensor.numel(); ++i)
        v[i] = static_cast<float>(variance ? 0.2 + 0.3 * rng.uniform() : 0.1 * rng.normal());
    }
    const std::string path =
        (std::filesystem::temp_directory_path() / str("fovea-compiled-features-", ::getpid(), ".fovea")).string();
    save(model, path);
    const Model read = load_model(path);
    std::filesystem::remove(path);
    Tensor x({5, 64, 64, 3});
    for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(rng.normal());
    const Tensor wanted = feature_extractor(model)(x);
    for (const Model& from : {model, read}) {
      infer::Network compiled = infer::compile_network(feature_network(from));
      const Tensor got = compiled(x);
      REQUIRE(got.shape() == wanted.shape());
      double off = 0, all = 0;
      for (std::int64_t i = 0; i < got.numel(); ++i) {
        off += std::pow(got.data<float>()[i] - wanted.data<float>()[i], 2);
        all += std::pow(wanted.data<float>()[i], 2);
      }
      CAPTURE(name, off, all);
      CHECK(all > 0);
      CHECK(off < 1e-10 * all);  // some fifty layers of f32
    }
  }
}
