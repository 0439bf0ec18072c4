// Model files: what is saved runs the same without the code that built it, and damaged files are refused.
#include <filesystem>
#include <fstream>
#include <set>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/rng.h"
#include "models/model.h"
#include "models/zoo.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;

namespace {
struct TemporaryFile {
  TempFolder folder;
  std::string path = folder / "m.fovea";
};

Tensor input_of(const Model& model, std::int64_t batch) {
  Tensor x({batch, model.preprocessing.height, model.preprocessing.width, model.preprocessing.channels});
  Rng rng(3, "input");
  for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(rng.normal());
  return x;
}
}  // namespace

TEST_CASE("a saved network gives the same bits, at any batch, with its conventions") {
  const TemporaryFile file;
  std::set<const void*> families;
  for (const models::Architecture& a : models::architectures()) {
    if (!families.insert(reinterpret_cast<const void*>(a.build)).second) continue;  // its other members are larger
    const std::string name = a.name;
    const int size = name == "inception_v3" ? 75 : 32;  // its smallest
    Model model = models::create(name, {.classes = 3, .image_size = size, .channels = 1, .seed = 5});
    model.class_names = {"a", "ü", "c\"\n"};
    save(model, file.path);
    const Model back = load_model(file.path);
    CHECK(back.class_names == model.class_names);
    CHECK(back.architecture == name);
    CHECK(back.preprocessing == model.preprocessing);
    CHECK(back.network().parameter_count() == model.network().parameter_count());
    CHECK(back.network().buffers().size() == model.network().buffers().size());
    for (const std::int64_t batch : {1, 3}) {
      const Tensor x = input_of(model, batch);
      CHECK(back(x).to_vector<float>() == model(x).to_vector<float>());
    }
    save(back, file.path + "2");
    CHECK(read_file(file.path + "2") == read_file(file.path));
  }
}

TEST_CASE("a model file cut at any byte of its header, or in its data, is an error") {
  const TemporaryFile file;
  save(models::create("small_cnn", {.image_size = 4}), file.path);
  const std::vector<std::uint8_t> good = read_file(file.path);
  const std::size_t header = 8 + (good[0] | good[1] << 8 | good[2] << 16);
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n <= header; n += n < 64 ? 1 : 7) lengths.push_back(n);
  lengths.push_back(good.size() - 1);
  for (const std::size_t n : lengths) {
    std::ofstream(file.path, std::ios::binary)
        .write(reinterpret_cast<const char*>(good.data()), static_cast<std::streamsize>(n));
    REQUIRE_THROWS_AS(load_model(file.path), Error);
  }
  CHECK_THROWS_AS(load_model(file.folder.path()), Error);
  CHECK_THROWS_AS(load_model(file.path + ".missing"), Error);
}

TEST_CASE("the zoo refuses what it cannot build") {
  CHECK_THROWS_AS(models::create("nothing", {}), Error);
  CHECK_THROWS_AS(models::create("small_cnn", {.classes = -1}), Error);
  CHECK_THROWS_AS(models::create("small_cnn", {.image_size = 1}), Error);
  CHECK_THROWS_AS(models::create("small_cnn", {.channels = 2}), Error);
}
