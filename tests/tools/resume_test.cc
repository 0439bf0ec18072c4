// Runs that are killed or stopped go on with --resume to the same bytes as a run that was left in peace.
#include <algorithm>

#include "tests/tools/program.h"

using namespace tool;

namespace {

Words long_run(const TempFolder& folder, const std::string& out, const Words& more = {}, const char* epochs = "4") {
  Words words = {"--epochs", epochs, "--checkpoint-every", "1", "--ema", "0.9", "--hflip", "0.5", "-q"};
  words.insert(words.end(), more.begin(), more.end());
  return quick_train(folder / "data", folder / out, words);
}

/// Sends a signal once the checkpoint has been replaced so many times.
std::function<int()> after_checkpoints(const std::string& path, int count, int signal, int delay_ms = 0) {
  return [path, count, signal, delay_ms, seen = 0, waited = 0, last = fs::file_time_type::min()]() mutable {
    std::error_code error;
    const auto time = fs::last_write_time(path, error);
    if (!error && time != last) {
      last = time;
      ++seen;
    }
    return seen >= count && waited++ >= delay_ms ? signal : 0;
  };
}

/// The lines but for times, which no two runs share.
std::string metrics(const TempFolder& folder, const std::string& out) {
  std::string text, all = read(folder / (out + "/metrics.jsonl"));
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = all.find('\n', begin);
    Json line = Json::parse(all.substr(begin, end - begin));
    line.erase("seconds");
    line.erase("images_per_s");
    line.erase("wait_share");
    text += line.dump() + "\n";
    begin = end + 1;
  }
  return text;
}

}  // namespace

TEST_CASE("resume: killed at any moment, a run ends in the same bytes") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  REQUIRE(run(long_run(folder, "whole")).code == 0);
  const std::string wanted = weights_of(folder, "whole");
  int killed = 0;
  for (const int moment : {1, 2, 5, 7, 10}) {
    const std::string out = "killed" + std::to_string(moment);
    const std::string checkpoint = folder / (out + "/checkpoint.safetensors");
    // A delay so that steps, validation, plots and writes are all hit by one or the other.
    const Outcome first =
        run(long_run(folder, out), {.watch = after_checkpoints(checkpoint, moment, SIGKILL, moment % 3)});
    killed += first.signal == SIGKILL;
    const Outcome second = run(long_run(folder, out, {"--resume"}));
    INFO(second.err);
    REQUIRE(second.code == 0);
    CHECK(weights_of(folder, out) == wanted);
    CHECK(metrics(folder, out) == metrics(folder, "whole"));
  }
  CHECK(killed >= 3);  // the others had ended before
}

TEST_CASE("resume: killed inside a checkpoint's write, the one before is whole") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  REQUIRE(run(long_run(folder, "whole")).code == 0);
  const std::string checkpoint = folder / "cut/checkpoint.safetensors";
  REQUIRE(run(long_run(folder, "cut"), {.watch = after_checkpoints(checkpoint, 3, SIGKILL)}).signal == SIGKILL);
  const std::string before = read(checkpoint);
  // The system ends the program when a file reaches the limit: at the start, in the middle and just before the end.
  const auto size = static_cast<long>(before.size());
  for (const long limit : {size / 3, size - 1}) {
    const Outcome o = run(long_run(folder, "cut", {"--resume"}), {.file_limit = limit, .limit_kills = true});
    CHECK(o.signal == SIGXFSZ);
    CHECK(read(checkpoint) == before);
  }
  // A disk that is full refuses instead: training goes on to its end, and says so.
  const Outcome full = run(long_run(folder, "cut", {"--resume"}), {.file_limit = size / 5});
  CHECK(full.code == 1);
  CHECK(contains(full.err, "checkpoint not written, training goes on"));
  CHECK(read(checkpoint) == before);
  REQUIRE(run(long_run(folder, "cut", {"--resume"})).code == 0);
  CHECK(weights_of(folder, "cut") == weights_of(folder, "whole"));
  for (const auto& entry : fs::directory_iterator(folder / "cut"))  // what the killed ones left is cleared away
    CHECK_FALSE(entry.path().filename().string().starts_with(".fovea-"));
}

TEST_CASE("resume: Ctrl-C and SIGTERM end cleanly, with the checkpoint kept") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string out = "run" + std::to_string(signal), checkpoint = folder / (out + "/checkpoint.safetensors");
    const Outcome o = run(long_run(folder, out, {}, "400"), {.watch = after_checkpoints(checkpoint, 2, signal)});
    INFO(o.err);
    CHECK(o.signal == 0);
    CHECK(o.code == 128 + signal);
    CHECK(contains(o.err, "stopped; go on with: fovea train"));
    CHECK(contains(o.err, "--resume"));
    CHECK(fs::exists(checkpoint));
    CHECK_FALSE(fs::exists(folder / (out + "/model.fovea")));
    for (const auto& entry : fs::directory_iterator(folder / out))
      CHECK_FALSE(entry.path().filename().string().starts_with(".fovea-"));
    // And again while resuming: it goes on from there, not from the start.
    Words resumed = long_run(folder, out, {"--resume"}, "400");
    resumed.erase(std::find(resumed.begin(), resumed.end(), "-q"));
    const Outcome next = run(resumed, {.watch = after_checkpoints(checkpoint, 3, SIGINT)});
    CHECK(next.code == 130);
    CHECK(contains(next.err, "resumed after epoch"));
  }
  // --resume where nothing is yet begins at the start, and says so.
  Words words = quick_train(folder / "data", folder / "new", {"--epochs", "1", "--resume"});
  const Outcome fresh = run(words);
  CHECK(fresh.code == 0);
  CHECK(contains(fresh.err, "there is no checkpoint in"));
}
