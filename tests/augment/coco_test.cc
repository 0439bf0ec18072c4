// COCO Camera Traps files.
#include "augment/coco_dataset.h"

#include <set>

#include "augment/open.h"
#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

using Fields = std::vector<std::string>;

const std::string kCategories =
    R"("categories":[{"id":0,"name":"empty"},{"id":10,"name":"deer"},{"id":9,"name":"fox"}])";

/// A file of these images and annotations, with the categories above.
std::string coco(const std::string& images, const std::string& annotations) {
  return "{\"images\":[" + images + "],\"annotations\":[" + annotations + "]," + kCategories + "}";
}

std::string image_json(const std::string& id, const std::string& more = "") {
  return "{\"id\":\"" + id + "\",\"file_name\":\"" + id + ".png\"" + more + "}";
}
std::string label_json(const std::string& id, int category) {
  return "{\"image_id\":\"" + id + "\",\"category_id\":" + std::to_string(category) + "}";
}

}  // namespace

TEST_CASE("coco: pictures, labels and places of a file as archives publish them") {
  TempFolder folder;
  for (const char* name : {"site 1/a.png", "site 1/b.png", "c.png", "d.png"})
    put_png(folder / name, noise_picture(4, 3, 3));
  write(folder / "traps.json", R"({
    "info": {"version": "1.0", "nested": [[{"images": [1, 2]}]], "year": 2024},
    "annotations": [
      {"id": "1", "image_id": "A", "category_id": 10, "bbox": [1.5, 2, 3, 4], "sequence_level_annotation": true},
      {"id": "2", "image_id": "b-b", "category_id": 0, "bbox": []},
      {"id": "3", "image_id": 7, "category_id": 9},
      {"id": "4", "image_id": "d", "category_id": 9, "attributes": {"image_id": {"category_id": "x"}}}],
    "images": [
      {"id": "A", "file_name": "site 1/a.png", "location": 12, "seq_id": "s1", "width": 4, "height": 3, "corrupt": false},
      {"id": "b-b", "file_name": "site 1/b.png", "location": "12", "seq_id": "s2", "datetime": null},
      {"id": 7, "file_name": "./c.png", "location": "creek \u00fc", "seq_id": "s2"},
      {"id": "d", "file_name": "d.png", "location": null}],
    "categories": [{"id": 10, "name": "deer"}, {"id": 0, "name": "empty"}, {"id": 9, "name": "fox", "count": 2},
                   {"id": 11, "name": "lynx"}]})");
  const CocoDataset data(folder / "traps.json");
  REQUIRE(data.size() == 4);
  CHECK(data.class_names() == Fields{"empty", "fox", "deer"});  // by id, and only those that occur
  CHECK(data.label(0) == 2);
  CHECK(data.label(1) == 0);
  CHECK(data.label(2) == 1);
  CHECK(data.group(0) == "12");
  CHECK(data.group(0) == data.group(1));
  CHECK(data.group(2) == "creek ü");
  CHECK(data.group(3).empty());
  CHECK(data.name(0) == folder / "site 1/a.png");
  for (std::int64_t i = 0; i < 4; ++i) CHECK(data.image(i).width == 4);
  REQUIRE(data.warnings().size() == 1);
  CHECK(contains(data.warnings()[0], "1 pictures without location"));

  CHECK(CocoDataset(folder / "traps.json", {.group = CocoGroup::sequence}).group(1) == "s2");
  CHECK(CocoDataset(folder / "traps.json", {.group = CocoGroup::none}).group(1).empty());
  const Fields names = {"deer", "fox", "lynx", "empty"};
  const CocoDataset renamed(folder / "traps.json", {.class_names = names});
  CHECK(renamed.class_names() == names);
  CHECK(renamed.label(1) == 3);
  CHECK(contains(error_of([&] {
                   CocoDataset(folder / "traps.json", {.class_names = {"deer", "fox"}});
                 }),
                 "usage: [" + folder / "traps.json" + "] category 'empty' of site 1/b.png is not among the 2"));

  // The same labels with the pictures elsewhere.
  fs::create_directories(folder / "labels");
  fs::copy(folder / "traps.json", folder / "labels/traps.json");
  CHECK(CocoDataset(folder / "labels/traps.json", {.folder = folder.path()}).size() == 4);
  CHECK(contains(error_of([&] { CocoDataset(folder / "labels/traps.json"); }), "file: ["));

  const DatasetPtr opened = open_dataset(folder / "traps.json");
  CHECK(opened->size() == 4);
  CHECK(opened->group(1) == "12");
  CHECK(available_splits(folder / "traps.json").empty());
  CHECK(contains(error_of([&] { open_dataset(folder / "traps.json", "train"); }), "has no part \"train\""));
}

TEST_CASE("coco: one label of several annotations, and what is left out is said") {
  TempFolder folder;
  for (const char* name : {"most", "both", "blank", "tie", "none", "bad"})
    put_png(folder / (std::string(name) + ".png"), noise_picture(3, 3, 1));
  const auto add = [](const std::string& id, const std::vector<int>& categories) {
    std::string text;
    for (const int c : categories) text += label_json(id, c) + ",";
    return text;
  };
  write(folder / "m.json",
        coco(image_json("most", ",\"seq_id\":1") + "," + image_json("both") + "," + image_json("blank") + "," +
                 image_json("tie") + "," + image_json("none") + "," + image_json("bad", ",\"corrupt\":true") + "," +
                 image_json("gone"),
             add("most", {10, 9, 9}) + add("both", {0, 0, 10}) + add("blank", {0, 0}) + add("tie", {9, 10}) +
                 add("bad", {9}) + add("gone", {9}) + label_json("unlisted", 10)));
  const CocoDataset data(folder / "m.json");
  REQUIRE(data.size() == 3);
  CHECK(data.class_names()[static_cast<std::size_t>(data.label(0))] == "fox");
  CHECK(data.class_names()[static_cast<std::size_t>(data.label(1))] == "deer");
  CHECK(data.class_names()[static_cast<std::size_t>(data.label(2))] == "empty");
  CHECK(data.group(0) == "1");  // no locations here: bursts stay together
  std::string all;
  for (const std::string& warning : data.warnings()) all += warning + "\n";
  CHECK(contains(all, "1 picture left out: there is no such file (gone.png)"));
  CHECK(contains(all, "1 picture left out: without annotation, which is not the same as empty (none.png)"));
  CHECK(contains(all, "several categories with equally many annotations (tie.png)"));
  CHECK(contains(all, "marked corrupt (bad.png)"));
  CHECK(contains(all, "1 annotations of pictures that are not listed"));
  CHECK(contains(all, "2 pictures without seq_id"));
  // Not looked for now, a missing file is an error when its turn comes.
  const CocoDataset unchecked(folder / "m.json", {.check_files = false});
  REQUIRE(unchecked.size() == 4);
  CHECK(contains(error_of([&] { unchecked.image(3); }), "gone.png"));

  std::string images, labels;
  for (int i = 0; i < 9; ++i) {
    images += image_json("x" + std::to_string(i)) + ",";
    labels += label_json("x" + std::to_string(i), 9) + ",";
  }
  write(folder / "m.json", coco(images + image_json("most"), labels + label_json("most", 9)));
  CHECK(contains(CocoDataset(folder / "m.json").warnings().at(0),
                 "9 pictures left out: there is no such file (x0.png, x1.png, x2.png, …)"));
}

TEST_CASE("coco: a split never cuts a camera's place") {
  TempFolder folder;
  std::string images, labels;
  for (int i = 0; i < 90; ++i) {
    const std::string id = std::to_string(i), comma = i ? "," : "";
    put_png(folder / (id + ".png"), noise_picture(2, 2, 1));
    images += comma + image_json(id, ",\"location\":" + std::to_string(i * i % 13));
    labels += comma + label_json(id, i % 3 == 0 ? 0 : i % 3 == 1 ? 9 : 10);
  }
  write(folder / "m.json", coco(images, labels));
  const Splits parts = split(open_dataset(folder / "m.json"), {.val = 0.25, .test = 0.25, .seed = 3});
  std::set<std::string> places[3];
  std::int64_t total = 0;
  const DatasetPtr all[] = {parts.train, parts.val, parts.test};
  for (int p = 0; p < 3; ++p) {
    total += all[p]->size();
    CHECK(all[p]->size() > 0);
    for (std::int64_t i = 0; i < all[p]->size(); ++i) places[p].insert(all[p]->group(i));
  }
  CHECK(total == 90);
  for (int p = 0; p < 3; ++p) {
    for (const std::string& place : places[p]) CHECK(places[(p + 1) % 3].count(place) == 0);
  }
}

TEST_CASE("coco: bad files are answered with the place and what was expected") {
  TempFolder folder;
  put_png(folder / "a.png", noise_picture(3, 3, 1));
  put_png(folder / "sub/b.png", noise_picture(3, 3, 1));
  const auto fails = [&](const std::string& text) {
    write(folder / "m.json", text);
    return error_of([&] { CocoDataset(folder / "m.json"); });
  };
  const std::string a = image_json("a"), la = label_json("a", 9);
  CHECK(fails(coco(a, la)) == "none");

  for (const char* text : {"", " ", "{", "[", "{\"images\":[", "\"images\"", "{}x", "{\"images\":[1e999]}",
                           "\xff\xfe{}", "{\"a\":\"\xc3\x28\"}"})
    CHECK(contains(fails(text), "format: [" + folder / "m.json" + "]"));
  CHECK(contains(fails("{\"images\": oops}"), "is no valid JSON at byte 1"));
  CHECK(contains(fails("[]"), "begins with a list, expected an object"));
  CHECK(contains(fails("3"), "begins with a number, expected an object"));
  CHECK(contains(fails("{}"), "has no \"images\""));
  CHECK(contains(fails("{\"images\":[],\"categories\":[]}"), "has no \"annotations\""));
  CHECK(contains(fails("{\"images\":[],\"images\":[]}"), "has \"images\" twice"));
  CHECK(contains(fails("{\"images\":{}}"), "images is an object, expected a list"));
  CHECK(contains(fails("{\"annotations\":null}"), "annotations is null, expected a list"));
  CHECK(contains(fails("{\"images\":[" + a + ",7]}"), "images[1] is a number, expected an object"));
  CHECK(contains(fails("{\"images\":[[]]}"), "images[0] is a list, expected an object"));
  CHECK(contains(fails("{\"images\":[" + a + ",{\"id\":3}]}"), "images[1] has no file_name"));
  CHECK(contains(fails("{\"images\":[{\"file_name\":\"x\"}]}"), "images[0] has no id"));
  CHECK(contains(fails("{\"images\":[{\"id\":1,\"file_name\":\"\"}]}"), "images[0] has no file_name"));
  CHECK(contains(fails("{\"images\":[{\"id\":1.5}]}"),
                 "images[0].id is a number with a fraction, expected a string or a whole number"));
  CHECK(contains(fails("{\"images\":[{\"id\":null}]}"), "images[0].id is null"));
  CHECK(contains(fails("{\"images\":[{\"id\":true}]}"), "images[0].id is true or false"));
  CHECK(contains(fails("{\"images\":[{\"id\":[1]}]}"), "images[0].id is a list"));
  CHECK(contains(fails("{\"images\":[{\"file_name\":17}]}"), "images[0].file_name is a number, expected a string"));
  CHECK(contains(fails("{\"images\":[{\"location\":{}}]}"), "images[0].location is an object"));
  CHECK(
      contains(fails("{\"images\":[{\"corrupt\":\"no\"}]}"), "images[0].corrupt is a string, expected true or false"));
  CHECK(contains(fails("{\"annotations\":[{\"image_id\":1}]}"), "annotations[0] has no category_id"));
  CHECK(
      contains(fails("{\"categories\":[{\"id\":1,\"name\":2}]}"), "categories[0].name is a number, expected a string"));
  CHECK(contains(fails(coco(a, label_json("a", 12))),
                 "annotations[0].category_id is 12, which is not among the 3 categories"));
  CHECK(contains(fails(coco(a + "," + a, la)), "two images have the id a"));
  CHECK(contains(fails("{\"images\":[],\"annotations\":[],\"categories\":[{\"id\":1,\"name\":\"x\"},{\"id\":\"1\","
                       "\"name\":\"y\"}]}"),
                 "two categories have the id 1"));
  CHECK(contains(fails(coco("", "")), "lists no pictures"));
  CHECK(contains(fails(coco(a, "")),
                 "format: [" + folder / "m.json" + "] has no usable picture: 1 picture left out: without annotation"));
  CHECK(
      contains(fails(coco(image_json("b"), label_json("b", 9))), "(file names are relative to " + folder.path() + ")"));

  // Deep nesting and long texts.
  const auto nested = [](int depth) { return "{\"info\":" + std::string(depth, '[') + std::string(depth, ']') + ","; };
  CHECK(fails(nested(60) + coco(a, la).substr(1)) == "none");
  CHECK(contains(fails(nested(1'000'000)), "is nested deeper than 64 levels"));
  CHECK(contains(fails(std::string(1'000'000, '{')), "format: ["));
  CHECK(contains(fails("{\"x\":\"" + std::string(1'000'000, 'q')), "is no valid JSON"));
  CHECK(fails("{\"x\":\"" + std::string(1'000'000, 'q')).size() < 500);

  // Paths stay below the folder.
  const auto path = [&](const std::string& file) {
    return fails(coco("{\"id\":\"a\",\"file_name\":\"" + file + "\"}", la));
  };
  CHECK(path("./sub//b.png") == "none");
  CHECK(path("..a.png").find("leaves") == std::string::npos);
  for (const char* file : {"../a.png", "sub/../a.png", "sub/..", ".."})
    CHECK(contains(path(file), "images[0].file_name leaves the folder by .."));
  CHECK(contains(path(folder / "a.png"), "images[0].file_name is an absolute path"));
  CHECK(contains(path("a.png\\u0000"), "images[0].file_name contains a NUL character"));
  CHECK(contains(path("sub"), "there is no such file (sub)"));

  CHECK(contains(error_of([&] { CocoDataset(folder / "none.json"); }), "file: ["));
  CHECK(contains(error_of([&] { CocoDataset(folder.path()); }), "this is a folder"));
  CHECK(contains(error_of([&] { CocoDataset(folder / "m.json", {.image_size = -1}); }), "usage: "));
}
