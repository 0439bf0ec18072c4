// Damaged packs: whatever the numbers say, a data set that can be asked everything, or an Error.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "augment/pack.h"
#include "core/error.h"
#include "fuzz/driver.h"

namespace {

/// One folder, removed at the end: packs are read from disk.
const std::string& folder() {
  static const std::string path = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "fovea_fuzz_pack_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    static const std::string made = pattern;
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(made, ignored);
    });
    return made;
  }();
  return path;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  const auto pictures = [](std::int64_t count, std::int64_t channels) {
    fovea::Tensor values({count, 3, 4, channels}, fovea::DType::u8);
    values.fill(7);
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < count; ++i) labels.push_back(i % 2);
    return std::make_shared<fovea::TensorDataset>(values, labels, std::vector<std::string>{"a", "b"});
  };
  const std::string path = folder() + "/seed.fpack";
  std::vector<std::string> seeds;
  for (const int kind : {0, 1}) {
    fovea::PackOptions options;
    options.rule.shorter_side = kind == 0 ? 2 : 0;
    if (kind == 1) options.class_weights = {1, 2};
    fovea::write_pack(path, {{"train", pictures(3, 3)}, {"val", pictures(2, 1)}}, options);
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = folder() + "/damaged.fpack";
  {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  try {
    const fovea::PackDataset pictures(path, {.check_source = true});
    std::size_t sum = pictures.warnings().size() + pictures.parts().size();
    for (std::int64_t i = 0; i < pictures.size(); ++i) {
      if (pictures.label(i) < 0 || pictures.label(i) >= pictures.num_classes()) std::abort();
      const fovea::image::Image picture = pictures.image(i);
      for (const std::uint8_t value : picture.pixels) sum += value;
      sum += pictures.name(i).size() + pictures.group(i).size();
    }
    [[maybe_unused]] const volatile std::size_t sink = sum;
  } catch (const fovea::Error&) {
    // the right answer to damage
  }
  return 0;
}
