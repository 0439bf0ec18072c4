// Features of a folder of pictures (decode, resize, forward): what the frozen stage of transfer learning waits for.
// Prints images/s of each pass, the first of which is not counted; bench/peers/extract.py runs it beside PyTorch.
//
//   extract DATA NETWORK_OR_WEIGHTS [--passes N] [--threads N] [--workers N] [--batch N] [--uncompiled] [--out FILE]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>

#include "augment/open.h"
#include "core/io/file.h"
#include "core/threads/parallel.h"
#include "infer/compile/compile.h"
#include "models/load.h"
#include "models/zoo.h"
#include "train/linear_probe.h"

using namespace fovea;

namespace {

int run(int argc, char** argv) {
  if (argc < 3) throw Error(ErrorKind::usage, "extract", "needs data and a network");
  std::string out;
  int passes = 3;
  bool compiled = true;
  FeatureOptions options;
  options.cache = false;  // each picture is needed once
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (word == "--passes") passes = number();
    if (word == "--threads") set_num_threads(number());
    if (word == "--workers") options.workers = number();
    if (word == "--batch") options.batch_size = number();
    if (word == "--uncompiled") compiled = false;
    if (word == "--out" && i + 1 < argc) out = argv[++i];
  }
  const std::string name = argv[2];
  const Model model = std::filesystem::exists(name) ? models::load(name) : models::create(name, {.seed = 1});
  const DatasetPtr data = open_dataset(argv[1]);
  std::printf("{\"images\": %lld, \"images_per_s\": [", static_cast<long long>(data->size()));
  for (int pass = 0; pass <= passes; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    options.forward = compiled ? infer::fast_forward(feature_network(model)) : nullptr;
    const Features features = compute_features(model, data, options);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (pass > 0) std::printf("%s%.2f", pass > 1 ? ", " : "", static_cast<double>(data->size()) / seconds);
    if (pass == passes && !out.empty())
      write_file(out, {reinterpret_cast<const char*>(features.values.data<float>()), features.values.nbytes()});
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "extract: %s\n", error.what());
    return 2;
  }
}
