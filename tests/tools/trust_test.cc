// fovea evaluate --calibrate and --trust, fovea predict --trust.
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("trust: calibrate, evaluate and predict") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 20);
  make_pictures(folder / "other", {"ant", "bee"}, 15);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  const std::string file = folder / "a.trust";
  const Outcome fitted =
      run({"evaluate", folder / "run", folder / "other", "--calibrate", file, "--bootstrap", "20", "--json", "--tta"});
  INFO(fitted.err);
  REQUIRE(fitted.code == 0);
  const Json f = fitted.json();
  CHECK(f["trust"]["calibrated_on_these"] == true);
  CHECK(f["trust"]["coverage"].get<double>() >= 0.9);
  CHECK(f["intervals"]["accuracy"][0].get<double>() <= f["accuracy"].get<double>());
  CHECK(Json::parse(read(file))["pictures"] == 30);

  const Outcome used = run({"evaluate", folder / "run", folder / "data", "--split", "val", "--trust", file, "--json"});
  // A plain folder has no parts: the whole of it is meant.
  const Outcome whole = run({"evaluate", folder / "run", folder / "data", "--trust", file});
  CHECK(used.code != 0);
  REQUIRE(whole.code == 0);
  CHECK(contains(whole.out, "temperature "));
  CHECK(contains(whole.out, "answers: "));

  const Outcome predicted =
      run({"predict", folder / "run", folder / "data/ant/picture0.png", "--trust", file, "--json"});
  REQUIRE(predicted.code == 0);
  const Json p = predicted.json();
  CHECK((p["answer"] == "sure" || p["answer"] == "ambiguous" || p["answer"] == "strange"));
  CHECK(p["set"].is_array());
  // A file that holds every class in every set: unsure in words.
  Json all = Json::parse(read(file));
  all["conformal"]["threshold"] = nullptr;
  all["energy_threshold"] = nullptr;
  write(folder / "all.trust", all.dump());
  CHECK(
      contains(run({"predict", folder / "run", folder / "data/ant/picture0.png", "--trust", folder / "all.trust"}).out,
               "unsure: one of "));
  all["energy_threshold"] = -1e9;
  write(folder / "strange.trust", all.dump());
  CHECK(contains(
      run({"predict", folder / "run", folder / "data/ant/picture0.png", "--trust", folder / "strange.trust"}).out,
      "unsure: unlike"));

  CHECK(run({"evaluate", folder / "run", folder / "other", "--calibrate", file, "--trust", file}).code == 2);
  write(folder / "bad.trust", "{}");
  CHECK(run({"predict", folder / "run", folder / "data/ant/picture0.png", "--trust", folder / "bad.trust"}).code == 1);
}
