// fovea augment-preview: draws pictures beside their augmented versions, so that people can look at what training will
// see.
#include <cstdio>
#include <memory>
#include <string>

#include "augment/open.h"
#include "augment/preview.h"
#include "image/encode.h"
#include "tools/augment_options.h"
#include "tools/command.h"
#include "tools/data_source.h"

namespace fovea::tools {
namespace {

struct AugmentPreviewArguments {
  Common common;
  AugmentOptions augment;
  std::string data, split, out = "grid.png";
  int rows = 6, columns = 8, cell = 0, image_size = 0;
};

int run_preview(const AugmentPreviewArguments& o) {
  apply_common(o.common);
  const std::string path = data_path(o.data);
  std::string split = o.split;
  if (split.empty() && !available_splits(path).empty()) split = "train";
  const DatasetPtr data = open_dataset(path, split);
  const std::optional<SmallPictures> small = small_pictures(*data);
  const int size = o.image_size > 0 ? o.image_size : small ? small->side : 224;
  const std::vector<TransformPtr> transforms = make_transforms(o.augment, size, size, small.has_value());
  const image::Image grid =
      preview_grid(*data, transforms, {.rows = o.rows, .columns = o.columns, .cell = o.cell, .seed = o.common.seed});
  image::write_image(o.out, grid);
  if (!o.common.quiet) {
    std::printf("%s: %d×%d, %s\n", o.out.c_str(), grid.width, grid.height,
                transforms.empty() ? "no augmentation" : to_string(transforms).c_str());
    if (!make_batch_transforms(o.augment).empty())
      std::fprintf(stderr, "fovea: mixup and cutmix mix whole batches and are not shown\n");
  }
  return 0;
}

}  // namespace

void add_augment_preview(CLI::App& app, Action& action) {
  auto o = std::make_shared<AugmentPreviewArguments>();
  CLI::App* command = app.add_subcommand("augment-preview", "Draw pictures beside their augmented versions");
  command->footer(
      "Examples:\n"
      "  fovea augment-preview photos --out grid.png\n"
      "  fovea augment-preview photos --augment strong --rotate 30 --out grid.png");
  command->add_option("source", o->data, "The pictures, as `fovea train` takes them")->required();
  command->add_option("-o,--out", o->out, "The picture to write: .png or .jpg")->capture_default_str();
  command->add_option("--split", o->split, "Which part of the data: train, val or test");
  command->add_option("--rows", o->rows, "Pictures to show")->check(CLI::Range(1, 64))->capture_default_str();
  command->add_option("--columns", o->columns, "The original and its augmented versions")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  command->add_option("--cell", o->cell, "Side of a cell in pixels (default: fitting)")->check(CLI::Range(16, 1024));
  command->add_option("--image-size", o->image_size, "Network input that crops aim at (default 224)")
      ->check(CLI::Range(4, 4096));
  add_augment_options(*command, o->augment);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_preview(*o); }; });
}

}  // namespace fovea::tools
