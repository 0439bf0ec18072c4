// fovea train --private: what it tells, stores, refuses and resumes.
#include <algorithm>

#include "tests/tools/program.h"

using namespace tool;

namespace {

Words private_run(const TempFolder& folder, const std::string& out, const Words& more) {
  Words words = {"--model", "private_cnn", "--image-size", "16", "--private", "--epochs", "4", "--batch-size", "6"};
  words.insert(words.end(), more.begin(), more.end());
  return quick_train(folder / "data", folder / out, words);
}

}  // namespace

TEST_CASE("private: epsilon is shown with progress and stored in the run") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 20);
  const Outcome o = run(private_run(folder, "run", {"--epsilon", "5"}));
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(contains(o.err, "epoch 4/4"));
  CHECK(contains(o.err, "ε "));
  CHECK(contains(o.out, "private: ε = 5 at δ = 0.01, for each picture"));
  const Json stored = Json::parse(read(folder / "run/privacy.json"));
  CHECK(stored["epsilon"] <= 5);
  CHECK(stored["epsilon"] > 4.9);
  CHECK(stored["delta"] == 0.01);  // 32 pictures
  CHECK(stored["steps"] == 20);    // 4 epochs of 32/6
  CHECK(stored["sampling_rate"] == 6.0 / 32);
  CHECK(stored["noise_is_secret"] == true);
  const std::string lines = read(folder / "run/metrics.jsonl");
  const Json last = Json::parse(lines.substr(lines.rfind("{\"epoch\":4")));
  CHECK(last["epsilon"] == stored["epsilon"]);
  CHECK(contains(read(folder / "run/metrics.csv"), "images_per_s,wait_share,epsilon,best\n"));

  const Outcome json = run(private_run(folder, "run2", {"--sigma", "1.3", "--delta", "0.2", "--clip", "1", "--json"}));
  REQUIRE(json.code == 0);
  CHECK(json.json()["privacy"]["noise"] == 1.3);
  CHECK(json.json()["privacy"]["clip"] == 1);
  CHECK(contains(json.err, "delta should be below 1/pictures = 0.031"));
}

TEST_CASE("private: an interrupted run goes on with its account, to the same bytes where the noise has a seed") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 20);
  const Words seeded = {"--sigma", "1", "--noise-seed", "7", "--checkpoint-every", "1", "-q"};
  REQUIRE(run(private_run(folder, "whole", seeded)).code == 0);
  const std::string checkpoint = folder / "cut/checkpoint.safetensors";
  REQUIRE(run(private_run(folder, "cut", seeded), {.watch =
                                                       [&, seen = 0, last = fs::file_time_type::min()]() mutable {
                                                         std::error_code error;
                                                         const auto time = fs::last_write_time(checkpoint, error);
                                                         if (!error && time != last) last = time, ++seen;
                                                         return seen >= 3 ? SIGKILL : 0;
                                                       }})
              .signal == SIGKILL);
  Words resumed = seeded;
  resumed.emplace_back("--resume");
  REQUIRE(run(private_run(folder, "cut", resumed)).code == 0);
  CHECK(read(folder / "cut/model.fovea") == read(folder / "whole/model.fovea"));
  CHECK(read(folder / "cut/privacy.json") == read(folder / "whole/privacy.json"));
  CHECK(Json::parse(read(folder / "cut/privacy.json"))["noise_is_secret"] == false);
  // Not in another way: the account would be wrong.
  const Outcome other = run(private_run(folder, "cut", {"--sigma", "0.9", "--noise-seed", "7", "--resume"}));
  CHECK(other.code == 2);
  CHECK(contains(other.err, "another privacy"));
}

TEST_CASE("private: what cannot be private is refused, with what to do") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 8);
  const auto refused = [&](const Words& more, const char* part) {
    const Outcome o = run(private_run(folder, "x", more));
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(contains(o.err, part));
  };
  refused({}, "either --epsilon or --sigma");
  refused({"--epsilon", "3", "--sigma", "1"}, "either --epsilon or --sigma");
  refused({"--epsilon", "3", "--balance", "oversample"}, "balancing classes");
  refused({"--epsilon", "3", "--mixup", "0.2"}, "mixup");
  refused({"--epsilon", "3", "--accumulate", "2"}, "batch size");
  refused({"--epsilon", "3", "--find-lr"}, "without noise");
  Words norm = quick_train(folder / "data", folder / "x", {"--private", "--epsilon", "3"});
  const Outcome o = run(norm);
  CHECK(o.code == 2);
  CHECK(contains(o.err, "statistics of the batch"));
  CHECK(contains(o.err, "--model private_cnn"));
  const Outcome alone = run(quick_train(folder / "data", folder / "x", {"--epsilon", "3"}));
  CHECK(alone.code == 2);
  CHECK(contains(alone.err, "add --private"));
}
