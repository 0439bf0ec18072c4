// fovea evaluate --calibrate and --trust, fovea predict --trust.
#include "image/encode.h"
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

TEST_CASE("trust: a model trained with --tta answers for both views everywhere") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 20);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  REQUIRE(run(quick_train(folder / "data", folder / "both", {"--tta"})).code == 0);
  const auto loss = [&](const char* which, const Words& more) {
    Words words{"evaluate", folder / which, folder / "data", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome o = run(words);
    INFO(o.err);
    REQUIRE(o.code == 0);
    return o.json()["log_loss"].get<double>();
  };
  // The preset does it, unless told otherwise.
  for (const bool plain : {false, true}) {
    Words words{"train", folder / "data", "--preset", "best", "--epochs", "1", "--image-size", "16"};
    words.insert(words.end(), {"--out", folder / (plain ? "one" : "two")});
    if (plain) words.push_back("--no-tta");
    const Outcome o = run(words);
    INFO(o.err);
    REQUIRE(o.code == 0);
    CHECK(contains(run({"inspect", folder / (plain ? "one" : "two")}).out, "mirror image") != plain);
  }
  // Equal weights, other answers; asking for both views once more changes nothing.
  CHECK(loss("both", {}) != loss("run", {}));
  CHECK(loss("both", {}) == loss("both", {"--tta"}));
  CHECK(contains(run({"inspect", folder / "both/model.fovea"}).out, "mirror image"));
  CHECK_FALSE(contains(run({"inspect", folder / "run/model.fovea"}).out, "mirror image"));
  // What a compiled network answers is what the model does.
  REQUIRE(run({"compile", folder / "both", "--out", folder / "both.net.fovea"}).code == 0);
  const Words picture{folder / "data/ant/picture0.png", "--json"};
  const auto predicted = [&](const std::string& model) {
    const Outcome o = run({"predict", model, picture[0], picture[1]});
    REQUIRE(o.code == 0);
    return o.json()["predictions"];
  };
  CHECK(predicted(folder / "both") == predicted(folder / "both.net.fovea"));
  CHECK(predicted(folder / "both") != predicted(folder / "run"));
}

TEST_CASE("trust: strangeness by features") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 40);
  make_pictures(folder / "other", {"ant", "bee"}, 60);
  REQUIRE(run(quick_train(folder / "data", folder / "run", {"--epochs", "3"})).code == 0);
  const std::string file = folder / "a.trust";
  const Outcome fitted = run(
      {"evaluate", folder / "run", folder / "other", "--calibrate", file, "--strangeness", "mahalanobis", "--json"});
  INFO(fitted.err);
  REQUIRE(fitted.code == 0);
  CHECK(Json::parse(read(file))["distance_threshold"].is_number());
  CHECK(fs::exists(file + ".safetensors"));
  CHECK(fitted.json()["trust"]["strange"].get<int>() <= 120 * 0.05);
  CHECK(run({"evaluate", folder / "run", folder / "other", "--trust", file, "--json"}).json()["trust"] == [&] {
    Json same = fitted.json()["trust"];
    same["calibrated_on_these"] = false;
    return same;
  }());
  // A white picture is like nothing it was trained on.
  fovea::image::write_png(folder / "white.png", fovea::image::Image(12, 12, 3, 255));
  const Outcome white = run(
      {"predict", folder / "run", folder / "white.png", folder / "data/ant/picture1.png", "--trust", file, "--json"});
  REQUIRE(white.code == 0);
  const std::size_t line = white.out.find('\n');
  const Json strange = Json::parse(white.out.substr(0, line)), usual = Json::parse(white.out.substr(line));
  CHECK(strange["answer"] == "strange");
  CHECK(usual["answer"] != "strange");
  CHECK(strange["distance"].get<double>() > usual["distance"].get<double>());

  REQUIRE(run({"compile", folder / "run", "--out", folder / "small.fovea"}).code == 0);
  CHECK(run({"predict", folder / "small.fovea", folder / "white.png", "--trust", file}).code == 2);
  fs::remove(folder / "run/run.json");
  CHECK(run({"evaluate", folder / "run", folder / "other", "--calibrate", file, "--strangeness", "mahalanobis"}).code ==
        2);
  fs::remove(file + ".safetensors");
  CHECK(run({"predict", folder / "run", folder / "white.png", "--trust", file}).code == 1);
}
