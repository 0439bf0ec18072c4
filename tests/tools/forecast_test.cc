// fovea train --dry-run against the training itself, and --batch-size auto.
#include "tests/tools/program.h"

using namespace tool;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // shadow memory is nobody's forecast
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

TEST_CASE("train --dry-run: memory within 5 % of what training then takes") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 50, 150);
  for (const char* batch : {"8", "32"}) {
    const Words words = {"train",        folder / "data",
                         "--model",      "mobilenet_v2",
                         "--image-size", "128",
                         "--batch-size", batch,
                         "--epochs",     "2",
                         "--threads",    "2",
                         "--json",       "-q"};
    Words dry = words, real = words;
    dry.push_back("--dry-run");
    real.insert(real.end(), {"--out", folder / batch});
    const Outcome told = run(dry);
    REQUIRE(told.code == 0);
    CHECK(told.json()["epochs"] == 2);
    CHECK(told.json()["epoch_seconds"].get<double>() > 0);
    CHECK(files_below(folder.path()).size() ==
          (std::string(batch) == "8" ? 100u : 100u + files_below(folder / "8").size()));
    const Outcome took = run(real);
    INFO(took.err);
    REQUIRE(took.code == 0);
    const double memory = took.json()["peak_memory_bytes"].get<double>();
    INFO("told " << told.json().dump() << " took " << memory);
    if (!kSanitized) CHECK(told.json()["memory_bytes"].get<double>() == Approx(memory).epsilon(0.05));
  }
}

TEST_CASE("train --width: a network of fewer channels, and so it stays in its file") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 4);
  const Words narrow = {"--model", "mobilenet_v2", "--width", "0.35", "--image-size", "32", "-q"};
  const Outcome o = run(quick_train(folder / "data", folder / "run", narrow));
  INFO(o.err);
  REQUIRE(o.code == 0);
  const Outcome summary = run({"summary", folder / "run"});
  INFO(summary.out);
  CHECK(contains(summary.out, "398 690"));  // parameters: 396 128 of width 0.35 and the classifier's 2562
  const Outcome fixed = run(quick_train(folder / "data", folder / "other", {"--width", "0.5", "-q"}));
  CHECK(fixed.code == 2);
  CHECK(contains(fixed.err, "comes in one size"));
  const Words tuned = {"train", folder / "data", "--weights", folder / "run", "--width", "0.5", "-q"};
  const Outcome other = run(tuned);
  CHECK(other.code == 2);
  CHECK(contains(other.err, "these weights are of width 0.35"));
  // Nothing to put a new classifier on.
  REQUIRE(run(quick_train(folder / "data", folder / "small", {"-q"})).code == 0);
  const Outcome own = run({"train", folder / "data", "--weights", folder / "small", "-q"});
  CHECK(own.code != 0);
  CHECK(contains(own.err, "does not end in a classifier"));
}

TEST_CASE("train --batch-size auto: chosen, recorded, and kept when resuming") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  const Outcome first = run(quick_train(folder / "data", folder / "run", {"--batch-size", "auto"}));
  INFO(first.err);
  REQUIRE(first.code == 0);
  CHECK(contains(first.err, "batch size 4: needs "));
  CHECK(contains(read(folder / "run/run.json"), "\"batch size, chosen\": \"4: needs "));
  const Outcome again = run(quick_train(folder / "data", folder / "run", {"--batch-size", "auto", "--resume"}));
  CHECK(again.code == 0);
  CHECK(contains(again.err, "that of the checkpoint"));
  CHECK(run(quick_train(folder / "data", folder / "x", {"--batch-size", "many"})).code == 2);
  CHECK(run(quick_train(folder / "data", folder / "x", {"--batch-size", "0"})).code == 2);
}
