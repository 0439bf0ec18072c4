// Packs: what goes in comes out, what a model sees of it is the same bits, and damage is refused.
#include "augment/pack.h"

#include <cstring>

#include "augment/image_folder.h"
#include "augment/open.h"
#include "augment/pack_format_internal.h"
#include "image/preprocess.h"
#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

/// Pictures of different sizes in two parts.
void make_parts(const TempFolder& folder) {
  int size = 9;
  for (const char* path : {"train/b/1.png", "train/a/x1.png", "train/a/y2.png", "val/b/3.png"}) {
    ++size;
    put_png(folder / (std::string("data/") + path), noise_picture(size + 11, size, 3));
  }
}

std::string packed(const TempFolder& folder, const PackRule& rule = {}) {
  const std::string path = folder / "data.fpack";
  std::vector<PackPart> parts;
  for (const char* part : {"train", "val"})
    parts.push_back({part, open_dataset(folder / "data", part, {.class_names = {"a", "b"}})});
  PackOptions options;
  options.rule = rule;
  options.source = folder / "data";
  CHECK(write_pack(path, parts, options).empty());
  return path;
}

}  // namespace

TEST_CASE("pack: pictures, labels, names, groups and parts come out as they went in") {
  TempFolder folder;
  make_parts(folder);
  const std::string path = packed(folder, {.shorter_side = 0});
  CHECK(PackDataset::is_pack(path));
  CHECK_FALSE(PackDataset::is_pack(folder / "data/train/b/1.png"));
  CHECK(available_splits(path) == std::vector<std::string>{"train", "val"});
  for (const char* part : {"train", "val", ""}) {
    const DatasetPtr before = open_dataset(folder / "data", part, {.class_names = {"a", "b"}, .group_prefix = 1}),
                     after = open_dataset(path, part, {.image_size = 7, .group_prefix = 1});
    REQUIRE(after->size() == before->size());
    CHECK(after->class_names() == before->class_names());
    CHECK(after->image_size() == 7);
    CHECK(after->in_memory());
    CHECK(after->warnings().empty());
    for (std::int64_t i = 0; i < after->size(); ++i) {
      CHECK(after->image(i) == before->image(i));
      CHECK(after->label(i) == before->label(i));
      CHECK(after->name(i) == before->name(i));
      CHECK(after->group(i) == before->group(i));
    }
  }
  const DatasetPtr other = open_dataset(path, "val", {.class_names = {"c", "b", "a"}});
  CHECK(other->label(0) == 1);
  CHECK(contains(error_of([&] { open_dataset(path, "", {.class_names = {"b", "c"}}); }), "the class 'a'"));
  CHECK(contains(error_of([&] { open_dataset(path, "test"); }), "no part \"test\""));

  // Groups that were there when it was packed stay.
  const ImageFolder grouped(folder / "data/train", {.group_prefix = 1});
  write_pack(folder / "groups.fpack", {{"", std::make_shared<ImageFolder>(grouped)}});
  const PackDataset groups(folder / "groups.fpack");
  CHECK(groups.parts().empty());
  CHECK(groups.group(0) == "x");
}

TEST_CASE("pack: what a model's preprocessing makes of it is what it makes of the original") {
  TempFolder folder;
  for (int i = 0; i < 6; ++i)
    put_png(folder / ("data/a/" + std::to_string(i) + ".png"), noise_picture(20 + 31 * i, 90 - 12 * i, i % 2 ? 3 : 1));
  const ImageFolder original(folder / "data");
  for (const image::ResizeRule resize :
       {image::ResizeRule::shorter_side_then_center_crop, image::ResizeRule::stretch}) {
    image::Preprocessing p;
    p.width = p.height = 32;
    p.resize_size = 37;
    p.rule = resize;
    p.filter = image::Filter::bicubic;
    PackRule rule{.shorter_side = 37, .filter = image::Filter::bicubic, .channels = 3};
    if (resize == image::ResizeRule::stretch) rule.width = rule.height = 32;
    PackOptions options;
    options.rule = rule;
    write_pack(folder / "x.fpack", {{"", std::make_shared<ImageFolder>(original)}}, options);
    const PackDataset small(folder / "x.fpack");
    CHECK(small.rule().filter == image::Filter::bicubic);
    REQUIRE(small.size() == 6);
    for (std::int64_t i = 0; i < small.size(); ++i) {
      CHECK(image::fit(small.image(i), p) == image::fit(original.image(i), p));
      if (resize == image::ResizeRule::stretch) CHECK(small.image(i).width == 32);
    }
  }
}

TEST_CASE("pack: a change of the data beside it is noticed") {
  TempFolder folder;
  make_parts(folder);
  const std::string path = packed(folder);
  CHECK(open_dataset(path)->warnings().empty());
  put_png(folder / "data/train/a/new.png", noise_picture(8, 8, 3));
  REQUIRE(open_dataset(path)->warnings().size() == 1);
  CHECK(contains(open_dataset(path)->warnings()[0], "has changed since it was packed"));
  CHECK(PackDataset(path).warnings().empty());  // nobody asked
  CHECK(open_dataset(packed(folder))->warnings().empty());
  fs::remove_all(folder / "data");  // only the pack was kept
  CHECK(open_dataset(path)->warnings().empty());
}

TEST_CASE("pack: broken pictures are left out on request, and nothing is half written") {
  TempFolder folder;
  make_parts(folder);
  write(folder / "data/train/a/zz.png", "no picture");
  const DatasetPtr data = open_dataset(folder / "data", "train");
  CHECK(contains(error_of([&] { write_pack(folder / "x.fpack", {{"", data}}); }), "zz.png"));
  CHECK_FALSE(fs::exists(folder / "x.fpack"));
  PackOptions options;
  options.skip_corrupt = true;
  const auto left_out = write_pack(folder / "x.fpack", {{"", data}}, options);
  REQUIRE(left_out.size() == 1);
  CHECK(contains(left_out[0], "zz.png"));
  CHECK(PackDataset(folder / "x.fpack").size() == data->size() - 1);
}

TEST_CASE("pack: every damaged number is refused") {
  TempFolder folder;
  make_parts(folder);
  const std::string good = read(packed(folder)), path = folder / "bad.fpack";
  const auto refused = [&](const std::string& bytes) {
    write(path, bytes);
    return error_of([&] { PackDataset{path}; });
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{40}, good.size() - 1})
    CHECK(contains(refused(good.substr(0, size)), "format"));
  pack::Footer footer;
  const std::size_t at = good.size() - sizeof footer;
  std::memcpy(&footer, good.data() + at, sizeof footer);
  for (std::uint64_t pack::Footer::*field : {&pack::Footer::json, &pack::Footer::json_bytes, &pack::Footer::records,
                                             &pack::Footer::count, &pack::Footer::text, &pack::Footer::text_bytes}) {
    for (const std::uint64_t value : {std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} / 48 + 2}) {
      std::string bytes = good;
      pack::Footer bad = footer;
      bad.*field = value;
      std::memcpy(bytes.data() + at, &bad, sizeof bad);
      CHECK(contains(refused(bytes), "format"));
    }
  }
  pack::Record record;
  const auto with = [&](auto change) {
    std::string bytes = good;
    std::memcpy(&record, bytes.data() + footer.records, sizeof record);
    change(record);
    std::memcpy(bytes.data() + footer.records, &record, sizeof record);
    return refused(bytes);
  };
  CHECK(contains(with([](auto& r) { r.pixels = ~std::uint64_t{0} - 5; }), "outside"));
  CHECK(contains(with([](auto& r) { r.width = 1 << 20, r.height = 1 << 20; }), "outside"));
  CHECK(contains(with([](auto& r) { r.width = 0; }), "is 0x"));
  CHECK(contains(with([](auto& r) { r.height = 1u << 31; }), "format"));
  CHECK(contains(with([](auto& r) { r.channels = 2; }), "2 channels"));
  CHECK(contains(with([](auto& r) { r.label = 2; }), "class or part"));
  CHECK(contains(with([](auto& r) { r.part = 2; }), "class or part"));
  CHECK(contains(with([](auto& r) { r.name = 1 << 20; }), "name"));
  CHECK(contains(with([](auto& r) { r.name_bytes = ~0u, r.group_bytes = ~0u; }), "name"));
  CHECK(with([](auto&) {}) == "none");
}
