// fovea audit on folders of pictures.
#include <filesystem>

#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("audit: what is planted in a folder is printed, and nothing is changed") {
  const TempFolder folder;
  make_pictures(folder / "data/train", {"ant", "bee"}, 30, 40);
  make_pictures(folder / "data/val", {"ant", "bee"}, 12, 41);
  fs::copy_file(folder / "data/train/ant/picture3.png", folder / "data/val/ant/copy.png");
  write(folder / "data/train/bee/broken.png", "no picture");
  const Words before = files_below(folder.path());
  const Outcome out = run({"audit", folder / "data"});
  INFO(out.out << out.err);
  REQUIRE(out.code == 0);
  CHECK(contains(out.out, "! corrupt: "));
  CHECK(contains(out.out, "broken.png"));
  CHECK(contains(out.out, "! leak: "));
  CHECK(contains(out.out, "copy.png are the same picture, in train and in val"));
  CHECK(files_below(folder.path()) == before);

  const Outcome json = run({"audit", folder / "data", "--json", "--out", folder / "findings.json"});
  REQUIRE(json.code == 0);
  CHECK(json.json()["counts"] == Json::parse("[[30,30],[13,12]]"));
  CHECK(Json::parse(read(folder / "findings.json")) == json.json());

  // A model, and groups from a list by file name.
  REQUIRE(run(quick_train(folder / "data/val", folder / "run")).code == 0);
  std::string groups = "path,group\n";
  for (int i = 0; i < 12; ++i) groups += "picture" + std::to_string(i) + ".png," + (i < 6 ? "north" : "south") + "\n";
  write(folder / "groups.csv", groups);
  const Outcome model =
      run({"audit", folder / "data/val", "--model", folder / "run", "--groups", folder / "groups.csv", "--json"});
  REQUIRE(model.code == 0);
  const Json slices = model.json()["slices"]["list"];
  REQUIRE(slices.size() >= 2);
  CHECK(slices[0]["attribute"] == "group");
  CHECK(slices[0]["name"] == "north");
  CHECK(slices[0]["pictures"] == 12);
  CHECK(slices[0]["classes"][1]["class"] == "bee");
  CHECK(slices[0]["classes"][0]["pictures"].get<int>() + slices[0]["classes"][1]["pictures"].get<int>() == 12);
  const Outcome text =
      run({"audit", folder / "data/val", "--model", folder / "run", "--groups", folder / "groups.csv"});
  CHECK(contains(text.out, "worst of "));
  // Where the data has parts, those that training kept apart are asked about.
  const Outcome parts = run({"audit", folder / "data", "--model", folder / "run", "--json"});
  CHECK(parts.json()["slices"]["part"] == "val");
  write(folder / "bad.csv", "file,site\na,b\n");
  CHECK(run({"audit", folder / "data/val", "--groups", folder / "bad.csv"}).code == 1);
  CHECK(run({"audit", folder / "nothing"}).code == 1);
}
