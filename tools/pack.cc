// fovea pack: a data set as one file of decoded pictures.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "augment/csv_dataset.h"
#include "augment/open.h"
#include "augment/pack.h"
#include "core/error.h"
#include "tools/command.h"
#include "tools/data_source.h"
#include "tools/model_source.h"
#include "tools/progress.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

struct PackArguments {
  Common common;
  std::string data, out, model;
  int size = 256, group_prefix = 0;
  bool skip_corrupt = false, fast = false;
};

/// What a model makes of pictures before it cuts its square out of them.
PackRule rule_of(const PackArguments& o) {
  if (o.model.empty()) return {.shorter_side = o.size};
  ModelSource source;
  source.path = o.model;
  const image::Preprocessing p = open_model(source, o.common.seed).preprocessing;
  PackRule rule{.shorter_side = p.resize_size, .filter = p.filter, .channels = p.channels};
  if (p.rule == image::ResizeRule::stretch) {
    rule.width = p.width;
    rule.height = p.height;
  }
  return rule;
}

int run_pack(const PackArguments& o) {
  apply_common(o.common);
  const std::string path = data_path(o.data);
  const std::string out = o.out.empty() ? last_name(path).stem().string() + ".fpack" : o.out;
  std::vector<std::string> names = available_splits(path);
  if (names.empty()) names = {""};
  PackOptions packing;
  packing.rule = rule_of(o);
  const PackRule& rule = packing.rule;
  const int side = rule.width > 0 ? std::max(rule.width, rule.height) : rule.shorter_side;
  packing.source = path;
  packing.skip_corrupt = o.skip_corrupt;
  std::vector<PackPart> parts;
  OpenOptions open{.class_names = {}, .group_prefix = o.group_prefix};
  if (o.fast) open.decode.shorter_side_at_least = 2 * side;
  for (const std::string& name : names) {
    parts.push_back({name, open_dataset(path, name, open)});
    open.class_names = parts.front().data->class_names();
    for (const std::string& warning : parts.back().data->warnings())
      std::fprintf(stderr, "fovea: warning: %s\n", warning.c_str());
  }
  if (const auto manifest = std::dynamic_pointer_cast<const CsvDataset>(parts.front().data))
    packing.class_weights = manifest->class_weights();
  ProgressBar bar(!o.common.quiet);
  packing.on_pictures = [&](std::int64_t done, std::int64_t total) { bar.update("packing", done, total, -1, ""); };
  const std::vector<std::string> left_out = write_pack(out, parts, packing);
  bar.clear();
  for (const std::string& line : left_out) std::fprintf(stderr, "fovea: warning: left out %s\n", line.c_str());
  const PackDataset made(out);
  const auto bytes = fs::file_size(out);
  if (o.common.json) {
    std::printf("%s\n", nlohmann::ordered_json{{"pack", out},
                                               {"pictures", made.size()},
                                               {"classes", made.class_names()},
                                               {"parts", made.parts()},
                                               {"bytes", bytes},
                                               {"left_out", left_out.size()}}
                            .dump()
                            .c_str());
  } else if (!o.common.quiet) {
    std::printf("%s: %lld pictures of %lld classes, %.1f MB\n", out.c_str(), static_cast<long long>(made.size()),
                static_cast<long long>(made.num_classes()), static_cast<double>(bytes) / (1 << 20));
  }
  return 0;
}

}  // namespace

void add_pack(CLI::App& app, Action& action) {
  auto o = std::make_shared<PackArguments>();
  CLI::App* command = app.add_subcommand("pack", "Decode a data set once, into one file that trains faster");
  command->footer(
      "Examples:\n"
      "  fovea pack photos                                  photos.fpack: shorter sides of 256 pixels\n"
      "  fovea pack photos --model efficientnet_lite0       resized as this network does it\n"
      "  fovea train photos.fpack                           and evaluate, explain, audit, …: wherever a folder is "
      "taken\n\n"
      "With --model, what the network sees of a packed picture is to the bit what it sees of the original where it "
      "cuts "
      "out the middle, as evaluation does; random crops for training see the smaller picture. A pack that lies beside "
      "its data notices when that has changed.");
  command->add_option("source", o->data, "What `fovea train` takes: a folder, a CSV manifest, …")->required();
  command->add_option("-o,--out", o->out, "File to write (default: the name of the data, with .fpack)");
  CLI::Option* size =
      command->add_option("--size", o->size, "Shorter side that larger pictures are shrunk to; 0: none are")
          ->check(CLI::Range(0, 16384))
          ->capture_default_str();
  command->add_option("--model", o->model, "Resize as this network, model file or run does before it crops")
      ->excludes(size);
  command
      ->add_option("--group-prefix", o->group_prefix,
                   "So many first characters of a file name are its group (patient, camera), never split")
      ->check(CLI::Range(0, 255));
  command->add_flag("--fast", o->fast,
                    "Decode large JPEGs at 1/2, 1/4 or 1/8 where that is still twice the size: several times as fast, "
                    "but pixels differ a little from what Pillow makes");
  command->add_flag("--skip-corrupt", o->skip_corrupt, "Leave out pictures that cannot be read instead of stopping");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_pack(*o); }; });
}

}  // namespace fovea::tools
