// fovea train: from pictures to a model, with progress, checkpoints, metrics and plots in a run folder.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/available_memory.h"
#include "core/io/file.h"
#include "core/threads/parallel.h"
#include "kernels/devices.h"
#include "kernels/gpu_ranks.h"
#include "tools/command.h"
#include "tools/model_source.h"
#include "tools/progress.h"
#include "tools/ranks.h"
#include "tools/report.h"
#include "tools/run_record.h"
#include "tools/train_forecast.h"
#include "tools/train_options.h"
#include "tools/train_private.h"
#include "tools/train_transfer.h"
#include "train/distributed/mpi.h"
#include "train/evaluation.h"
#include "train/finetune.h"
#include "train/lr_finder.h"
#include "train/run_log.h"
#include "train/trainer.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

/// Draws the progress of training: a bar on a terminal, a line per epoch anywhere.
class TrainView final : public TrainObserver {
 public:
  TrainView(bool enabled, bool validates, std::string team = {})
      : bar_(enabled), validates_(validates), team_(std::move(team)) {}

  void on_start(const TrainInfo& info) override {
    info_ = info;
    bar_.line(str(
        info.train_images, " training pictures, ", info.val_images, " for validation; ", info.parameters, " parameters",
        info.trainable_parameters == info.parameters ? "" : str(", ", info.trainable_parameters, " of them trained"),
        info.steps > 0 ? str("; ", info.epochs, " epochs of ", info.batches_per_epoch, " steps") : "", "; ", team_));
    if (info.resumed) bar_.line(str("resumed after epoch ", info.first_epoch, ", step ", info.first_step));
  }
  void on_batch(const BatchReport& r) override {
    bar_.update(str("epoch ", r.epoch, "/", r.epochs), r.batch, r.batches, r.seconds_left,
                str(number(r.images_per_s, "%.0f"), " img/s  loss ", number(r.mean_loss, "%.3f"), "  accuracy ",
                    percent(r.accuracy, 1), epsilon(r.epsilon)));
  }
  void on_validation_batch(std::int64_t batch, std::int64_t batches) override {
    bar_.update("validating", batch, batches, -1, "");
  }
  void on_epoch(const EpochRecord& e, const History&, const MetricValues*) override {
    // A linear probe has no epochs.
    const std::string which = info_.steps > 0 ? str("epoch ", right(e.epoch), "/", info_.epochs) : "linear probe";
    std::string text = str(which, "  loss ", number(e.train_loss, "%.3f"), "  accuracy ", percent(e.train_accuracy, 1));
    if (validates_)
      text += str("  val loss ", number(e.val_loss, "%.3f"), "  val accuracy ", percent(e.val_accuracy, 2));
    text += epsilon(e.epsilon);
    text += str("  ", number(e.images_per_s, "%.0f"), " img/s  ", format_duration(e.seconds), waiting(e.wait_share),
                e.best && validates_ && info_.steps > 0 ? "  best" : "");
    bar_.line(text);
  }
  void on_warning(std::string_view text) override {
    bar_.clear();
    std::fprintf(stderr, "fovea: warning: %.*s\n", static_cast<int>(text.size()), text.data());
  }
  void on_end(const History&) override { bar_.clear(); }

 private:
  /// Below a tenth nobody needs to do anything about it.
  static std::string waiting(double share) { return share >= 0.1 ? str("  waiting ", percent(share, 0)) : ""; }
  static std::string epsilon(double value) { return std::isfinite(value) ? str("  ε ", number(value, "%.2f")) : ""; }
  std::string right(std::int64_t epoch) const {
    const std::string text = std::to_string(epoch);
    const std::size_t width = std::to_string(info_.epochs).size();
    return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
  }

  ProgressBar bar_;
  bool validates_;
  std::string team_;
  TrainInfo info_;
};

/// Of another rank than the first, only what went wrong there is shown.
class RankView final : public TrainObserver {
 public:
  explicit RankView(std::string name) : name_(std::move(name)) {}
  void on_warning(std::string_view text) override {
    std::fprintf(stderr, "fovea: warning: %s%.*s\n", name_.c_str(), static_cast<int>(text.size()), text.data());
  }

 private:
  std::string name_;
};

/// Who computes: "2 threads", or "2 ranks of 1 thread each".
std::string describe_team(const Communicator& world, bool sync_batch_norm, Device device) {
  const std::string threads = str(num_threads(), num_threads() == 1 ? " thread" : " threads");
  if (world.size() == 1) return threads;
  return str(world.size(), " ranks of ", threads, device == kCpu ? "" : " and a GPU", " each",
             sync_batch_norm ? ", batch norm synchronised" : "");
}

void refuse_ranks(const TrainOptions& o, const Communicator& world) {
  if (world.size() == 1) return;
  const std::pair<bool, const char*> alone[] = {{o.find_lr, "--find-lr"},
                                                {o.linear_probe, "--linear-probe"},
                                                {o.is_private, "--private"},
                                                {o.dry_run, "--dry-run"},
                                                {o.auto_batch, "--batch-size auto"}};
  for (const auto& [asked, option] : alone) {
    if (asked) throw Error(ErrorKind::usage, option, "works on one rank", "start it without mpirun");
  }
}

/// The run folder: as asked for, or the first free of runs/name, runs/name-2, …
std::string choose_folder(const TrainOptions& o, const std::string& name) {
  if (!o.out.empty()) {
    const bool used =
        fs::exists(fs::path(o.out) / "checkpoint.safetensors") || fs::exists(fs::path(o.out) / "model.fovea");
    if (used && !o.resume && !o.overwrite) {
      throw Error(ErrorKind::usage, o.out, "holds a run already",
                  "go on with it by --resume, replace it by --overwrite, or choose another --out");
    }
    if (used && o.overwrite && !o.resume) fs::remove(fs::path(o.out) / "checkpoint.safetensors");
    return o.out;
  }
  if (o.resume) throw Error(ErrorKind::usage, "--resume", "which run? name its folder with --out");
  for (int i = 1;; ++i) {
    const std::string folder = str("runs/", name, i == 1 ? "" : str("-", i));
    if (!fs::exists(folder)) return folder;
  }
}

std::vector<insight::SubjectUse> subjects_of(const TrainData& data) {
  return insight::subjects_of({{"train", data.train}, {"val", data.val}, {"test", data.test}});
}

/// How much of the training went into waiting for pictures, and what to do about it.
void tell_wait(const History& history, int workers) {
  double waited = 0, trained = 0;
  for (const EpochRecord& e : history.epochs) {
    if (!std::isfinite(e.wait_share) || !(e.images_per_s > 0)) continue;
    const double seconds = 1 / e.images_per_s;  // of equally many pictures
    waited += e.wait_share * seconds;
    trained += seconds;
  }
  if (trained == 0) return;
  const double share = waited / trained;
  std::fprintf(stderr, "%s of the training time went into waiting for pictures%s\n", percent(share, 1).c_str(),
               share < 0.1   ? ""
               : workers < 2 ? ": try --workers 2, or `fovea pack`"
                             : ": `fovea pack` decodes them once");
}

int find_lr(const TrainOptions& o, const TrainData& data, const Model& model, const TrainerOptions& trainer) {
  const LrFinderResult result = find_learning_rate(model, data.train, trainer);
  const std::string path = o.out.empty() ? "lr.svg" : (fs::path(o.out) / "lr.svg").string();
  if (!o.out.empty()) make_folders(o.out);
  write_file(path, lr_finder_svg(result));
  if (o.common.json) {
    std::printf("%s\n",
                nlohmann::ordered_json{
                    {"suggestion", result.suggestion}, {"tenth_of_minimum", result.tenth_of_minimum}, {"plot", path}}
                    .dump()
                    .c_str());
  } else {
    std::printf("curve: %s\nlearning rate of the steepest fall: %s\na more cautious one: %s\n", path.c_str(),
                number(result.suggestion, "%.4g").c_str(), number(result.tenth_of_minimum, "%.4g").c_str());
  }
  return 0;
}

/// Where to train; asked before anything is read.
Device training_device(const TrainOptions& o, const Communicator& world) {
  const auto refuse = [](const char* what, const char* why, const char* hint) {
    throw Error(ErrorKind::usage, what, why, hint);
  };
  const bool several = world.size() > 1;
  if (several && o.device.find(':') != std::string::npos)
    refuse("--device", "names one GPU for all ranks",
           "by --device cuda each rank takes its own; CUDA_VISIBLE_DEVICES says which there are");
  const Launch launch = mpi_launch();
  const Device device = several && (o.device == "cuda" || o.device == "gpu")
                            ? gpu_of_rank(launch.local_rank, launch.local_size)
                            : device_from(o.device);
  if (device == kCpu && o.precision == "f16")
    refuse("--precision", "f16 needs a GPU", "give --device cuda, or train in bf16 or f32");
  if (device == kCpu) return device;
  if (o.dry_run || o.auto_batch)
    refuse(o.dry_run ? "--dry-run" : "--batch-size", "forecasts the CPU's memory", "give a --batch-size");
  if (o.is_private) refuse("--private", "trains on the CPU", "leave out --device");
  return device;
}

/// What training starts with.
struct Preparation {
  TrainData data;
  Model model;
  TrainerOptions trainer;
};

Preparation prepare(TrainOptions& o, Communicator& world) {
  refuse_ranks(o, world);
  check_transfer_options(o);
  check_private_options(o);
  const bool pretrained = !o.weights.empty();
  TrainData data = open_data(o);
  check_consent(o.consent, subjects_of(data));
  if (o.is_private) apply_private_preset(o, data);
  if (o.is_private && (o.auto_batch || o.dry_run))
    throw Error(ErrorKind::usage, o.dry_run ? "--dry-run" : "--batch-size",
                "private training's batches are of random size: its memory is not forecast", "give a --batch-size");
  if (pretrained) {
    apply_transfer_preset(o, data.train->size());
  } else {
    apply_preset(o, data);
  }
  if (world.rank() == 0)
    for (const std::string& warning : data.warnings) std::fprintf(stderr, "fovea: warning: %s\n", warning.c_str());
  Model model = pretrained ? open_pretrained(o, data) : build_model(o, data);
  if (o.tta) model.preprocessing.mirrored = *o.tta;
  TrainerOptions trainer = trainer_options(o, data, model);
  if (pretrained) {
    trainer.optimizer_options.lr_scales =
        begin_finetuning(model, {.unfreeze = o.unfreeze, .lr_decay = o.lr_decay, .train_norm = o.train_bn});
  }
  choose_batch(o, trainer, data, model);
  trainer.ranks = &world;
  return {std::move(data), std::move(model), std::move(trainer)};
}

/// Makes the run folder with what is known before training, which may be stopped at any time.
std::string begin_folder(const TrainOptions& o, const Preparation& p) {
  const std::string folder = choose_folder(o, p.data.name);
  make_folders(folder);
  remove_stale_temporaries(folder);
  // What `fovea forget` looks for.
  const std::vector<insight::SubjectUse> subjects = subjects_of(p.data);
  const bool named = std::any_of(subjects.begin(), subjects.end(), [](const auto& u) { return !u.subject.empty(); });
  const std::string subjects_file = (fs::path(folder) / "subjects.csv").string();
  if (named) {
    insight::write_subjects(subjects_file, subjects);
  } else {
    fs::remove(subjects_file);
  }
  write_run_record(folder, describe_run(o, p.data, p.model, p.trainer));
  if (o.resume && !fs::exists(fs::path(folder) / "checkpoint.safetensors")) {
    std::fprintf(stderr, "fovea: warning: there is no checkpoint in %s yet; training begins at the start\n",
                 folder.c_str());
  }
  return folder;
}

/// What the first of several ranks does alone besides training, the others wait for or leave out.
int run_train(TrainOptions o, Communicator& world) {
  apply_common(o.common, world);
  Device device;
  together(world, [&] { device = training_device(o, world); });
  // Outlived by nothing that uses it; world goes on with what lies on the CPU.
  const std::unique_ptr<Communicator> gpus = world.size() > 1 && device != kCpu ? gpu_ranks(world, device) : nullptr;
  CancelToken& cancel = catch_interrupts();
  const bool first = world.rank() == 0;
  if (!first) o.common.quiet = true;
  std::optional<Preparation> prepared;
  std::string folder = o.out;
  together(world, [&] {
    prepared = prepare(o, world);
    if (first && !o.find_lr && !o.dry_run) folder = begin_folder(o, *prepared);
  });
  TrainData& data = prepared->data;
  Model& model = prepared->model;
  TrainerOptions& trainer = prepared->trainer;
  if (gpus) trainer.ranks = gpus.get();
  if (o.dry_run) return dry_run(o, trainer, data, model);
  if (o.find_lr) return find_lr(o, data, model, trainer);
  const bool pretrained = !o.weights.empty();
  const auto inside = [&](const char* name) { return (fs::path(folder) / name).string(); };
  const bool show = !o.common.quiet;
  TrainView view(show, data.val != nullptr, describe_team(world, o.sync_batch_norm, device));
  RankView rank_view(name_of(world));
  std::optional<RunLog> log;
  if (first) log.emplace(folder, RunLogOptions{.class_names = model.class_names});
  trainer.checkpoint = inside("checkpoint.safetensors");
  trainer.observers = first ? std::vector<TrainObserver*>{&view, &*log} : std::vector<TrainObserver*>{&rank_view};
  trainer.cancel = &cancel;
  if (show) {
    const std::string network = pretrained ? describe(model) : o.model;
    std::fprintf(stderr, "%s on %s\n", network.c_str(), o.data.c_str());
    if (!o.linear_probe) {
      std::fprintf(stderr, "  optimizer     %s\n  schedule      %s\n  augmentation  %s\n",
                   describe(trainer.optimizer).c_str(), describe(trainer.schedule).c_str(),
                   trainer.transforms.empty() ? "none" : to_string(trainer.transforms).c_str());
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  std::optional<ProbeStart> start;
  // A private training begins without what a fit to the same pictures would tell.
  if (pretrained && !o.is_private && first) start = fit_start(o, data, model, trainer, inside("probe.safetensors"));
  world.barrier();
  if (!o.linear_probe) model.to(device);  // the probe is fitted on the CPU
  Trainer training(model, trainer);
  const History history =
      o.linear_probe ? report_probe(o, data, model, trainer, passed()) : training.fit(data.train, data.val);
  model.to(kCpu);
  const double seconds = passed();
  if (history.cancelled) {
    if (!first) return interrupted_code();
    std::fprintf(stderr, "fovea: stopped; go on with: fovea train %s --out '%s' --resume and the same options\n",
                 o.data.c_str(), folder.c_str());
    return interrupted_code();
  }
  if (start && !o.linear_probe && worse_than_probe(*start, history)) {
    std::fprintf(stderr, "fovea: warning: fine-tuning made validation worse; the linear probe is kept\n");
    model = open_pretrained(o, data);
    set_classifier(model, {.weight = start->weight, .bias = start->bias});
  }
  broadcast(world, model);  // the probe, perhaps
  if (first) save(model, inside("model.fovea"));
  const std::optional<PrivacyReport>& privacy = training.privacy();
  if (privacy) write_file(inside("privacy.json"), to_json(*privacy) + "\n");
  if (log && !log->warning().empty()) std::fprintf(stderr, "fovea: warning: %s\n", log->warning().c_str());

  if (show && !o.linear_probe) tell_wait(history, o.workers);
  // The last word is on pictures that training never saw.
  const DatasetPtr judged = data.test ? data.test : data.val;
  const std::string part = data.test ? "test" : "validation";
  nlohmann::ordered_json summary{{"run", folder},
                                 {"model", inside("model.fovea")},
                                 {"epochs", history.epochs.size()},
                                 {"seconds", seconds},
                                 {"peak_memory_bytes", peak_resident_memory()}};
  if (judged) {
    TrainView quiet(show && data.test != nullptr, false);
    EvaluateOptions evaluating;
    evaluating.batch_size =
        model.preprocessing.width * model.preprocessing.height <= 96 * 96 ? 128 : trainer.batch_size;
    evaluating.batch_size *= world.size();
    evaluating.ranks = &world;
    evaluating.workers = o.workers;
    evaluating.skip_corrupt = o.skip_corrupt;
    evaluating.cancel = &cancel;
    evaluating.observer = &quiet;
    const Evaluation result = evaluate(model, judged, evaluating);
    if (!first) return 0;
    const std::string text = to_json(result.metrics);
    write_file(inside("evaluation.json"), text + "\n");
    summary[data.test ? "test" : "validation"] = nlohmann::json::parse(text);
    if (!o.common.json) {
      std::printf("%s", class_report(result.metrics, model.class_names).c_str());
      std::printf("%s\n", result.metrics.to_string().c_str());
    }
    if (!o.common.json) {
      std::printf("training took %s; model, metrics and plots are in %s\n", format_duration(seconds).c_str(),
                  folder.c_str());
      std::printf("%s accuracy: %s\n", part.c_str(), percent(result.metrics.accuracy).c_str());
    }
  } else if (!first) {
    return 0;
  } else if (!o.common.json) {
    std::printf("training took %s; model, metrics and plots are in %s\n", format_duration(seconds).c_str(),
                folder.c_str());
  }
  if (privacy) {
    summary["privacy"] = nlohmann::json::parse(to_json(*privacy));
    if (!o.common.json)
      std::printf("private: %s, for each picture\n", describe_epsilon(privacy->epsilon, privacy->delta).c_str());
    if (privacy->delta * static_cast<double>(data.train->size()) >= 1)
      std::fprintf(stderr, "fovea: warning: delta should be below 1/pictures = %s\n",
                   number(1 / static_cast<double>(data.train->size()), "%.2g").c_str());
  }
  if (o.common.json) std::printf("%s\n", summary.dump().c_str());
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  auto o = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Learn to tell pictures apart");
  command->footer(
      "Examples:\n"
      "  fovea train fashion-mnist                             the demo: about 93 % in minutes\n"
      "  fovea train photos                                    photos/cat/*.jpg, photos/dog/*.jpg, …\n"
      "  fovea train photos --image-size 96 --epochs 60 --out runs/pets\n"
      "  fovea train photos --weights efficientnet_lite0       from pretrained weights: better, and with few pictures\n"
      "  fovea train photos --out runs/pets --resume           go on after Ctrl-C, a crash or a power cut\n"
      "  fovea train faces --private --epsilon 3               what the model tells about any picture is bounded\n"
      "  fovea train scans.csv --group-prefix 8 --balance weights --patience 10\n"
      "  mpirun -n 4 fovea train photos --out runs/pets        on 4 ranks, of one machine or of several\n"
      "  mpirun -n 4 fovea train photos --device cuda          on 4 GPUs\n\n"
      "The run folder holds model.fovea, checkpoint.safetensors, metrics.jsonl and .csv, TensorBoard events, "
      "evaluation.json, run.json and plots (SVG); `fovea report` makes a page of them. Where pictures have groups, "
      "subjects.csv: see `fovea forget`; of private training, privacy.json.");
  add_train_options(*command, *o);
  command->callback([&action, o] {
    action = [o] { return run_on_ranks([&](Communicator& world) { return run_train(*o, world); }); };
  });
}

}  // namespace fovea::tools
