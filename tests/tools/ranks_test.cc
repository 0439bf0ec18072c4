// fovea train on ranks that mpirun starts: equal results, and what happens when one of them dies.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "models/load.h"
#include "tests/tensor_distance.h"
#include "tests/tools/program.h"
#include "train/distributed/mpi.h"

using namespace tool;

namespace {

/// Why these tests cannot run here, or empty.
std::string hindrance() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "Open MPI itself does not pass the sanitizers";
#endif
  if (const std::string why = fovea::mpi_unavailable(); !why.empty()) return why;
  const Words folders = {"/usr/bin", "/usr/local/bin", "/bin"};
  const bool there = std::any_of(folders.begin(), folders.end(),
                                 [](const std::string& f) { return ::access((f + "/mpirun").c_str(), X_OK) == 0; });
  return there ? "" : "mpirun is not installed (openmpi-bin)";
}

#define NEEDS_MPIRUN() \
  if (const std::string why = hindrance(); !why.empty()) FOVEA_SKIP(why)

/// 5 epochs of 4 steps, without validation.
Words small_run(const TempFolder& folder, const std::string& out, const Words& more = {}) {
  Words words = {"--model", "small_cnn", "--image-size", "12",       "--epochs",           "5", "--lr", "0.02", "--val",
                 "0",       "-q",        "--schedule",   "constant", "--checkpoint-every", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return quick_train(folder / "data", folder / out, words);
}

/// The largest distance between two model files' tensors in terms of their norms.
double distance(const std::string& a, const std::string& b) {
  const fovea::Model first = fovea::models::load(a), second = fovea::models::load(b);
  const auto x = first.network().named_tensors(), y = second.network().named_tensors();
  REQUIRE(x.size() == y.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, fovea::test::tensor_distance(x[i].tensor, y[i].tensor));
  return worst;
}

/// The process that is rank `rank` of the run whose folder is `out`; 0 if there is none yet.
pid_t process_of(int rank, const std::string& out) {
  const std::string wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    const std::string environment = read(entry.path() / "environ");
    if (contains(read(entry.path() / "cmdline"), out) && contains("\n" + environment, wanted)) return std::stoi(name);
  }
  return 0;
}

}  // namespace

TEST_CASE("mpirun: two ranks train as one") {
  NEEDS_MPIRUN();
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  REQUIRE(run(small_run(folder, "one")).code == 0);
  Words words = small_run(folder, "two", {"--sync-batch-norm"});
  words.erase(std::find(words.begin(), words.end(), "-q"));
  const Outcome two = run(words, {.ranks = 2});
  INFO(two.err);
  REQUIRE(two.code == 0);
  CHECK(contains(two.err, "2 ranks of 1 thread each, batch norm synchronised"));
  CHECK(distance(folder / "two/model.fovea", folder / "one/model.fovea") < 1e-5);
  // As between machines: sums that begin while backward runs.
  ::setenv("FOVEA_MPI_OVERLAP", "1", 1);
  const Outcome overlapped = run(small_run(folder, "overlapped", {"--sync-batch-norm"}), {.ranks = 2});
  ::unsetenv("FOVEA_MPI_OVERLAP");
  INFO(overlapped.err);
  REQUIRE(overlapped.code == 0);
  CHECK(weights_of(folder, "overlapped") == weights_of(folder, "two"));
  // One rank wrote what there is.
  CHECK(files_below(folder / "two").size() == files_below(folder / "one").size());
  // With validation, and statistics of parts: three ranks on their own share of the processors.
  words = {"train", folder / "data", "--out", folder / "three", "--model", "small_cnn", "--image-size",
           "12",    "--epochs",      "1",     "--batch-size",   "6",       "--json",    "-q"};
  const Outcome three = run(words, {.ranks = 3});
  INFO(three.err);
  REQUIRE(three.code == 0);
  CHECK(three.json()["validation"]["n"] == 5);
}

TEST_CASE("mpirun: a killed rank ends all, and the run goes on from its checkpoint") {
  NEEDS_MPIRUN();
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  const auto long_run = [&](const std::string& out) {
    Words words = small_run(folder, out);
    *(std::find(words.begin(), words.end(), "--epochs") + 1) = "25";  // seconds: enough to be killed in
    return words;
  };
  REQUIRE(run(long_run("whole"), {.ranks = 2}).code == 0);
  for (const int victim : {0, 1}) {
    const std::string out = "killed" + std::to_string(victim), checkpoint = folder / (out + "/checkpoint.safetensors");
    bool killed = false;
    const auto watch = [&] {
      if (killed || !fs::exists(checkpoint)) return 0;
      const pid_t process = process_of(victim, folder / out);
      killed = process > 0 && ::kill(process, SIGKILL) == 0;
      return 0;
    };
    Words words = long_run(out);
    const Outcome first = run(words, {.ranks = 2, .watch = watch});
    INFO(first.err);
    CHECK(killed);
    CHECK(first.code > 0);
    CHECK(contains(first.err, "process rank " + std::to_string(victim)));
    CHECK(contains(first.err, "signal 9 (Killed)"));
    CHECK(process_of(1 - victim, folder / out) == 0);
    CHECK_FALSE(fs::exists(folder / (out + "/model.fovea")));
    words.push_back("--resume");
    const Outcome second = run(words, {.ranks = 2});
    INFO(second.err);
    REQUIRE(second.code == 0);
    CHECK(weights_of(folder, out) == weights_of(folder, "whole"));
  }
}

TEST_CASE("mpirun: Ctrl-C stops all ranks, and the run goes on") {
  NEEDS_MPIRUN();
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  REQUIRE(run(small_run(folder, "whole"), {.ranks = 2}).code == 0);
  const std::string checkpoint = folder / "stopped/checkpoint.safetensors";
  // mpirun gives its ranks a second to end by themselves; on a busy machine they may be killed instead.
  const Outcome first =
      run(small_run(folder, "stopped"), {.ranks = 2, .watch = [&] { return fs::exists(checkpoint) ? SIGINT : 0; }});
  INFO(first.err);
  CHECK(process_of(0, folder / "stopped") == 0);
  CHECK(process_of(1, folder / "stopped") == 0);
  const Outcome second = run(small_run(folder, "stopped", {"--resume"}), {.ranks = 2});
  INFO(second.err);
  REQUIRE(second.code == 0);
  CHECK(weights_of(folder, "stopped") == weights_of(folder, "whole"));
}

TEST_CASE("mpirun: an error on one rank ends all and says which; an error of all is said once") {
  NEEDS_MPIRUN();
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  write(folder / "data/a/broken.png", "no picture");
  const Outcome broken = run(small_run(folder, "broken"), {.ranks = 2});
  INFO(broken.err);
  CHECK(broken.code == 1);
  CHECK((contains(broken.err, "fovea: rank 0 of 2: [") || contains(broken.err, "fovea: rank 1 of 2: [")));
  CHECK(contains(broken.err, "broken.png"));
  const Outcome missing = run({"train", folder / "nowhere", "--out", folder / "out"}, {.ranks = 2});
  INFO(missing.err);
  CHECK(missing.code > 0);
  const std::size_t at = missing.err.find("nowhere");
  REQUIRE(at != missing.err.npos);
  CHECK(missing.err.find("fovea: ", missing.err.find("fovea: ") + 1) == missing.err.npos);
  const Outcome wrong = run({"train", folder / "data", "--epochs", "none"}, {.ranks = 2});
  CHECK(wrong.code > 0);
  CHECK(wrong.err.find("--epochs", wrong.err.find("--epochs") + 1) == wrong.err.npos);
  const Outcome alone = run({"train", folder / "data", "--find-lr"}, {.ranks = 2});
  CHECK(contains(alone.err, "[--find-lr] works on one rank"));
  const Outcome one_gpu = run({"train", folder / "data", "--device", "cuda:1"}, {.ranks = 2});
  INFO(one_gpu.err);
  CHECK(contains(one_gpu.err, "[--device] names one GPU for all ranks"));
  CHECK(contains(one_gpu.err, "--device cuda each rank takes its own"));
}
