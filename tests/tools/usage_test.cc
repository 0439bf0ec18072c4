// The command line itself: help, exit codes, typing errors, what is printed where.
#include <algorithm>

#include "core/version.h"
#include "tests/tools/program.h"

using namespace tool;

namespace {
const Words kCommands = {"train",   "evaluate",        "predict", "explain",  "audit",   "anonymize",
                         "forget",  "models",          "summary", "inspect",  "convert", "run",
                         "weights", "augment-preview", "compile", "quantize", "bench",   "version"};
}

TEST_CASE("usage: help teaches by example, on standard output") {
  const Outcome whole = run({"--help"});
  CHECK(whole.code == 0);
  CHECK(whole.err.empty());
  for (const std::string& command : kCommands) {
    CHECK(contains(whole.out, command));
    const Outcome help = run({command, "--help"});
    INFO(help.out);
    CHECK(help.code == 0);
    CHECK(help.err.empty());
    if (command != "version") {
      CHECK(contains(help.out, "Examples:\n  fovea " + command + " "));
      for (const char* option : {"--threads", "--seed", "--quiet", "--json"}) CHECK(contains(help.out, option));
    }
  }
  CHECK(run({"--help-all"}).code == 0);
  CHECK(run({"--version"}).out == std::string("fovea ") + fovea::kVersion + "\n");
  const Outcome version = run({"version", "--json"});
  CHECK(version.code == 0);
  CHECK(version.json()["version"] == fovea::kVersion);
  CHECK(contains(run({"version"}).out, "SIMD target: "));
}

TEST_CASE("usage: what is wrong is said, what was meant is guessed, code 2") {
  struct Case {
    Words words;
    const char* part;
  };
  const Case cases[] = {
      {{}, "which command? train, evaluate"},
      {{"trian", "x"}, "no command 'trian'; did you mean 'train'?"},
      {{"frobnicate"}, "known are: train, evaluate"},
      {{"--quiet"}, "no option '--quiet' before a command"},
      {{"--seed", "3", "train", "x"}, "'--seed' belongs behind the command"},
      {{"train"}, "fovea train: source is required"},
      {{"train", "--epohcs", "3", "x"}, "no option '--epohcs'; did you mean '--epochs'?"},
      {{"train", "x", "-epochs", "3"}, "did you mean '--epochs'?"},
      {{"train", "x", "--weight-dcay=3"}, "no option '--weight-dcay'; did you mean '--weight-decay'?"},
      {{"train", "x", "--zzzzzz"}, "no option '--zzzzzz'\n"},
      {{"train", "x", "--epochs", "2", "--epochs", "3"}, "--epochs: is given 2 times"},
      {{"train", "x", "y"}, "'y' is one argument too many"},
      {{"train", "x", "--epochs", "abc"}, "--epochs: 'abc' is no number from 1 to 100000"},
      {{"train", "x", "--epochs", "0"}, "'0' is no number from 1"},
      {{"train", "x", "--lr", "-1"}, "--lr: '-1' is no positive number"},
      {{"train", "x", "--seed", "-1"}, "--seed: '-1'"},
      {{"train", "x", "--val", "1.5"}, "'1.5' is no number from 0 to 0.9"},
      {{"train", "x", "--augment", "lihgt"}, "did you mean 'light'?"},
      {{"train", "x", "--model", "fashion_cn"}, "did you mean 'fashion_cnn'?"},
      {{"train", "x", "--threads", "0"}, "--threads: '0'"},
      {{"predict", "m"}, "files is required"},
      {{"predict", "m", "f", "--top", "0"}, "--top: '0'"},
      {{"evaluate", "m"}, "data is required"},
      {{"bench", "no_such_net"}, "there is no network named 'no_such_net'"},
      {{"bench", "small_cnn", "--dtype", "f8"}, "'f8' is none of f32, bf16, f16, int8"},
      {{"bench", "small_cnn", "--train", "--cuda-graph"}, "is for --train on a GPU"},
      {{"summary", "no_such_net"}, "known are: "},
      {{"augment-preview", "x", "--rows", "0"}, "--rows: '0' is no number from 1 to 64"},
  };
  for (const Case& c : cases) {
    const Outcome o = run(c.words);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(o.out.empty());
    CHECK(contains(o.err, "fovea"));
    CHECK(contains(o.err, c.part));
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("usage: a fresh process holds at most 40 MB for a MobileNetV2 in f32") {
  for (const char* dtype : {"f32", "int8"}) {
    const Json b = run({"bench", "mobilenet_v2", "--dtype", dtype, "--runs", "1", "--threads", "2", "--json"}).json();
    CHECK(b.at("cold_start_ms") > 0);
    CHECK(b.at("resident_mb") > b.at("weights_mb"));
    CHECK(b.at("resident_mb") <= 40);
    CHECK(b.at("resident_peak_mb") <= 40);
  }
}
#endif

TEST_CASE("usage: bench, summary and preview print what they promise and nothing else") {
  const Outcome bench =
      run({"bench", "small_cnn", "--runs", "4", "--warmup", "1", "--size", "12", "--threads", "1", "--json"});
  CHECK(bench.code == 0);
  CHECK(bench.err.empty());
  const Json b = bench.json();
  for (const char* key : {"min_ms", "median_ms", "p90_ms", "p99_ms", "images_per_s", "peak_memory_mb"})
    CHECK(b.at(key).get<double>() > 0);
  CHECK(b.at("model") == "small_cnn");
  CHECK(b.at("batch") == 1);
  CHECK(b.at("threads") == 1);
  CHECK(b.at("dtype") == "f32");
  CHECK((b["min_ms"] <= b["median_ms"] && b["median_ms"] <= b["p90_ms"] && b["p90_ms"] <= b["p99_ms"]));
  CHECK(b["images_per_s"].get<double>() == Approx(1000 / b["median_ms"].get<double>()));
  const Outcome train = run({"bench", "small_cnn", "--train", "--batch", "2", "--runs", "2", "--size", "12", "--json"});
  CHECK(train.json().at("batch") == 2);
  CHECK(contains(run({"bench", "small_cnn", "--runs", "1", "--size", "12"}).out, "median "));

  const Json s = run({"summary", "small_cnn", "--json", "--classes", "7"}).json();
  std::int64_t parameters = 0;
  for (const Json& layer : s.at("layers")) parameters += layer.at("parameters").get<std::int64_t>();
  CHECK(parameters == s.at("parameters"));
  CHECK(s.at("layers").back().at("output") == "1×7");
  CHECK(contains(run({"summary", "small_cnn"}).out, "multiply-adds"));

  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 2);
  const Outcome grid =
      run({"augment-preview", folder / "data", "--out", folder / "g.png", "--rows", "2", "--mixup", "1"});
  CHECK(grid.code == 0);
  CHECK(read(folder / "g.png").starts_with("\x89PNG"));
  CHECK(contains(grid.err, "are not shown"));
  const Outcome quiet = run({"augment-preview", folder / "data", "--out", folder / "h.png", "--rows", "2", "--quiet"});
  CHECK((quiet.out.empty() && quiet.err.empty()));
  CHECK(read(folder / "g.png") == read(folder / "h.png"));
  CHECK(run({"augment-preview", folder / "data", "--out", folder / "g.gif"}).code == 2);
}

TEST_CASE("usage: minutes of work do not begin where their result cannot be written") {
  const TempFolder folder;
  const Outcome o = run({"quantize", "absent", "--calibrate", "absent", "--out", folder / "no/such/x.fovea"});
  CHECK(o.code == 1);
  CHECK(contains(o.err, "x.fovea"));
  CHECK(contains(o.err, "make its folder first"));
}

TEST_CASE("usage: an output that cannot be written is a failure") {
  if (!fs::exists("/dev/full")) FOVEA_SKIP("no /dev/full");
  const Outcome o = run({"summary", "fashion_cnn"}, {.out_path = "/dev/full"});
  CHECK(o.code == 1);
  CHECK(contains(o.err, "standard output cannot be written"));
}

TEST_CASE("usage: the progress bar fits its terminal and is gone at the end") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 12);
  for (const int columns : {100, 80, 40, 20, 5}) {
    const std::string out = folder / ("run" + std::to_string(columns));
    const Outcome o = run(quick_train(folder / "data", out, {"--epochs", "3"}), {.columns = columns});
    INFO(columns << " columns:\n" << o.err);
    REQUIRE(o.code == 0);
    // What is redrawn begins with a return to the line's start; the last state of the line is what stays.
    int bars = 0;
    bool details = false;
    std::string rest = o.err;
    for (std::size_t at = 0; (at = rest.find("\r\x1b[K")) != std::string::npos;) {
      rest.erase(0, at + 4);
      const std::string drawn = rest.substr(0, rest.find_first_of("\r\n"));
      if (!contains(drawn, " % ") && !contains(drawn, "━") && !contains(drawn, "─")) continue;
      if (rest[drawn.size()] == '\r' && rest.substr(drawn.size(), 2) == "\r\n") continue;  // a line of its own
      ++bars;
      details = details || contains(drawn, "loss ");
      const auto width = std::count_if(drawn.begin(), drawn.end(), [](char c) { return (c & 0xc0) != 0x80; });
      CHECK(width < columns);
    }
    CHECK(bars >= (columns >= 20 ? 3 : 0));
    CHECK(details == (columns >= 80));
    // Standard output, which is no terminal here, has the report as ever.
    CHECK(contains(o.out, "validation accuracy: "));
    CHECK_FALSE(contains(o.out, "\x1b"));
  }
  const Outcome quiet = run(quick_train(folder / "data", folder / "quiet", {"-q"}), {.columns = 80});
  CHECK(quiet.err.empty());
}
