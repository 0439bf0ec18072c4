#include "tools/train_transfer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "infer/compile/compile.h"
#include "models/transfer.h"
#include "tools/model_source.h"
#include "tools/pretrained.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/run_folder.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

/// Fine-tuning sees about so many pictures in all: two minutes on two cores for EfficientNet-Lite0.
constexpr double kPicturesInAll = 4500;

FeatureOptions feature_options(const TrainerOptions& trainer, ProgressBar& bar, const char* what) {
  const auto begin = std::chrono::steady_clock::now();
  FeatureOptions features;
  features.batch_size = trainer.batch_size;
  features.workers = trainer.workers;
  features.skip_corrupt = trainer.skip_corrupt;
  features.cache = trainer.cache;
  features.cancel = trainer.cancel;
  features.on_batch = [&bar, what, begin](std::int64_t done, std::int64_t total) {
    const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    bar.update(what, done, total, passed / static_cast<double>(done) * static_cast<double>(total - done), "");
  };
  return features;
}

MetricValues judge(const LinearProbe& probe, const Features& features, int classes) {
  ClassificationMetrics metrics(classes);
  Tensor logits = probe_probabilities(probe, features.values);
  float* p = logits.mutable_data<float>();
  std::transform(p, p + logits.numel(), p, [](float v) { return std::log(std::max(v, 1e-30f)); });
  metrics.add_logits(logits, Tensor::from({static_cast<std::int64_t>(features.labels.size())}, features.labels));
  return metrics.compute();
}

}  // namespace

void add_transfer_options(CLI::App& c, TrainOptions& o) {
  const std::string group = "Pretrained weights";
  c.add_option(
       "--weights", o.weights,
       "Start from these: a weight file of any framework, a name (`fovea weights`), a model file or run folder. "
       "A linear probe is fitted first; from there the network is fine-tuned")
      ->group(group);
  c.add_option("--layout", o.layout, "Whose names and conventions the file has (default: told from the names)")
      ->check(CLI::IsMember({"auto", "torchvision", "timm", "keras", "huggingface", "tfslim", "lukemelas"}))
      ->group(group);
  c.add_flag("--linear-probe", o.linear_probe,
             "Only the classifier learns, by logistic regression on the features of the pictures as they are: seconds "
             "instead of minutes")
      ->group(group);
  c.add_option("--unfreeze", o.unfreeze,
               "What is fine-tuned: all (default), none (the classifier only, with augmentation), or a stage with all "
               "behind it, such as block_12 (`fovea summary` lists them)")
      ->group(group);
  c.add_option("--lr-decay", o.lr_decay,
               "Each stage further from the classifier learns at this fraction of the rate (default 0.9)")
      ->check(CLI::Range(0.01, 1.0))
      ->group(group);
  c.add_flag("--train-bn", o.train_bn, "Batch norms learn too and follow the batches' statistics")->group(group);
}

void check_transfer_options(const TrainOptions& o) {
  if (o.weights.empty()) {
    const char* alone = o.linear_probe        ? "--linear-probe"
                        : !o.unfreeze.empty() ? "--unfreeze"
                        : o.lr_decay > 0      ? "--lr-decay"
                        : o.train_bn          ? "--train-bn"
                        : o.layout != "auto"  ? "--layout"
                                              : nullptr;
    if (alone) {
      throw Error(ErrorKind::usage, alone, "is for pretrained weights, and there are none",
                  "name them with --weights; `fovea weights` lists some that anyone can install");
    }
    return;
  }
  if (!o.preset.empty()) throw Error(ErrorKind::usage, "--preset", "is for training from nothing, not with --weights");
  if (o.linear_probe && (!o.unfreeze.empty() || o.lr_decay > 0 || o.train_bn))
    throw Error(ErrorKind::usage, "--linear-probe", "fine-tunes nothing",
                "leave out --unfreeze, --lr-decay, --train-bn");
  if (o.linear_probe && o.find_lr)
    throw Error(ErrorKind::usage, "--linear-probe", "has no learning rate to find", "leave out --find-lr");
  if (o.linear_probe && o.resume)
    throw Error(ErrorKind::usage, "--linear-probe", "takes seconds: there is nothing to resume",
                "use --overwrite to fit it again");
}

void apply_transfer_preset(TrainOptions& o, std::int64_t train_images) {
  if (o.epochs == 0)
    o.epochs = static_cast<int>(std::clamp(std::round(kPicturesInAll / static_cast<double>(train_images)), 4.0, 24.0));
  if (o.batch_size == 0) o.batch_size = static_cast<int>(std::clamp<std::int64_t>(train_images / 4, 1, 32));
  if (o.optimizer.empty()) o.optimizer = "adamw";
  if (o.lr == 0) o.lr = o.optimizer == "sgd" ? 0.01 : 4e-4;
  if (o.weight_decay < 0) o.weight_decay = o.optimizer == "sgd" ? 1e-4 : 0.02;
  if (o.label_smoothing < 0) o.label_smoothing = o.focal > 0 ? 0 : 0.1;
  if (o.schedule.empty()) {
    o.schedule = "cosine";
    if (o.warmup == 0) o.warmup = 0.1 * o.epochs;
  }
  if (o.ema < 0) o.ema = 0.99;
  if (o.augment.preset.empty()) o.augment.preset = "transfer";
  if (o.unfreeze.empty()) o.unfreeze = "all";
  if (o.lr_decay == 0) o.lr_decay = 0.9;
}

Model open_pretrained(const TrainOptions& o, const TrainData& data) {
  const int classes = check_classes(o, data);
  ModelSource source;
  source.path = model_or_given(o.weights);
  if (!o.model.empty()) source.model = o.model;
  source.layout = o.layout;
  source.image_size = o.image_size;
  source.width = o.width;
  models::LoadOptions loading = load_options(source);
  loading.classes = classes;
  loading.head = Head::replace;
  loading.seed = o.common.seed;
  Model model = load_weights(source.path, loading);
  const double width = model.options.width > 0 ? model.options.width : 1;
  if (o.width > 0 && std::abs(o.width - width) > 1e-9) {
    throw Error(ErrorKind::usage, "--width", str("is ", o.width, ", but these weights are of width ", width),
                "leave it out: weights bring their own");
  }
  model.class_names = data.train->class_names();
  return model;
}

ProbeStart fit_start(const TrainOptions& o, const TrainData& data, Model& model, const TrainerOptions& trainer,
                     const std::string& path) {
  ProbeStart start;
  if (o.resume && fs::exists(path)) {
    const Safetensors file = read_safetensors(path);
    const auto value = [&](const char* key) {
      for (const auto& [name, text] : file.metadata) {
        if (name == key) return std::strtod(text.c_str(), nullptr);
      }
      return 0.0;
    };
    for (const auto& [name, tensor] : file.tensors) (name == "weight" ? start.weight : start.bias) = tensor;
    if (!start.weight.defined() || !start.bias.defined())
      throw Error(ErrorKind::format, path, "is no linear probe", "begin anew with --overwrite");
    start.has_validation = value("validated") == 1;
    start.val_log_loss = value("val_log_loss");
    start.val_accuracy = value("val_accuracy");
    // A run that was killed before its first checkpoint begins here again.
    set_classifier(model, {.weight = start.weight, .bias = start.bias});
    return start;
  }
  const int classes = static_cast<int>(data.train->num_classes());
  ProgressBar bar(!o.common.quiet);
  const auto forward = infer::fast_forward(feature_network(model));
  const auto compute = [&](const DatasetPtr& part, const char* what) {
    FeatureOptions computing = feature_options(trainer, bar, what);
    computing.forward = forward;
    return compute_features(model, part, computing);
  };
  const Features features = compute(data.train, "features");
  LinearProbeOptions fitting;
  fitting.seed = o.common.seed;
  fitting.cancel = trainer.cancel;
  fitting.class_weights = trainer.loss.class_weights;
  if (trainer.balance != ClassBalance::none) fitting.class_weights = balanced_class_weights(*data.train);
  fitting.on_fit = [&](int done, int total) { bar.update("linear probe", done, total, -1, ""); };
  const LinearProbe probe = fit_linear_probe(features, classes, fitting);
  set_classifier(model, probe);
  start.weight = probe.weight;
  start.bias = probe.bias;
  std::string text = str("linear probe: C ", number(probe.c, "%.3g"));
  for (const LinearProbe::Trial& t : probe.trials) {
    if (t.c == probe.c)
      text += str("  held-out loss ", number(t.log_loss, "%.3f"), "  accuracy ", percent(t.accuracy, 1));
  }
  if (data.val) {
    const Features val = compute(data.val, "validating");
    const MetricValues m = judge(probe, val, classes);
    start.has_validation = true;
    start.val_log_loss = m.log_loss;
    start.val_accuracy = m.accuracy;
    text += str("  val loss ", number(m.log_loss, "%.3f"), "  val accuracy ", percent(m.accuracy, 2));
  }
  bar.line(text);
  write_safetensors(path, {{"weight", start.weight}, {"bias", start.bias}},
                    {{"validated", start.has_validation ? "1" : "0"},
                     {"val_log_loss", number(start.val_log_loss, "%.17g")},
                     {"val_accuracy", number(start.val_accuracy, "%.17g")}});
  return start;
}

History report_probe(const TrainOptions& o, const TrainData& data, const Model& model, const TrainerOptions& trainer,
                     double seconds) {
  TrainInfo info;
  info.epochs = 1;
  info.train_images = data.train->size();
  info.val_images = data.val ? data.val->size() : 0;
  info.parameters = model.network().parameter_count();
  info.trainable_parameters =
      model.network().tensor("classifier.weight").numel() + model.network().tensor("classifier.bias").numel();
  History history;
  EvaluateOptions evaluating;
  evaluating.batch_size = trainer.batch_size;
  evaluating.workers = o.workers;
  evaluating.skip_corrupt = o.skip_corrupt;
  evaluating.cancel = trainer.cancel;
  EpochRecord record;
  record.epoch = 1;
  record.seconds = seconds;
  record.images_per_s = static_cast<double>(data.train->size()) / seconds;
  record.best = true;
  const MetricValues learnt = evaluate(model, data.train, evaluating).metrics;
  record.train_loss = learnt.log_loss;
  record.train_accuracy = learnt.accuracy;
  std::optional<MetricValues> val;
  if (data.val) {
    val = evaluate(model, data.val, evaluating).metrics;
    record.val_loss = val->log_loss;
    record.val_accuracy = val->accuracy;
    record.val_macro_f1 = val->macro_f1;
  }
  history.epochs.push_back(record);
  history.best_epoch = 1;
  for (TrainObserver* observer : trainer.observers) {
    observer->on_start(info);
    observer->on_epoch(record, history, val ? &*val : nullptr);
    observer->on_end(history);
  }
  return history;
}

bool worse_than_probe(const ProbeStart& start, const History& history) {
  if (!start.has_validation || history.epochs.empty()) return false;
  const EpochRecord& end = history.epochs.back();
  return end.val_loss > start.val_log_loss && end.val_accuracy < start.val_accuracy;
}

}  // namespace fovea::tools
