// Small files that torch wrote (data/pytorch/make_reference.py): whole networks, TorchScript, averages, odd tensors.
#include <cmath>
#include <set>

#include "catch.h"
#include "models/weight_file_writer.h"
#include "models/weights/formula.h"

using namespace fovea;
using weights::FileTensor;
using weights::WeightFile;

namespace {

WeightFile read(const std::string& name) {
  return weights::read_weight_file(std::string(FOVEA_SOURCE_DIR) + "/tests/models/data/pytorch/" + name + ".pth");
}

void check_values(const FileTensor& tensor, bool repeated = false) {
  CAPTURE(tensor.name);
  const Tensor have = tensor.read();
  REQUIRE(have.shape() == tensor.shape);
  REQUIRE(have.dtype() == tensor.dtype);
  const std::vector<double> values = have.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double u = weights::formula_uniform(tensor.name, repeated ? i % 3 : i);
    REQUIRE(values[i] == (is_floating(tensor.dtype) ? static_cast<float>(2 * u - 1) : std::floor(100 * u)));
  }
}

std::string metadata(const WeightFile& file, const std::string& key) {
  const std::string* value = file.find_metadata(key);
  return value ? *value : "";
}

}  // namespace

TEST_CASE("torch's small files: a network in every wrapping") {
  struct Case {
    const char *file, *wrapper, *prefix, *module;
  };
  for (const Case& one :
       {Case{"whole", "", "", "__main__.Net"},
        Case{"parallel", "", "module.", "torch.nn.parallel.data_parallel.DataParallel"}, Case{"protocol5", "", "", ""},
        Case{"protocol4_old", "", "", ""}, Case{"averaged", "model_ema", "module.", ""},
        Case{"script", "", "", "__torch__.Net"}, Case{"unchecked", "", "", ""}}) {
    CAPTURE(one.file);
    const WeightFile file = read(one.file);
    CHECK(metadata(file, "pytorch.wrapper") == one.wrapper);
    CHECK(metadata(file, "pytorch.prefix") == one.prefix);
    CHECK(metadata(file, "pytorch.module") == one.module);
    std::set<std::string> names;
    for (const FileTensor& t : file.tensors) {
      names.insert(t.name);
      if (t.name != "scratch") check_values(t);
    }
    // TorchScript does not say which buffers are passing.
    if (std::string(one.file) == "script") CHECK(names.erase("scratch") == 1);
    CHECK(names == std::set<std::string>{"conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean",
                                         "bn.running_var", "bn.num_batches_tracked", "fc.weight"});
  }
  CHECK(metadata(read("script"), "pytorch.torchscript") == "yes");
}

TEST_CASE("torch's small files: odd tensors are read or refused by name, what is no tensor is passed over") {
  for (const char* name : {"odd", "odd_old"}) {
    CAPTURE(name);
    const WeightFile file = read(name);
    for (const char* good : {"plain", "short", "reversed", "parameter", "parameter with state", "tagged"}) {
      CAPTURE(good);
      REQUIRE(file.find(good));
      check_values(*file.find(good));
    }
    check_values(*file.find("expanded"), true);
    CHECK(file.find("short")->dtype == DType::i32);
    std::size_t refused = 0;
    for (const char* bad : {"complex", "quantized", "quantized by channel", "sparse", "meta", "u16", "f8"}) {
      const FileTensor* t = file.find(bad);
      if (!t) continue;
      ++refused;
      CHECK(writer::error_of([&] { t->read(); }).find(std::string("tensor '") + bad + "'") != std::string::npos);
    }
    CHECK(refused == (std::string(name) == "odd" ? 7 : 5));
    CHECK(file.tensors.size() == 7 + refused);
  }
}
