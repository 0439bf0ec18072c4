// Draws the augmentation preview.
#include "augment/preview.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "augment/options_internal.h"
#include "image/draw.h"
#include "image/resize.h"

namespace fovea {

namespace {

constexpr image::Color kPaper{250, 250, 248}, kInk{40, 44, 52}, kFaint{120, 124, 132}, kFrame{214, 214, 210},
    kShade{236, 236, 232};
constexpr int kGap = 6, kMargin = 14, kLabelGap = 4, kRowGap = 12;

/// Items of the rows: classes take turns, each in an order of its own, so that every class is seen before one is seen
/// twice.
std::vector<std::int64_t> choose(const Dataset& dataset, int rows, std::uint64_t seed) {
  std::vector<std::vector<std::int64_t>> by_class(dataset.class_names().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    by_class.at(static_cast<std::size_t>(dataset.label(i))).push_back(i);
  Rng rng(seed, "preview");
  std::vector<std::int64_t> chosen;
  const auto enough = std::min<std::size_t>(static_cast<std::size_t>(rows), static_cast<std::size_t>(dataset.size()));
  for (std::size_t turn = 0; chosen.size() < enough; ++turn) {
    for (auto& items : by_class) {
      if (turn >= items.size() || chosen.size() == enough) continue;
      std::swap(items[turn], items[turn + rng.below(items.size() - turn)]);
      chosen.push_back(items[turn]);
    }
  }
  // With fewer rows than classes, the first ones in order are as good as any; rows read better sorted by class.
  std::stable_sort(chosen.begin(), chosen.end(), [&](auto a, auto b) { return dataset.label(a) < dataset.label(b); });
  return chosen;
}

/// As large as fits into a square of this side: small pictures by whole factors without smoothing, large ones shrunk.
image::Image to_cell(const image::Image& picture, int side) {
  if (picture.empty()) return image::Image(side, side, 3, 255);
  const int longer = std::max(picture.width, picture.height);
  image::Image rgb = image::to_rgb(picture);
  if (longer <= side) {
    const int factor = side / longer;
    return factor == 1 ? rgb
                       : image::resize(rgb, picture.width * factor, picture.height * factor, image::Filter::nearest);
  }
  const auto scaled = [&](int v) {
    return std::max(1, static_cast<int>(static_cast<std::int64_t>(v) * side / longer));
  };
  return image::resize(rgb, scaled(picture.width), scaled(picture.height), image::Filter::bilinear);
}

struct Row {
  std::vector<image::Image> pictures;  // originals first; empty where the picture cannot be read
  std::string label;
};

}  // namespace

image::Image preview_grid(const Dataset& dataset, const std::vector<TransformPtr>& transforms,
                          const PreviewOptions& o) {
  const char* where = "preview_grid";
  transforms::require(where, "rows", o.rows, 1, 64);
  transforms::require(where, "columns", o.columns, 2, 64);
  if (o.cell != 0) transforms::require(where, "cell", o.cell, 16, 1024);
  if (dataset.size() == 0) throw Error(ErrorKind::usage, where, "the dataset is empty");
  for (const TransformPtr& t : transforms) {
    if (!t) throw Error(ErrorKind::usage, where, "a transform is null");
  }
  std::vector<Row> rows;
  int largest = 1;
  for (const std::int64_t item : choose(dataset, o.rows, o.seed)) {
    Row row{{}, dataset.class_names()[static_cast<std::size_t>(dataset.label(item))]};
    std::optional<image::Image> original;
    try {
      original = dataset.image(item);
    } catch (const Error&) {  // one bad file must not hide the others; the cells say so
    }
    if (original) {
      largest = std::max({largest, original->width, original->height});
      row.pictures.push_back(*original);
      for (int k = 1; k < o.columns; ++k) {
        image::Image version = *original;
        Rng rng(o.seed, "preview augment",
                (o.epoch * 64 + static_cast<std::uint64_t>(k)) * static_cast<std::uint64_t>(dataset.size()) +
                    static_cast<std::uint64_t>(item));
        for (const TransformPtr& t : transforms) t->apply(version, rng);
        row.pictures.push_back(std::move(version));
      }
    }
    rows.push_back(std::move(row));
  }
  const int cell = o.cell != 0 ? o.cell : largest <= 48 ? 96 / largest * largest : std::clamp(largest, 96, 160);
  const int scale = cell >= 128 ? 2 : 1;  // of letters
  const int label_height = image::kGlyphHeight * scale + kLabelGap;
  const int header = image::kGlyphHeight * scale + 2 * kLabelGap;
  const int count = static_cast<int>(rows.size());
  // The original stands apart by a wider gap on a shaded column.
  const int first_width = cell + 2 * kGap;
  const auto left_of = [&](int column) {
    return column == 0 ? kMargin + kGap : kMargin + first_width + kGap + (column - 1) * (cell + kGap);
  };
  const auto top_of = [&](int row) { return kMargin + header + row * (cell + label_height + kRowGap); };
  const int width = left_of(o.columns - 1) + cell + kMargin, height = top_of(count) - kRowGap + kMargin + kLabelGap;
  if (static_cast<std::int64_t>(width) * height > 1 << 28) {
    throw Error(ErrorKind::memory, where, str("a grid of ", width, "x", height, " pixels is too large"),
                "use fewer rows, columns or smaller cells");
  }
  image::Image canvas(width, height, 3, 255);
  image::fill_rect(canvas, 0, 0, width, height, kPaper);
  image::fill_rect(canvas, kMargin, kMargin, first_width, height - 2 * kMargin, kShade);
  image::draw_text(canvas, left_of(0), kMargin + kLabelGap, image::fit_text("original", cell, scale), kFaint, scale);
  image::draw_text(canvas, left_of(1), kMargin + kLabelGap,
                   image::fit_text("augmented", width - left_of(1) - kMargin, scale), kFaint, scale);
  for (int r = 0; r < count; ++r) {
    const Row& row = rows[static_cast<std::size_t>(r)];
    const int top = top_of(r);
    if (row.pictures.empty()) {
      image::draw_rect(canvas, left_of(0), top, cell, cell, kFrame);
      image::draw_text(canvas, left_of(0) + 4, top + 4, image::fit_text("unreadable", cell - 8, scale), kInk, scale);
    }
    int label_top = top + cell + kLabelGap;
    for (std::size_t k = 0; k < row.pictures.size(); ++k) {
      const image::Image shown = to_cell(row.pictures[k], cell);
      image::blit(canvas, shown, left_of(static_cast<int>(k)) + (cell - shown.width) / 2, top);
      if (k == 0) label_top = top + shown.height + kLabelGap;
    }
    // Below the augmented versions there is room, so that a long name may run on; beside them there is none.
    const int room = label_top >= top + cell ? width - left_of(0) - kMargin : cell;
    image::draw_text(canvas, left_of(0), label_top, image::fit_text(row.label, room, scale), kInk, scale);
  }
  return canvas;
}

}  // namespace fovea
