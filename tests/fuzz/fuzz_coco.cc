// Damaged COCO Camera Traps files: whatever the JSON says, a Dataset that can be asked everything, or an Error.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "augment/coco_dataset.h"
#include "core/error.h"
#include "fuzz/driver.h"

namespace {

/// One file, written again for each input: the dataset reads from disk.
const std::string& json_path() {
  static const std::string path = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "fovea_fuzz_coco_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    static const std::string folder = pattern;
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    });
    return folder + "/traps.json";
  }();
  return path;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"info":{"version":"1.0"},"images":[{"id":"a","file_name":"p/a.jpg","location":"l1","seq_id":"s","width":4,)"
      R"("height":3,"corrupt":false},{"id":7,"file_name":"b.jpg","location":12}],"annotations":[{"id":"x","image_id":"a",)"
      R"("category_id":0,"bbox":[1,2.5,3,4]},{"image_id":7,"category_id":1},{"image_id":7,"category_id":2},)"
      R"({"image_id":7,"category_id":1}],"categories":[{"id":0,"name":"empty"},{"id":1,"name":"fox"},{"id":2,"name":"deer"}]})",
      R"({"categories":[{"id":1,"name":"fox"}],"annotations":[{"image_id":1,"category_id":1}],"images":[{"id":1,"file_name":"../../etc/passwd"}]})",
      R"({"images":[],"annotations":[],"categories":[],"x":[[[[[[[[{}]]]]]]]]})",
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  {
    std::ofstream out(json_path(), std::ios::binary);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  try {
    const fovea::CocoDataset pictures(json_path(), {.check_files = false});
    const std::string folder = std::filesystem::path(json_path()).parent_path().string();
    std::size_t sum = pictures.warnings().size();
    for (std::int64_t i = 0; i < pictures.size(); ++i) {
      if (pictures.label(i) < 0 || pictures.label(i) >= pictures.num_classes()) std::abort();
      // Nothing below the folder's own name may be left by "..", nor replaced by an absolute path.
      const std::string path = std::filesystem::path(pictures.name(i)).lexically_normal().string();
      if (!path.starts_with(folder)) std::abort();
      sum += pictures.group(i).size();
    }
    [[maybe_unused]] const volatile std::size_t sink = sum;
  } catch (const fovea::Error&) {
    // the right answer to damage
  }
  return 0;
}
