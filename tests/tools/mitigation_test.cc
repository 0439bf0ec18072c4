// fovea audit --mitigate, and what training makes of it.
#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "image/encode.h"
#include "tests/tools/program.h"

using namespace tool;

namespace {

/// Stripes in noise, upright or level, of any brightness.
void striped_pictures(const std::string& folder, int count, bool level, std::uint64_t seed) {
  fs::create_directories(folder);
  for (int i = 0; i < count; ++i) {
    fovea::Rng rng(seed, folder.substr(folder.rfind("data/")), static_cast<std::uint64_t>(i));
    const double grey = rng.uniform(90, 160), period = rng.uniform(4, 7), phase = rng.uniform(0, 6.3),
                 strength = rng.uniform(20, 50);
    fovea::image::Image picture(16, 16, 3);
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        for (int c = 0; c < 3; ++c) {
          const double v = grey + strength * std::sin(6.283 * (level ? y : x) / period + phase) + rng.normal(0, 30);
          picture.at(x, y, c) = static_cast<std::uint8_t>(std::clamp(v, 0.0, 255.0));
        }
      }
    }
    fovea::image::write_png(folder + "/picture" + std::to_string(i) + ".png", picture);
  }
}

}  // namespace

TEST_CASE("mitigation: the rare class is found more often, over three seeds") {
  double before = 0, after = 0;
  for (int seed = 1; seed <= 3; ++seed) {
    const TempFolder folder;
    const auto s = static_cast<std::uint64_t>(seed);
    striped_pictures(folder / "data/train/common", 120, false, s);
    striped_pictures(folder / "data/train/rare", 6, true, s);
    striped_pictures(folder / "data/val/common", 60, false, s);
    striped_pictures(folder / "data/val/rare", 60, true, s);
    const auto recall = [&](const std::string& data, const std::string& out) {
      REQUIRE(run(quick_train(data, out,
                              {"--epochs", "6", "--batch-size", "16", "--image-size", "16", "--optimizer", "adam",
                               "--seed", std::to_string(seed), "-q"}))
                  .code == 0);
      return Json::parse(read(out + "/evaluation.json"))["classes"][1]["recall"].get<double>();
    };
    const double plain = recall(folder / "data", folder / "plain");
    const Outcome made = run({"audit", folder / "data", "--mitigate", folder / "even", "--mitigate-share", "1",
                              "--json", "--seed", std::to_string(seed)});
    INFO(made.err);
    REQUIRE(made.code == 0);
    CHECK(made.json()["mitigation"]["classes"][1]["synthetic"] == 30);
    CHECK(made.json()["mitigation"]["classes"][1]["repeated"] == 84);
    const double even = recall(made.json()["mitigation"]["manifest"].get<std::string>(), folder / "evened");
    INFO("seed " << seed << ": recall " << plain << ", then " << even);
    CHECK(even > plain);
    before += plain / 3;
    after += even / 3;
  }
  INFO("mean recall " << before << ", then " << after);
  CHECK(after > before + 0.1);
}

TEST_CASE("mitigation: proposed where it is needed, done where it is asked for") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant"}, 20);
  make_pictures(folder / "data", {"bee"}, 5);
  const Words before = files_below(folder.path());
  const Outcome proposal = run({"audit", folder / "data"});
  REQUIRE(proposal.code == 0);
  CHECK(contains(proposal.out, "--mitigate FOLDER"));
  CHECK(files_below(folder.path()) == before);
  // A plain folder is divided as training divides it: what is made of validation pictures would be a leak.
  REQUIRE(run({"audit", folder / "data", "--mitigate", folder / "even", "--mitigate-with", "weights,mixup"}).code == 0);
  const std::string manifest = read(folder / "even/manifest.csv");
  CHECK(contains(manifest, "../data/ant/picture"));
  CHECK(contains(manifest, ",val,"));
  const Outcome audited = run({"audit", folder / "even/manifest.csv", "--json"});
  REQUIRE(audited.code == 0);
  CHECK(audited.json()["parts"] == Json::parse(R"(["train", "val"])"));
  // Weights go into training, once.
  REQUIRE(run(quick_train(folder / "even/manifest.csv", folder / "run")).code == 0);
  CHECK(contains(read(folder / "run/run.json"), "class weights"));
  CHECK(run(quick_train(folder / "even/manifest.csv", folder / "run2", {"--balance", "weights"})).code == 2);

  CHECK(run({"audit", folder / "data", "--mitigate", folder / "even"}).code == 2);  // holds one already
  CHECK(run({"audit", folder / "data", "--mitigate", folder / "data/ant/even"}).code ==
        2);  // would become a part of the data
  CHECK(run({"audit", folder / "data", "--mitigate", folder / "data-even"}).code == 0);
  CHECK(run({"audit", folder / "data", "--mitigate", folder / "x", "--mitigate-with", "smote"}).code == 2);
  // Nothing to do: nothing said.
  make_pictures(folder / "fine", {"ant", "bee"}, 10);
  CHECK_FALSE(contains(run({"audit", folder / "fine"}).out, "--mitigate"));
}
