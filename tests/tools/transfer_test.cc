// `fovea train --weights`: the linear probe, fine-tuning from it, and going on after a kill.
#include "core/io/safetensors.h"
#include "models/load.h"
#include "models/zoo.h"
#include "tests/tools/program.h"

using namespace tool;

namespace {

/// A small network's weights as a file of torchvision's, and pictures that it can tell apart.
struct Place {
  Place() {
    using namespace fovea;
    const Model model = models::create(
        "mobilenet_v2",
        {.classes = 5, .image_size = 32, .seed = 3, .width = 0.35, .layout = models::Layout::torchvision});
    write_safetensors(folder / "weights.safetensors", models::export_weights(model, models::Layout::torchvision));
    make_pictures(folder / "data", {"a", "b"}, 16, 48);
  }
  Words train(const std::string& out, const Words& more = {}) const {
    Words words = {"train",
                   folder / "data",
                   "--weights",
                   folder / "weights.safetensors",
                   "--image-size",
                   "32",
                   "--out",
                   folder / out,
                   "--threads",
                   "1",
                   "-q"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome go(const std::string& out, const Words& more = {}, const Setup& setup = {}) const {
    return run(train(out, more), setup);
  }
  TempFolder folder;
};

}  // namespace

TEST_CASE("transfer: a linear probe alone") {
  const Place place;
  const Outcome o = place.go("probe", {"--linear-probe", "--json"});
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK(o.json()["validation"]["accuracy"] > 0.6);  // of random features
  for (const char* file : {"model.fovea", "evaluation.json", "metrics.jsonl", "accuracy.svg", "confusion.svg"}) {
    INFO(file);
    CHECK(fs::exists(place.folder / ("probe/" + std::string(file))));
  }
  const Outcome again = place.go("again", {"--linear-probe"});
  CHECK(again.code == 0);
  CHECK(read(place.folder / "probe/model.fovea") == read(place.folder / "again/model.fovea"));
  const Outcome judged = run({"evaluate", place.folder / "probe", place.folder / "data", "--json"});
  INFO(judged.err);
  CHECK(judged.json()["accuracy"] > 0.6);
  CHECK(run({"predict", place.folder / "probe", place.folder / "data/a/picture0.png"}).code == 0);
}

TEST_CASE("transfer: killed while fine-tuning, a run ends in the same bytes") {
  const Place place;
  const Words slow = {"--epochs", "3", "--checkpoint-every", "1", "--batch-size", "4"};
  REQUIRE(place.go("whole", slow).code == 0);
  Words resumed = slow;
  resumed.push_back("--resume");
  // Before the first checkpoint there is the linear probe only.
  for (const auto& [file, times] : {std::pair("probe.safetensors", 1), std::pair("checkpoint.safetensors", 5)}) {
    const std::string out = "killed" + std::to_string(times), path = place.folder / (out + "/" + file);
    int seen = 0;
    auto last = fs::file_time_type::min();
    const Outcome first = place.go(out, slow, {.watch = [&, times = times] {
                                     std::error_code error;
                                     const auto time = fs::last_write_time(path, error);
                                     if (!error && time != last) last = time, ++seen;
                                     return seen >= times ? SIGKILL : 0;
                                   }});
    CHECK(first.signal == SIGKILL);
    const Outcome second = place.go(out, resumed);
    INFO(second.err);
    CHECK(second.code == 0);
    CHECK(read(place.folder / "whole/model.fovea") == read(place.folder / (out + "/model.fovea")));
  }
}

TEST_CASE("transfer: options that do not go together say so") {
  const Place place;
  const auto refused = [](const Outcome& o, const std::string& part) {
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(contains(o.err, part));
  };
  refused(run({"train", place.folder / "data", "--linear-probe"}), "--weights");
  refused(run({"train", place.folder / "data", "--unfreeze", "head"}), "--weights");
  refused(place.go("x", {"--linear-probe", "--unfreeze", "head"}), "--linear-probe");
  refused(place.go("x", {"--preset", "demo"}), "--preset");
  refused(place.go("x", {"--unfreeze", "block_99", "--epochs", "1"}), "block_16");
  CHECK_FALSE(fs::exists(place.folder / "x"));
}

TEST_CASE("transfer: privately, the classifier alone learns, without the probe that would tell") {
  const Place place;
  REQUIRE(place.go("usual", {"--epochs", "1"}).code == 0);
  CHECK(fs::exists(place.folder / "usual/probe.safetensors"));
  const Outcome o = place.go("private", {"--private", "--epsilon", "3", "--epochs", "2", "--json"});
  INFO(o.err);
  REQUIRE(o.code == 0);
  CHECK_FALSE(fs::exists(place.folder / "private/probe.safetensors"));
  CHECK(o.json()["privacy"]["epsilon"] <= 3);
  using namespace fovea;
  const auto before = load_model(place.folder / "usual/model.fovea").network().named_tensors();
  const auto trained = load_model(place.folder / "private/model.fovea").network().named_tensors();
  const auto original =
      models::load(place.folder / "weights.safetensors", {.image_size = 32}).network().named_tensors();
  REQUIRE(trained.size() == original.size());
  int moved = 0, moved_usually = 0;
  for (std::size_t i = 0; i < original.size(); ++i) {
    if (original[i].name.starts_with("classifier")) continue;
    const std::vector<float> was = original[i].tensor.to_vector<float>();
    moved += trained[i].tensor.to_vector<float>() != was;
    moved_usually += before[i].tensor.to_vector<float>() != was;
  }
  CHECK(moved == 0);
  CHECK(moved_usually > 0);
}
