// fovea pack: training and evaluating from a pack as from the folder it was made of.
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("pack: trains and evaluates to the same bytes as the folder, where sizes are the same") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  const Outcome made = run({"pack", folder / "data", "--out", folder / "data.fpack", "--json", "-q"});
  INFO(made.err);
  REQUIRE(made.code == 0);
  CHECK(made.json()["pictures"] == 24);
  REQUIRE(run(quick_train(folder / "data", folder / "one")).code == 0);
  REQUIRE(run(quick_train(folder / "data.fpack", folder / "two")).code == 0);
  const std::string metrics = read(folder / "two/metrics.jsonl");
  const double wait = Json::parse(metrics.substr(0, metrics.find('\n')))["wait_share"].get<double>();
  CHECK(wait > 0);
  CHECK(wait < 1);
  CHECK(read(folder / "one/model.fovea") == read(folder / "two/model.fovea"));
  const auto judged = [&](const std::string& data) {
    const Outcome out = run({"evaluate", folder / "one", data, "--json", "-q"});
    INFO(out.err);
    REQUIRE(out.code == 0);
    return out.json()["accuracy"];
  };
  CHECK(judged(folder / "data") == judged(folder / "data.fpack"));

  // Pictures that came later are noticed.
  fs::copy(folder / "data/a/picture0.png", folder / "data/a/new.png");
  CHECK(contains(run(quick_train(folder / "data.fpack", folder / "three")).err, "has changed since it was packed"));
}

TEST_CASE("pack: as a network resizes, and what is wrong is said") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 2, 300);
  CHECK(run({"pack", folder / "data", "--out", folder / "x.fpack", "--model", "mobilenet_v2", "-q"}).code == 0);
  const auto small = fs::file_size(folder / "x.fpack");
  CHECK(small >= 4 * 256 * 256 * 3);
  CHECK(small < 4 * 256 * 256 * 3 + 4096);
  CHECK(run({"pack", folder / "data", "--out", folder / "x.fpack", "--model", "mobilenet_v2", "--size", "9"}).code ==
        2);
  CHECK(run({"pack", folder / "none", "--out", folder / "x.fpack"}).code != 0);
  CHECK(contains(run({"train", folder / "data/a/picture0.png"}).err, "fovea pack"));
}
