// What reading a weight file costs in memory: the tensor at hand, never the file.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "catch.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "models/weight_file_writer.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
using namespace writer;

namespace {

/// kB of memory that is no file's.
long anonymous() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stol(line.substr(8));
  }
  return -1;
}

}  // namespace

TEST_CASE("reading a 16 MB weight file costs less than 3 MB beside the tensors that are kept") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  FOVEA_SKIP("a sanitizer's memory is not ours");
#endif
  if (anonymous() < 0) FOVEA_SKIP("needs Linux 4.5");
  constexpr int kTensors = 16;
  constexpr std::int64_t kElements = 1 << 18;  // 1 MB each
  const TempFolder folder;
  {
    std::vector<std::pair<std::string, std::string>> items;
    Storages storages;
    for (int i = 0; i < kTensors; ++i) {
      const std::string key = std::to_string(i);
      items.emplace_back("w" + key, tensor(storage("FloatStorage", key, kElements), 0, {512, 512}, {512, 1}));
      storages.emplace_back(key, floats(std::vector<float>(kElements, static_cast<float>(i))));
    }
    write_file(folder / "zip.pth", pytorch_zip(dict(items), storages));
    write_file(folder / "old.pth", pytorch_old(dict(items), storages));
    std::string header = "{", content;
    for (int i = 0; i < kTensors; ++i) {
      header += str(i ? "," : "", "\"w", i, "\":{\"dtype\":\"F32\",\"shape\":[512,512],\"data_offsets\":[", i << 20,
                    ",", (i + 1) << 20, "]}");
      content += storages[static_cast<std::size_t>(i)].second;
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8 + 1, ' ');  // every tensor at an odd address
    write_file(folder / "odd.safetensors", little(static_cast<std::uint64_t>(header.size())) + header + content);
  }
  for (const char* name : {"zip.pth", "old.pth", "odd.safetensors"}) {
    CAPTURE(name);
    const long before = anonymous();
    long peak = 0;
    const weights::WeightFile file = weights::read_weight_file(folder / name);
    REQUIRE(file.tensors.size() == kTensors);
    for (int i = 0; i < kTensors; ++i) {
      const Tensor t = file.tensors[static_cast<std::size_t>(i)].read();
      const std::span<const float> values = t.values<float>();
      CHECK(std::all_of(values.begin(), values.end(), [&](float v) { return v == static_cast<float>(i); }));
      peak = std::max(peak, anonymous() - before);
    }
    CHECK(peak < 3 * 1024);
  }
}
