// fovea evaluate: how good a trained model is on data with known classes.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "augment/open.h"
#include "infer/compile/compile.h"
#include "models/model.h"
#include "tools/command.h"
#include "tools/compute_type.h"
#include "tools/data_source.h"
#include "tools/model_source.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "train/evaluation.h"
#include "train/observer.h"
#include "train/run_log.h"

namespace fovea::tools {
namespace {

struct Options {
  Common common;
  std::string run, data, split, dtype = "f32";
  int batch = 64;
  int workers = 1;
  bool skip_corrupt = false;
};

class Bar final : public TrainObserver {
 public:
  explicit Bar(bool enabled) : bar_(enabled) {}
  void on_validation_batch(std::int64_t batch, std::int64_t batches) override {
    bar_.update("evaluating", batch, batches, -1, "");
  }

 private:
  ProgressBar bar_;
};

int run(const Options& o) {
  apply_common(o.common);
  ModelSource source;
  source.path = o.run;
  const Model model = open_model(source);
  const std::string path = data_path(o.data);
  std::string split = o.split;
  if (split.empty()) {
    const std::vector<std::string> parts = available_splits(path);
    for (const char* wanted : {"val", "test"}) {
      if (std::find(parts.begin(), parts.end(), wanted) != parts.end()) split = wanted;
    }
  }
  const DatasetPtr data = open_dataset(path, split, {.class_names = model.class_names});
  Evaluation result;
  {
    Bar bar(!o.common.quiet && !o.common.json);
    EvaluateOptions evaluating;
    evaluating.batch_size = o.batch;
    evaluating.workers = o.workers;
    evaluating.skip_corrupt = o.skip_corrupt;
    evaluating.cancel = &catch_interrupts();
    evaluating.observer = &bar;
    evaluating.forward = infer::fast_forward(model, compute_type(o.dtype));
    result = evaluate(model, data, evaluating);
  }
  for (const std::string& s : result.skipped) std::fprintf(stderr, "fovea: left out %s\n", s.c_str());
  if (o.common.json) {
    std::printf("%s\n", to_json(result.metrics).c_str());
  } else {
    std::printf("%s", class_report(result.metrics, model.class_names).c_str());
    std::printf("%s\n", result.metrics.to_string().c_str());
    std::printf("%saccuracy: %s\n", split.empty() ? "" : (split + " ").c_str(),
                percent(result.metrics.accuracy).c_str());
  }
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("evaluate", "Measure a trained model on pictures whose classes are known");
  command->footer(
      "Examples:\n"
      "  fovea evaluate runs/birds birds/val\n"
      "  fovea evaluate runs/fashion-mnist fashion-mnist --json\n\n"
      "DATA is what `fovea train` takes: a folder with one folder per class, a CSV manifest, COCO Camera Traps JSON, "
      "IDX or CIFAR files. Where it has parts, the test part is used, or else val. JSON: accuracy, macro_f1, auc "
      "(macro one-vs-rest; of two classes that of the second), ece (15 equal-width bins), n, confusion (rows: true "
      "class).");
  command->add_option("run", o->run, "Run folder, model file, or weight file of another framework")->required();
  command->add_option("data", o->data, "The pictures")->required();
  command->add_option("--split", o->split, "Which part of the data: train, val or test");
  command->add_option("--batch-size", o->batch, "Pictures per batch")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--workers", o->workers, "Threads that load pictures")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  add_compute_type(*command, o->dtype);
  command->add_flag("--skip-corrupt", o->skip_corrupt, "Leave out pictures that cannot be read instead of stopping");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run(*o); }; });
}

}  // namespace fovea::tools
