// PyTorch and safetensors files that PyTorch wrote, one network in every form: each tensor is what a formula gives.
#include <bit>
#include <cstring>
#include <map>

#include "catch.h"
#include "core/error.h"
#include "models/weights/formula.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using weights::FileTensor;
using weights::WeightFile;

namespace {

struct Case {
  const char* file;
  const char* format;
  DType dtype = DType::f32;
  const char* wrapper = nullptr;
  const char* prefix = nullptr;
};

constexpr Case kCases[] = {
    {"torch.pth", "PyTorch zip"},
    {"torch_oldformat.pth", "PyTorch pickle (before 1.6)"},
    {"torch_ckpt.pth", "PyTorch zip", DType::f32, "model"},
    {"torch_ddp_ckpt.pth", "PyTorch zip", DType::f32, "state_dict", "module."},
    {"torch_views.pth", "PyTorch zip"},
    {"torch_views_oldformat.pth", "PyTorch pickle (before 1.6)"},
    {"torch_parameters.pth", "PyTorch zip"},
    {"torch_f16.pth", "PyTorch zip", DType::f16},
    {"torch_bf16.pth", "PyTorch zip", DType::bf16},
    {"torch_f32.safetensors", "safetensors"},
    {"torch_f16.safetensors", "safetensors", DType::f16},
    {"torch_bf16.safetensors", "safetensors", DType::bf16},
};

}  // namespace

TEST_CASE("PyTorch's files of every form hold the formula's values, bit for bit") {
  const auto formula = shared_path("golden/zoo/files_tv_mobilenet_v2_035_96_c10.tsv");
  if (!formula) FOVEA_SKIP("needs FOVEA_SHARED");
  const WeightFile expected = weights::read_formula(*formula);
  REQUIRE(expected.tensors.size() > 300);
  for (const Case& one : kCases) {
    CAPTURE(one.file);
    const WeightFile file =
        weights::read_weight_file(*shared_path(std::string("golden/files/mbv2_035_96_c10_") + one.file));
    CHECK(file.format == one.format);
    const std::string* wrapper = file.find_metadata("pytorch.wrapper");
    CHECK((wrapper ? *wrapper : "") == (one.wrapper ? one.wrapper : ""));
    const std::string* prefix = file.find_metadata("pytorch.prefix");
    CHECK((prefix ? *prefix : "") == (one.prefix ? one.prefix : ""));
    CHECK(file.tensors.size() == expected.tensors.size());
    for (const FileTensor& wanted : expected.tensors) {
      CAPTURE(wanted.name);
      const FileTensor* found = file.find(wanted.name);
      REQUIRE(found);
      REQUIRE(found->shape == wanted.shape);
      const Tensor have = found->read();
      REQUIRE(have.shape() == wanted.shape);
      REQUIRE(have.dtype() == found->dtype);
      if (wanted.name.ends_with("num_batches_tracked")) {
        CHECK(have.dtype() == DType::i64);
        continue;
      }
      REQUIRE(have.dtype() == one.dtype);
      const Tensor want = wanted.read().to(one.dtype);
      REQUIRE(std::memcmp(have.view().data, want.view().data, want.nbytes()) == 0);
    }
  }
}
