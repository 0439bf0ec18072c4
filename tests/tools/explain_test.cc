// fovea explain: files, names of classes, what goes wrong.
#include <algorithm>

#include "core/io/safetensors.h"
#include "image/decode.h"
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("explain: overlays and maps of pictures") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "red bee", "bee"}, 4);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  const std::string picture = folder / "data/ant/picture0.png", same_name = folder / "data/bee/picture0.png";
  const Outcome out = run(
      {"explain", folder / "run", picture, same_name, "--out", folder / "why", "--csv", "--json", "--class", "bee"});
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(files_below(folder / "why") == Words{"picture0.gradcam.2.csv", "picture0.gradcam.2.png",
                                             "picture0.gradcam.2.safetensors", "picture0.gradcam.csv",
                                             "picture0.gradcam.png", "picture0.gradcam.safetensors"});
  const Json first = Json::parse(out.out.substr(0, out.out.find('\n')));
  CHECK(first["class"] == "bee");
  CHECK(first["method"] == "gradcam");
  CHECK(first["file"] == picture);
  const auto map = fovea::read_safetensors(first["map"].get<std::string>());
  CHECK(map.find("map").rank() == 2);
  CHECK(*map.find_metadata("class") == "bee");
  CHECK(fovea::image::read_image(first["overlay"].get<std::string>()).width > 700);
  const std::string csv = read(folder / "why/picture0.gradcam.csv");
  CHECK(std::count(csv.begin(), csv.end(), '\n') == map.find("map").dim(0));

  const Outcome lime = run({"explain", folder / "run", picture, "--method", "lime", "--segments", "6", "--samples",
                            "20", "--seeds", "2", "--out", folder / "why", "--json"});
  REQUIRE(lime.code == 0);
  CHECK(lime.json().contains("stability"));
  CHECK(lime.json()["top_segments"].size() == 2);
}

TEST_CASE("explain: what is wrong is said") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "red bee", "blue bee"}, 4);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  const std::string picture = folder / "data/ant/picture0.png";
  const auto explain = [&](const Words& more) {
    Words words{"explain", folder / "run", picture, "--out", folder / "why"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  const Outcome two = explain({"--class", "BEE"});
  CHECK(two.code == 2);
  CHECK(contains(two.err, "blue bee, red bee"));
  CHECK(explain({"--class", "wasp"}).code == 2);
  CHECK(explain({"--class", "7"}).code == 2);
  CHECK(explain({"--class", "2"}).code == 0);
  CHECK(explain({"--layer", "nowhere"}).code == 2);
  CHECK(explain({"--method", "gradcan"}).code == 2);
  write(folder / "broken.png", "no picture");
  const Outcome broken = run({"explain", folder / "run", folder / "broken.png", picture, "--out", folder / "why2"});
  CHECK(broken.code == 1);
  CHECK(contains(broken.err, "broken.png"));
  CHECK(files_below(folder / "why2").size() == 2);  // the other one goes on
}
