// A COCO Camera Traps file as the data of train and evaluate.
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("coco: train and evaluate take a camera-trap file, say what is left out, and keep places whole") {
  const TempFolder folder;
  make_pictures(folder / "data", {"empty", "fox"}, 12);
  Json images = Json::array(), annotations = Json::array();
  for (int i = 0; i < 12; ++i) {
    for (const int category : {0, 4}) {
      const std::string id = (category == 0 ? "e" : "f") + std::to_string(i);
      const std::string file = (category == 0 ? "empty" : "fox");
      images.push_back(
          {{"id", id}, {"file_name", file + "/picture" + std::to_string(i) + ".png"}, {"location", i % 4}});
      annotations.push_back({{"image_id", id}, {"category_id", category}});
    }
  }
  images.push_back({{"id", "x"}, {"file_name", "fox/withheld.png"}, {"location", 1}});
  annotations.push_back({{"image_id", "x"}, {"category_id", 4}});
  Json file{{"images", images}, {"annotations", annotations}};
  file["categories"] = {{{"id", 0}, {"name", "empty"}}, {{"id", 4}, {"name", "fox"}}};
  write(folder / "data/traps.json", file.dump());

  const Outcome trained = run(quick_train(folder / "data/traps.json", folder / "run", {"--val", "0.25"}));
  CHECK(trained.code == 0);
  CHECK(contains(trained.err, "1 picture left out: there is no such file (fox/withheld.png)"));
  // Four places of three pictures a class each: one of them is the quarter kept for validation.
  CHECK(contains(trained.out + trained.err, "n 6"));
  const Outcome judged = run({"evaluate", folder / "run", folder / "data/traps.json", "--json"});
  REQUIRE(judged.code == 0);
  CHECK(judged.json().at("n") == 24);
  CHECK(judged.json().at("confusion").size() == 2);

  file["images"][0]["file_name"] = "../data/empty/picture0.png";
  write(folder / "data/traps.json", file.dump());
  const Outcome refused = run({"evaluate", folder / "run", folder / "data/traps.json"});
  CHECK(refused.code != 0);
  CHECK(contains(refused.err, "images[0].file_name leaves the folder"));
}
