// fovea evaluate: how good a trained model is on data with known classes.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "augment/open.h"
#include "core/io/file.h"
#include "insight/trust.h"
#include "kernels/devices.h"
#include "models/model.h"
#include "tools/answering.h"
#include "tools/command.h"
#include "tools/compute_type.h"
#include "tools/consent.h"
#include "tools/data_source.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/strangeness.h"
#include "train/evaluation.h"
#include "train/observer.h"
#include "train/run_log.h"

namespace fovea::tools {
namespace {

struct EvaluateArguments {
  Common common;
  std::string run, data, split, device = "cpu", dtype = "f32";
  int batch = 64;
  int workers = 1;
  bool skip_corrupt = false;
  ConsentOptions consent;
  int group_prefix = 0;
  std::string calibrate, trust, conformal = "lac", strangeness = "energy";
  double coverage = 0.9;
  int bootstrap = 0;
  bool tta = false;
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

std::string interval(const Interval& i, bool share) {
  char text[64];
  std::snprintf(text, sizeof text, share ? "%.2f to %.2f %%" : "%.4f to %.4f", i.low * (share ? 100 : 1),
                i.high * (share ? 100 : 1));
  return text;
}

/// What a calibration makes of these answers: lines for people, and the same for programs.
void report_trust(const insight::Trust& trust, const Evaluation& result, const std::vector<double>& distances,
                  bool fitted_here, std::string& text, nlohmann::ordered_json& json) {
  const auto classes = static_cast<int>(result.logits.dim(1));
  const std::vector<insight::Verdict> verdicts = insight::judge(trust, result.logits, 0, distances);
  const Tensor p = insight::tempered_probabilities(result.logits, trust.temperature);
  ClassificationMetrics metrics(classes);
  metrics.add_probabilities(p, Tensor::from(Shape{static_cast<std::int64_t>(result.labels.size())}, result.labels));
  const MetricValues tempered = metrics.compute();
  const insight::ConformalResult sets =
      insight::ConformalPredictor(trust.set_threshold, trust.conformal).evaluate(p, result.labels);
  std::int64_t answers[3] = {0, 0, 0}, right = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    ++answers[static_cast<int>(verdicts[i].answer)];
    right += verdicts[i].answer == insight::Answer::sure && verdicts[i].set[0] == result.labels[i];
  }
  const auto n = static_cast<double>(verdicts.size());
  char line[256];
  std::snprintf(line, sizeof line, "temperature %.3f: calibration error %s, before %s; log loss %.4f, before %.4f\n",
                trust.temperature, percent(tempered.ece).c_str(), percent(result.metrics.ece).c_str(),
                tempered.log_loss, result.metrics.log_loss);
  text += line;
  std::snprintf(line, sizeof line, "sets for %s: hold the class in %s, %.2f classes on average%s\n",
                percent(trust.conformal.coverage, 0).c_str(), percent(sets.coverage).c_str(), sets.mean_size,
                fitted_here ? " (of the pictures they were calibrated on)" : "");
  text += line;
  std::snprintf(line, sizeof line, "answers: %s sure (%s of them right), %s ambiguous, %s strange\n",
                percent(static_cast<double>(answers[0]) / n).c_str(),
                answers[0] ? percent(static_cast<double>(right) / static_cast<double>(answers[0])).c_str() : "none",
                percent(static_cast<double>(answers[1]) / n).c_str(),
                percent(static_cast<double>(answers[2]) / n).c_str());
  text += line;
  json["trust"] = {{"temperature", trust.temperature},
                   {"ece", tempered.ece},
                   {"log_loss", tempered.log_loss},
                   {"promised_coverage", trust.conformal.coverage},
                   {"coverage", sets.coverage},
                   {"mean_size", sets.mean_size},
                   {"set_sizes", sets.sizes},
                   {"sure", answers[0]},
                   {"sure_and_right", right},
                   {"ambiguous", answers[1]},
                   {"strange", answers[2]},
                   {"calibrated_on_these", fitted_here}};
}

int run_evaluate(const EvaluateArguments& o) {
  apply_common(o.common);
  if (!o.calibrate.empty() && !o.trust.empty())
    throw Error(ErrorKind::usage, "--calibrate", "writes what --trust reads: give one of them");
  ModelSource source;
  source.path = o.run;
  const Answering answering = open_answering(source, compute_type(o.dtype), device_from(o.device));
  // What evaluation asks beside answers.
  Model model;
  model.preprocessing = answering.preprocessing;
  model.class_names = answering.class_names;
  const std::string path = data_path(o.data);
  const std::string split = !o.split.empty() ? o.split : judged_split(available_splits(path));
  const DatasetPtr data = open_dataset(path, split, {.class_names = model.class_names, .group_prefix = o.group_prefix});
  check_consent(o.consent, insight::subjects_of({{"evaluation", data}}));
  Evaluation result;
  {
    Bar bar(!o.common.quiet && !o.common.json);
    EvaluateOptions evaluating;
    evaluating.batch_size = o.batch;
    evaluating.workers = o.workers;
    evaluating.skip_corrupt = o.skip_corrupt;
    evaluating.cancel = &catch_interrupts();
    evaluating.observer = &bar;
    evaluating.forward = answering.forward;
    if (o.tta && !answering.preprocessing.mirrored) {
      evaluating.forward = [plain = evaluating.forward](const Tensor& x) {
        return insight::augmented_logits(plain, x);
      };
    }
    result = evaluate(model, data, evaluating);
  }
  for (const std::string& s : result.skipped) std::fprintf(stderr, "fovea: left out %s\n", s.c_str());
  std::string text;
  auto json = nlohmann::ordered_json::parse(to_json(result.metrics));
  if (o.bootstrap > 0) {
    const insight::MetricIntervals i = insight::bootstrap_metrics(result.probabilities, result.labels,
                                                                  {.resamples = o.bootstrap, .seed = o.common.seed});
    text += str("95 % of ", o.bootstrap, " resamples: accuracy ", interval(i.accuracy, true), ", macro F1 ",
                interval(i.macro_f1, false), ", AUC ", interval(i.auc, false), ", calibration error ",
                interval(i.ece, true), "\n");
    const auto pair = [](const Interval& v) { return nlohmann::ordered_json{v.low, v.high}; };
    json["intervals"] = {{"accuracy", pair(i.accuracy)}, {"balanced_accuracy", pair(i.balanced_accuracy)},
                         {"macro_f1", pair(i.macro_f1)}, {"auc", pair(i.auc)},
                         {"log_loss", pair(i.log_loss)}, {"ece", pair(i.ece)}};
  }
  std::optional<insight::Trust> trust;
  std::vector<double> distances;  // of features, where the trust goes by them
  if (!o.trust.empty()) {
    const std::vector<std::uint8_t> bytes = read_file(o.trust, std::size_t{1} << 20);
    trust = insight::Trust::from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, o.trust);
    if (by_features(*trust))
      distances =
          FeatureDistance(source, o.trust).of(std::make_shared<Subset>(data, result.indices), &catch_interrupts());
  } else if (!o.calibrate.empty()) {
    insight::TrustOptions options;
    options.conformal.score = insight::conformal_score_from_string(o.conformal);
    options.conformal.coverage = o.coverage;
    options.conformal.seed = o.common.seed;
    trust = insight::Trust::fit(result.logits, result.labels, options);
    if (o.strangeness == "mahalanobis") {
      FeatureDistance::fit(o.run, &catch_interrupts()).save(o.calibrate);
      // By the file's numbers, which are rounded: the limit is that of later runs to the last bit.
      distances =
          FeatureDistance(source, o.calibrate).of(std::make_shared<Subset>(data, result.indices), &catch_interrupts());
      trust->distance_threshold = insight::novelty_threshold(distances, options.false_alarms);
    }
    write_file(o.calibrate, trust->to_json());
  }
  if (trust) report_trust(*trust, result, distances, o.trust.empty(), text, json);
  if (o.common.json) {
    std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    std::printf("%s", class_report(result.metrics, model.class_names).c_str());
    std::printf("%s\n%s", result.metrics.to_string().c_str(), text.c_str());
    std::printf("%saccuracy: %s\n", split.empty() ? "" : (split + " ").c_str(),
                percent(result.metrics.accuracy).c_str());
  }
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, Action& action) {
  auto o = std::make_shared<EvaluateArguments>();
  CLI::App* command = app.add_subcommand("evaluate", "Measure a trained model on pictures whose classes are known");
  command->footer(
      "Examples:\n"
      "  fovea evaluate runs/birds birds/val\n"
      "  fovea evaluate runs/fashion-mnist fashion-mnist --json\n"
      "  fovea evaluate runs/birds birds/val --calibrate birds.trust    then, on other pictures:\n"
      "  fovea evaluate runs/birds birds/test --trust birds.trust       are promises kept? See docs/trust.md\n\n"
      "DATA is what `fovea train` takes: a folder with one folder per class, a CSV manifest, COCO Camera Traps JSON, "
      "IDX or CIFAR files. Where it has parts, the test part is used, or else val. JSON: accuracy, macro_f1, auc "
      "(macro one-vs-rest; of two classes that of the second), ece (15 equal-width bins), n, confusion (rows: true "
      "class).");
  command->add_option("run", o->run, "Run folder, model file, compiled network, or weight file of another framework")
      ->required();
  command->add_option("data", o->data, "The pictures")->required();
  command->add_option("--split", o->split, "Which part of the data: train, val or test");
  command->add_option("--batch-size", o->batch, "Pictures per batch")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--workers", o->workers, "Threads that load pictures")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  add_compute_type(*command, o->dtype);
  const std::string group = "Trust";
  command
      ->add_option(
          "--calibrate", o->calibrate,
          "Fit temperature, conformal sets and the limit of strangeness on these pictures, and write them here")
      ->group(group);
  command->add_option("--trust", o->trust, "Judge the answers by a file that --calibrate wrote")->group(group);
  command->add_option("--conformal", o->conformal, "Kind of sets: lac (smallest), aps, raps (larger where it is hard)")
      ->check(CLI::IsMember({"lac", "aps", "raps"}))
      ->capture_default_str()
      ->group(group);
  command->add_option("--coverage", o->coverage, "Share of pictures whose set shall hold the true class")
      ->check(CLI::Range(0.5, 0.999))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--strangeness", o->strangeness,
                   "With --calibrate: what is strange is told by the answers' energy, or by how far the network's "
                   "features lie from those of its "
                   "training pictures (mahalanobis; a second file beside --calibrate's)")
      ->check(CLI::IsMember({"energy", "mahalanobis"}))
      ->capture_default_str()
      ->group(group);
  command->add_option("--bootstrap", o->bootstrap, "Intervals for every figure from so many resamples")
      ->check(CLI::Range(10, 1000000))
      ->group(group);
  command
      ->add_flag(
          "--tta", o->tta,
          "Test-time augmentation: mirrored pictures too, answers averaged (of models trained with --tta so or so)")
      ->group(group);
  add_consent_options(*command, o->consent);
  command->add_option("--group-prefix", o->group_prefix, "So many first characters of a file name are its subject")
      ->check(CLI::Range(0, 255))
      ->group("Consent");
  command->add_flag("--skip-corrupt", o->skip_corrupt, "Leave out pictures that cannot be read instead of stopping");
  add_device_option(*command, o->device);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_evaluate(*o); }; });
}

}  // namespace fovea::tools
