// Train, evaluate and predict on pictures of one's own: the numbers agree with each other and with their definitions.
#include <stdlib.h>

#include <algorithm>
#include <cmath>

#include "tests/tools/program.h"

using namespace tool;

namespace {

struct Prediction {
  std::size_t label;
  std::vector<double> p;
};

/// accuracy, macro F1, AUC and calibration error from their definitions, by brute force.
void check_metrics(const Json& e, const std::vector<Prediction>& all, std::size_t classes) {
  std::vector<std::vector<int>> confusion(classes, std::vector<int>(classes));
  std::vector<double> bin_confidence(15), bin_right(15);
  for (const Prediction& one : all) {
    const auto best = static_cast<std::size_t>(std::max_element(one.p.begin(), one.p.end()) - one.p.begin());
    ++confusion[one.label][best];
    const auto bin = static_cast<std::size_t>(std::clamp(std::ceil(one.p[best] * 15) - 1, 0.0, 14.0));
    bin_confidence[bin] += one.p[best];
    bin_right[bin] += best == one.label;
  }
  CHECK(e.at("n") == all.size());
  CHECK(e.at("confusion") == Json(confusion));
  double right = 0, f1 = 0, auc = 0, ece = 0;
  for (std::size_t k = 0; k < classes; ++k) {
    double predicted = 0, actual = 0, wins = 0, pairs = 0;
    for (std::size_t j = 0; j < classes; ++j) predicted += confusion[j][k], actual += confusion[k][j];
    right += confusion[k][k];
    f1 += 2.0 * confusion[k][k] / (predicted + actual);
    for (const Prediction& a : all) {
      for (const Prediction& b : all) {
        if (a.label != k || b.label == k) continue;
        wins += a.p[k] > b.p[k] ? 1 : a.p[k] == b.p[k] ? 0.5 : 0;
        pairs += 1;
      }
    }
    // Two classes: of the second alone.
    if (classes > 2 || k == 1) auc += wins / pairs / (classes > 2 ? static_cast<double>(classes) : 1);
  }
  for (std::size_t b = 0; b < 15; ++b) ece += std::abs(bin_right[b] - bin_confidence[b]);
  const auto n = static_cast<double>(all.size());
  CHECK(e.at("accuracy").get<double>() == Approx(right / n));
  CHECK(e.at("macro_f1").get<double>() == Approx(f1 / static_cast<double>(classes)));
  CHECK(e.at("auc").get<double>() == Approx(auc));
  CHECK(e.at("ece").get<double>() == Approx(ece / n).margin(1e-5));
}

}  // namespace

TEST_CASE("results: train, evaluate and predict agree") {
  for (const Words& classes : {Words{"ant", "bee"}, Words{"Käfer ü", "a b", "zebra"}}) {
    const TempFolder folder;
    const Words& names = classes;  // sorted by bytes, as class folders are numbered
    make_pictures(folder / "data/train", names, 8);
    make_pictures(folder / "data/val", names, 5);
    const Outcome trained =
        run(quick_train(folder / "data", folder / "run", {"--epochs", "2", "--json", "--seed", "3"}));
    INFO(trained.err);
    REQUIRE(trained.code == 0);
    const Json t = trained.json();
    CHECK(t.at("run") == folder / "run");
    CHECK(t.at("epochs") == 2);
    CHECK(contains(trained.err, "epoch 2/2  loss "));
    CHECK_FALSE(contains(trained.err, "\x1b"));  // no terminal: plain lines
    for (const char* file : {"model.fovea", "checkpoint.safetensors", "metrics.jsonl", "metrics.csv", "evaluation.json",
                             "loss.svg", "accuracy.svg", "confusion.svg", "reliability.svg"})
      CHECK(fs::exists(folder / (std::string("run/") + file)));

    const Outcome evaluated = run({"evaluate", folder / "run", folder / "data", "--json", "--batch-size", "4"});
    REQUIRE(evaluated.code == 0);
    CHECK(evaluated.err.empty());
    const Json e = evaluated.json();
    CHECK(t.at("validation").at("confusion") == e.at("confusion"));

    Words files = {"predict", folder / "run/model.fovea", "--json", "--top", "3"};
    std::vector<std::size_t> labels;
    for (std::size_t c = 0; c < names.size(); ++c) {
      for (int i = 0; i < 5; ++i) {
        files.push_back(folder / ("data/val/" + names[c] + "/picture" + std::to_string(i) + ".png"));
        labels.push_back(c);
      }
    }
    const Outcome predicted = run(files);
    REQUIRE(predicted.code == 0);
    CHECK(predicted.err.empty());
    std::vector<Prediction> all;
    std::size_t at = 0;
    for (std::size_t begin = 0; begin < predicted.out.size();) {
      const std::size_t end = predicted.out.find('\n', begin);
      REQUIRE(end != std::string::npos);
      const Json line = Json::parse(predicted.out.substr(begin, end - begin));
      begin = end + 1;
      CHECK(line.at("file") == files.at(5 + at));
      Prediction one{labels.at(at++), std::vector<double>(names.size())};
      double last = 1, sum = 0;
      for (const Json& p : line.at("predictions")) {
        CHECK(p.at("class") == names.at(p.at("index")));
        one.p.at(p.at("index")) = p.at("probability");
        CHECK(p.at("probability") <= last);
        last = p.at("probability");
        sum += last;
      }
      CHECK(sum == Approx(1).epsilon(1e-5));
      all.push_back(std::move(one));
    }
    REQUIRE(all.size() == labels.size());
    check_metrics(e, all, names.size());

    const Outcome people = run({"predict", folder / "run", files.back(), "--top", "1"});
    CHECK(contains(people.out, " %  "));
    CHECK(std::count(people.out.begin(), people.out.end(), '\n') == 2);
    const Outcome report = run({"evaluate", folder / "run", folder / "data"});
    CHECK(contains(report.out, "precision   recall"));
    CHECK(contains(report.out, "val accuracy: "));
    // The compiled network in a file answers the same.
    const std::string compiled = folder / "compiled.fovea";
    REQUIRE(run({"compile", folder / "run", "--out", compiled}).code == 0);
    CHECK(run({"evaluate", compiled, folder / "data", "--json", "--batch-size", "4"}).json() == e);
    files[1] = compiled;
    CHECK(run(files).out == predicted.out);
    CHECK(contains(run({"summary", compiled}).out, "activations"));
    const Json b = run({"bench", compiled, "--runs", "2", "--threads", "1", "--json"}).json();
    for (const char* key : {"planned_mb", "weights_mb", "cold_start_ms", "resident_mb"}) CHECK(b.at(key) > 0);
    CHECK(b.at("resident_peak_mb") >= b.at("resident_mb"));
    CHECK(contains(run({"train", folder / "data", "--weights", compiled}).err, "is a compiled network"));
    CHECK(contains(run({"compile", compiled, "--out", folder / "again.fovea"}).err, "is compiled already"));
    CHECK(contains(run({"bench", compiled, "--train"}).err, "is a compiled network"));
    CHECK(contains(run({"predict", compiled, files.back(), "--width", "0.5"}).err, "is a compiled network"));
    // What older CPUs run: weights are packed for the instruction set that reads them.
    for (const char* target : {"SSE4", "AVX2", "NEON"}) {
      setenv("FOVEA_SIMD", target, 1);
      const Outcome older = run({"evaluate", folder / "run", folder / "data", "--json"});
      unsetenv("FOVEA_SIMD");
      if (contains(older.err, "is not an instruction set of this CPU")) continue;
      INFO(target << ": " << older.err);
      REQUIRE(older.code == 0);
      CHECK(older.json().at("log_loss").get<double>() == Approx(e.at("log_loss").get<double>()).epsilon(1e-4));
    }
    const Outcome inspected = run({"inspect", folder / "run"});
    CHECK(contains(inspected.out, "holds a network of its own: "));
    CHECK_FALSE(contains(inspected.out, "no network"));
    const Outcome summary = run({"summary", folder / "run"});
    CHECK(contains(summary.out, std::to_string(names.size()) + " classes: " + names[0] + ", "));
  }
}

TEST_CASE("results: seeds, quiet, run folders, manifests, test parts") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 10);
  const auto train = [&](const std::string& out, const Words& more = {}) {
    Words words = {"--epochs", "1", "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome o = run(quick_train(folder / "data", folder / out, words));
    INFO(o.err);
    REQUIRE(o.code == 0);
    CHECK(o.err.empty());
    return read(folder / (out + "/model.fovea"));
  };
  // Equal seeds give equal bytes, whatever the number of threads that load; another seed another model.
  const std::string one = train("one", {"--seed", "7"});
  CHECK(train("two", {"--seed", "7", "--workers", "3"}) == one);
  CHECK(train("three", {"--seed", "8"}) != one);

  // A used folder is not written to unless asked for.
  const Outcome again = run(quick_train(folder / "data", folder / "one", {"--epochs", "1"}));
  CHECK(again.code == 2);
  CHECK(contains(again.err, "holds a run already (go on with it by --resume, replace it by --overwrite"));
  CHECK(read(folder / "one/model.fovea") == one);
  CHECK(train("one", {"--seed", "8", "--overwrite"}) == train("three2", {"--seed", "8"}));

  // Without --out: runs/NAME, then runs/NAME-2.
  for (const char* expected : {"runs/data", "runs/data-2"}) {
    const Outcome o =
        run({"train", "data", "--model", "fashion_cnn", "--image-size", "8", "--epochs", "1", "--json", "-q"},
            {.folder = folder.path()});
    CHECK(o.json().at("run") == expected);
    CHECK(fs::exists(folder / (std::string(expected) + "/model.fovea")));
  }
  CHECK(contains(run({"train", "data", "--resume"}, {.folder = folder.path()}).err, "name its folder with --out"));

  // Small pictures in a folder get the network for small pictures, at their own size.
  REQUIRE(run({"train", folder / "data", "--epochs", "1", "-q", "--out", folder / "default"}).code == 0);
  CHECK(contains(run({"summary", folder / "default"}).out, "input 1×12×12×3"));

  // A manifest with parts: the test part has the last word.
  std::string manifest = "path,label,split\n";
  for (int i = 0; i < 10; ++i) {
    const char* part = i < 6 ? "train" : i < 8 ? "val" : "test";
    for (const char* c : {"a", "b"})
      manifest += "data/" + std::string(c) + "/picture" + std::to_string(i) + ".png," + c + "," + part + "\n";
  }
  write(folder / "list.csv", manifest);
  const Outcome o = run(quick_train(folder / "list.csv", folder / "csv", {"--epochs", "1", "--json", "-q"}));
  REQUIRE(o.code == 0);
  CHECK(o.json().at("test").at("n") == 4);
  CHECK(run({"evaluate", folder / "csv", folder / "list.csv", "--split", "train", "--json"}).json().at("n") == 12);
}
