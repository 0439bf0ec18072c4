// What the example trainers share and what none of them is about: arguments, lines of progress, the division of data.
#pragma once

#include <fovea/fovea.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace examples {

using namespace fovea;

/// The command line: take options first, then the positional arguments, then call done().
class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) left_.emplace_back(argv[i]);
  }

  std::string text(const std::string& flag, const std::string& fallback = {}) {
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (left_[i] != flag) continue;
      if (i + 1 == left_.size()) throw Error(ErrorKind::usage, flag, "needs a value behind it");
      const std::string value = left_[i + 1];
      left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(i), left_.begin() + static_cast<std::ptrdiff_t>(i) + 2);
      return value;
    }
    return fallback;
  }
  double number(const std::string& flag, double fallback, double low, double high) {
    const std::string value = text(flag);
    if (value.empty()) return fallback;
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (*end != '\0' || !(number >= low && number <= high))
      throw Error(ErrorKind::usage, flag, str("'", value, "' is no number from ", low, " to ", high));
    return number;
  }
  /// Whole numbers only.
  int whole(const std::string& flag, int fallback, int low, int high) {
    const double value = number(flag, fallback, low, high);
    if (value != std::floor(value)) throw Error(ErrorKind::usage, flag, str(value, " is no whole number"));
    return static_cast<int>(value);
  }
  bool has(const std::string& flag) { return std::erase(left_, flag) > 0; }
  std::string positional(const char* what, const std::string& fallback = {}) {
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (left_[i].starts_with("-") && left_[i].size() > 1) continue;
      const std::string value = left_[i];
      left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(i));
      return value;
    }
    if (!fallback.empty()) return fallback;
    throw Error(ErrorKind::usage, what, "is missing", "--help says how this program is called");
  }
  void done() const {
    if (!left_.empty()) throw Error(ErrorKind::usage, left_[0], "is no argument of this program", "--help lists them");
  }

 private:
  std::vector<std::string> left_;
};

/// main() of an example: --help, and errors as one line. fovea::Error says what was expected, what came and what to do.
inline int run_example(int argc, char** argv, const char* usage, void (*run)(Arguments&)) {
  try {
    Arguments arguments(argc, argv);
    if (arguments.has("--help") || arguments.has("-h")) {
      std::printf("%s", usage);
      return 0;
    }
    run(arguments);
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return e.kind() == ErrorKind::usage ? 2 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

/// One line per epoch, and the curve of all of them.
class EpochLines : public TrainObserver {
 public:
  void on_epoch(const EpochRecord& e, const History&, const MetricValues* validation) override {
    epochs_.push_back(e);
    std::printf("epoch %2zu  loss %.3f  accuracy %5.1f %%", epochs_.size(), e.train_loss, 100 * e.train_accuracy);
    if (validation) std::printf("  validation %5.1f %%, macro F1 %.3f", 100 * e.val_accuracy, e.val_macro_f1);
    std::printf("  %.0f s\n", e.seconds);
    std::fflush(stdout);
  }
  void on_warning(std::string_view text) override {
    std::fprintf(stderr, "warning: %.*s\n", static_cast<int>(text.size()), text.data());
  }
  /// Accuracy by epoch; `before`: of validation pictures before the first.
  std::string accuracy_svg(double before) const {
    Series train{"training", {}, {}}, validation{"validation", {0}, {before}};
    for (std::size_t i = 0; i < epochs_.size(); ++i) {
      for (Series* series : {&train, &validation}) series->x.push_back(static_cast<double>(i + 1));
      train.y.push_back(epochs_[i].train_accuracy);
      validation.y.push_back(epochs_[i].val_accuracy);
    }
    return line_plot_svg({.title = "Accuracy",
                          .x_label = "epoch",
                          .y_label = "accuracy",
                          .series = {train, validation},
                          .percent = true,
                          .whole_x = true});
  }

 private:
  std::vector<EpochRecord> epochs_;
};

inline void print_metrics(const char* name, const MetricValues& m) {
  std::printf("%s: accuracy %.2f %% (95 %%: %.2f to %.2f), macro F1 %.4f, AUC %.4f\n", name, 100 * m.accuracy,
              100 * m.accuracy_interval.low, 100 * m.accuracy_interval.high, m.macro_f1, m.auc);
}

/// So many pictures, spread over the whole; all where `limit` is 0.
inline DatasetPtr first_of(const DatasetPtr& data, std::int64_t limit) {
  if (limit <= 0 || limit >= data->size()) return data;
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < limit; ++i) indices.push_back(i * data->size() / limit);
  return std::make_shared<Subset>(data, indices);
}

/// Three parts of the data: to learn from, to choose by (epochs, thresholds), and to judge by, once. Data that comes in
/// parts keeps its test part, or else its val part, to judge by; everything else is divided by the seed. Groups
/// (patients, places) stay whole.
inline Splits three_parts(const DatasetPtr& all, const DatasetPtr& judged, std::uint64_t seed, std::int64_t limit) {
  for (const std::string& warning : all->warnings()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  const DatasetPtr whole = first_of(all, limit);
  Splits parts = split(whole, {.val = 0.2, .test = judged ? 0.0 : 0.2, .seed = seed});
  for (const std::string& warning : parts.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (judged) parts.test = first_of(judged, limit);
  if (parts.val->size() == 0 || parts.test->size() == 0) {
    throw Error(ErrorKind::usage, "data", str(whole->size(), " pictures are too few to learn, choose and judge by"),
                "a handful per class, and a handful of groups if there are groups, is the least");
  }
  return parts;
}

inline Splits three_parts(const std::string& path, const OpenOptions& options, std::uint64_t seed, std::int64_t limit) {
  const std::vector<std::string> parts = available_splits(path);
  const auto has = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
  const char* judged = has("test") ? "test" : "val";
  if (!has("train") || !has(judged)) return three_parts(open_dataset(path, "", options), nullptr, seed, limit);
  const DatasetPtr train = open_dataset(path, "train", options);
  OpenOptions same = options;
  same.class_names = train->class_names();
  return three_parts(train, open_dataset(path, judged, same), seed, limit);
}

/// A pretrained network with a new head for the data's classes; without a weight file a small one, drawn by the seed.
inline Model starting_model(const std::string& weights, const Dataset& data, std::uint64_t seed) {
  const int classes = static_cast<int>(data.num_classes());
  Model model = weights.empty() ? models::create("picture_cnn", {.classes = classes, .seed = seed})
                                : models::load(weights, {.classes = classes, .head = Head::replace, .seed = seed});
  model.class_names = data.class_names();
  std::printf("%s, %s\n", model.architecture.c_str(),
              weights.empty() ? "from nothing; --weights FILE would know pictures already" : weights.c_str());
  return model;
}

/// About 9000 pictures in all, in 4 to 24 epochs.
inline int epochs_for(const Dataset& train) {
  return static_cast<int>(std::clamp<std::int64_t>(9000 / train.size(), 4, 24));
}

/// Augmentation for pretrained networks: mirrored, most pictures turned, moved and enlarged a little, and in
/// other light. Not all, since resampling blurs, and who never saw a sharp picture misjudges them.
inline std::vector<TransformPtr> gentle_changes(bool mirrored = true) {
  std::vector<TransformPtr> list;
  if (mirrored) list.push_back(transforms::horizontal_flip());
  list.push_back(transforms::maybe(
      0.8, transforms::affine(
               {.degrees = 11, .translate = {0.1, 0.1}, .scale = {0.8, 1.28}, .warp = {.border = Border::reflect}})));
  list.push_back(transforms::color_jitter({.brightness = 0.3, .contrast = 0.3}));
  return list;
}

struct LearnOptions {
  int epochs = 0;  ///< 0: epochs_for()
  std::uint64_t seed = 1;
  std::vector<TransformPtr> transforms = {};
  ClassBalance balance = ClassBalance::none;
  Monitor monitor = Monitor::val_loss;
  std::vector<TrainObserver*> observers = {};
};

/// Trains and keeps the best epoch. Pretrained networks as `fovea train --weights` does and examples/transfer_learning
/// explains: a linear probe, then all stages at small rates; the probe is kept where that made validation worse.
inline void learn(Model model, bool pretrained, const DatasetPtr& train, const DatasetPtr& val, const LearnOptions& o) {
  TrainerOptions options;
  options.epochs = o.epochs > 0 ? o.epochs : epochs_for(*train);
  options.batch_size = std::clamp<std::int64_t>(train->size() / 4, 1, 32);
  options.seed = o.seed;
  options.transforms = o.transforms;
  options.balance = o.balance;
  options.skip_corrupt = true;
  options.monitor = o.monitor;
  options.restore_best = true;
  options.observers = o.observers;
  if (!pretrained) {
    options.optimizer = AdamW{.lr = 2e-3, .weight_decay = 0.02};
    options.schedule = OneCycleLr{};
    options.loss.label_smoothing = 0.05;
    Trainer(model, options).fit(train, val);
    return;
  }
  const auto judge = [&] { return evaluate(model, val, {.skip_corrupt = true}).metrics; };
  LinearProbeOptions fitting{.seed = o.seed};
  if (o.balance != ClassBalance::none) fitting.class_weights = balanced_class_weights(*train);
  const Features features = compute_features(model, train, {.skip_corrupt = true});
  set_classifier(model, fit_linear_probe(features, static_cast<int>(train->num_classes()), fitting));
  const MetricValues before = judge();
  std::printf("linear probe  validation %5.1f %%, macro F1 %.3f\n", 100 * before.accuracy, before.macro_f1);
  std::fflush(stdout);
  std::vector<Tensor> kept;
  for (const NamedTensor& t : model.network().named_tensors()) kept.push_back(t.tensor.clone());

  options.optimizer = AdamW{.lr = 4e-4, .weight_decay = 0.02};
  options.optimizer_options.lr_scales = begin_finetuning(model);
  options.schedule = CosineLr{};
  options.warmup.epochs = 0.1 * options.epochs;
  options.loss.label_smoothing = 0.1;
  options.ema = EmaOptions{.decay = 0.99};
  Trainer(model, options).fit(train, val);
  const MetricValues after = judge();
  if (after.log_loss > before.log_loss && after.accuracy < before.accuracy) {
    std::printf("that made validation worse: the linear probe is kept\n");
    std::size_t i = 0;
    for (NamedTensor t : model.network().named_tensors()) t.tensor.copy_from(kept[i++]);
  }
}

}  // namespace examples
