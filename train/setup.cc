// What a training run is made of: loaders, loss, and the description of its settings.
#include "train/setup_internal.h"

#include <algorithm>
#include <cmath>

#include "augment/dataset.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "kernels/devices.h"
#include "layers/ops/loss.h"

namespace fovea {

std::vector<double> balanced_class_weights(const Dataset& dataset) {
  const std::vector<std::int64_t> counts = class_counts(dataset);
  std::vector<double> weights;
  weights.reserve(counts.size());
  for (const std::int64_t count : counts) {
    weights.push_back(count ? static_cast<double>(dataset.size()) /
                                  (static_cast<double>(counts.size()) * static_cast<double>(count))
                            : 1.0);
  }
  return weights;
}

void restore(const std::vector<NamedTensor>& live, const std::vector<NamedTensor>& values, const std::string& where) {
  for (int pass = 0; pass < 2; ++pass) {
    if (values.size() != live.size())
      throw Error(ErrorKind::format, where, str("it has ", values.size(), " tensors, the network ", live.size()));
    for (const NamedTensor& t : live) {
      const auto at =
          std::find_if(values.begin(), values.end(), [&](const NamedTensor& v) { return v.name == t.name; });
      if (at == values.end())
        throw Error(ErrorKind::format, where, str("tensor ", t.name, " is missing"), "it belongs to another network");
      if (at->tensor.spec() != t.tensor.spec()) {
        throw Error(ErrorKind::format, where,
                    str(t.name, " is ", at->tensor.to_string(), ", in the network ", t.tensor.to_string()));
      }
      Tensor target = t.tensor;
      if (pass == 1) target.copy_from(at->tensor);
    }
  }
}

void check_options(const TrainerOptions& o) {
  const auto require = [](bool good, std::string_view what, std::string_view hint = {}) {
    if (!good) throw Error(ErrorKind::usage, "trainer", what, hint);
  };
  const bool several = o.ranks && o.ranks->size() > 1;
  require(o.epochs >= 1, str("epochs is ", o.epochs), "at least 1");
  require(o.batch_size >= 1 || o.batch_size == kAutoBatch, str("batch_size is ", o.batch_size), "at least 1");
  require(o.batch_size != kAutoBatch || !o.privacy, "the batch size of private training is not chosen automatically",
          "what a batch holds is part of the promise: set batch_size");
  require(o.batch_size != kAutoBatch || !several, "the batch size of several ranks is not chosen automatically",
          "each would choose by its own memory: set batch_size");
  require(o.precision == DType::f32 || is_half(o.precision), str("precision is ", to_string(o.precision)),
          "f32, bf16 or f16");
  require(o.precision != DType::f16 || !o.privacy, "private training is in f32 or bf16, not in f16");
  require(!o.checkpoint_blocks || !o.privacy,
          "private training reads every block's values: checkpoint_blocks is refused");
  require(!o.cuda_graph || (o.accumulate == 1 && !o.privacy && !several && !o.checkpoint_blocks),
          "cuda_graph works alone", "leave out accumulation, privacy, several ranks and checkpoint_blocks");
  require(o.accumulate >= 1, str("accumulate is ", o.accumulate), "at least 1");
  require(o.clip_norm >= 0 && o.clip_value >= 0, "clipping limits are negative", "0 switches clipping off");
  require(o.loss.label_smoothing >= 0 && o.loss.label_smoothing < 1, str("label_smoothing is ", o.loss.label_smoothing),
          "in [0, 1)");
  require(o.loss.focal_gamma >= 0, "focal_gamma is negative");
  require(o.checkpoint_every >= 0, "checkpoint_every is negative");
  require(!o.early_stopping || (o.early_stopping->patience >= 1 && o.early_stopping->min_delta >= 0),
          "early stopping needs a patience of at least 1 and min_delta of at least 0");
  require(o.threads >= 0 && o.workers >= 0, "threads and workers must be at least 0");
  require(!o.resume || !o.checkpoint.empty(), "resuming needs the path of a checkpoint", "set .checkpoint");
  for (const double w : o.loss.class_weights)
    require(std::isfinite(w) && w >= 0, "a class weight is negative or not finite");
}

void check_precision(DType precision, Device device) {
  const bool on_cpu = device.type == DeviceType::cpu;
  if (!is_half(precision) || (on_cpu && precision == DType::bf16)) return;
  const std::string why = why_no_half(device, precision);
  if (!why.empty()) {
    throw Error(on_cpu ? ErrorKind::usage : ErrorKind::device, "trainer", why,
                on_cpu ? "move the network to a GPU, or train in bf16 or f32" : "train in f16 or f32");
  }
}

namespace {

void part_among(const Communicator* ranks, LoaderOptions& loading) {
  if (!ranks) return;
  loading.part = {ranks->rank(), ranks->size()};
  loading.cache_bytes /= ranks->size();
}

}  // namespace

LoaderOptions training_loader_options(const Model& model, const Dataset& train, const TrainerOptions& options) {
  LoaderOptions loading;
  loading.batch_size = std::min(options.batch_size, train.size());
  loading.shuffle = true;
  // A last batch of a few pictures would give batch norm worthless statistics; with shuffling all pictures get their
  // turn.
  const std::int64_t rest = train.size() % loading.batch_size;
  loading.drop_last = rest > 0 && rest < loading.batch_size / 4;
  loading.seed = options.seed;
  loading.workers = options.workers;
  loading.preprocessing = model.preprocessing;
  loading.transforms = options.transforms;
  loading.batch_transforms = options.batch_transforms;
  loading.skip_corrupt = options.skip_corrupt;
  loading.cache = options.cache;
  part_among(options.ranks, loading);
  if (options.balance == ClassBalance::oversample) {
    const std::vector<double> weights = balanced_class_weights(train);
    for (std::int64_t i = 0; i < train.size(); ++i)
      loading.sample_weights.push_back(weights[static_cast<std::size_t>(train.label(i))]);
  }
  return loading;
}

LoaderOptions validation_loader_options(const Model& model, const Dataset& val, const TrainerOptions& options) {
  LoaderOptions validating;
  // Larger batches save time with small pictures. With large ones they would take memory that training's do not, for
  // freed blocks are kept by size.
  const bool small = model.preprocessing.width * model.preprocessing.height <= 96 * 96;
  validating.batch_size = std::min(std::max<std::int64_t>(options.batch_size, small ? 64 : 1), val.size());
  validating.workers = options.workers;
  validating.preprocessing = model.preprocessing;
  validating.skip_corrupt = options.skip_corrupt;
  validating.cache = options.cache;
  validating.unfinished = model.device() != kCpu;
  part_among(options.ranks, validating);
  return validating;
}

Tensor make_class_weights(const Dataset& dataset, const TrainerOptions& options, DType dtype) {
  const std::size_t classes = dataset.class_names().size();
  std::vector<double> weights = options.loss.class_weights;
  if (options.balance == ClassBalance::weights) {
    const std::vector<double> balanced = balanced_class_weights(dataset);
    if (weights.empty()) weights.assign(balanced.size(), 1);
    for (std::size_t i = 0; i < weights.size() && i < balanced.size(); ++i) weights[i] *= balanced[i];
  }
  if (weights.empty()) return {};
  if (weights.size() != classes)
    throw Error(ErrorKind::usage, "trainer",
                str("there are ", weights.size(), " class weights for ", classes, " classes"));
  return Tensor::from({static_cast<std::int64_t>(classes)}, weights).to(dtype);
}

Tensor training_loss(const Tensor& logits, const Batch& batch, int classes, const LossOptions& options,
                     const Tensor& class_weights, LossReduction reduction) {
  if (logits.rank() != 2 || logits.dim(1) != classes) {
    throw Error(ErrorKind::usage, "trainer",
                str("the model gives ", logits.to_string(), ", the dataset has ", classes, " classes"),
                "make the model with as many classes as the dataset has");
  }
  const bool soft = batch.soft_labels.defined();
  if (options.kind == LossKind::focal) {
    if (soft)
      throw Error(ErrorKind::usage, "trainer", "the focal loss takes no mixed labels",
                  "leave out mixup and cutmix, or use cross-entropy");
    FocalOptions focal;
    focal.gamma = options.focal_gamma;
    focal.class_weights = class_weights;
    focal.reduction = reduction;
    return focal_loss(logits, batch.labels.to(logits.device()), focal);
  }
  CrossEntropyOptions entropy;
  entropy.label_smoothing = options.label_smoothing;
  entropy.class_weights = class_weights;
  entropy.reduction = reduction;
  const Tensor target = soft ? batch.soft_labels.to(logits.dtype()) : batch.labels;
  return cross_entropy(logits, target.to(logits.device()), entropy);
}

std::int64_t correct_rows(const Tensor& logits, const Tensor& labels) {
  const std::int64_t n = logits.dim(0), c = logits.dim(1);
  const std::vector<float> x = logits.to(kCpu).to_vector<float>();
  const std::int64_t* y = labels.data<std::int64_t>();
  std::int64_t correct = 0;
  for (std::int64_t i = 0; i < n; ++i)
    correct += std::max_element(x.begin() + i * c, x.begin() + (i + 1) * c) - (x.begin() + i * c) == y[i];
  return correct;
}

double loss_divisor(const Batch& batch, const Tensor& class_weights) {
  if (!class_weights.defined() || batch.soft_labels.defined()) return static_cast<double>(batch.labels.dim(0));
  const std::vector<double> weights = class_weights.to_vector<double>();
  double sum = 0;
  for (const std::int64_t label : batch.labels.values<std::int64_t>()) sum += weights[static_cast<std::size_t>(label)];
  return sum;
}

namespace {

/// The names; of many only the first, with a fingerprint of all.
std::string describe_classes(const std::vector<std::string>& names) {
  std::string all, shown;
  for (const std::string& name : names) {
    all += name + '\n';
    if (shown.size() < 200) shown += str(shown.empty() ? "" : ", ", name);
  }
  return shown.size() < 200 ? shown : str(shown, ", … (fingerprint ", detail::fnv1a64(all), ")");
}

std::string describe_input(const image::Preprocessing& p) {
  std::string text = str(p.width, "×", p.height, "×", p.channels, " ", to_string(p.order), ", ", to_string(p.rule), " ",
                         p.resize_size, " ", to_string(p.filter), ", scale ", p.scale);
  for (std::size_t c = 0; c < static_cast<std::size_t>(p.channels); ++c)
    text += str(", ", static_cast<double>(p.mean[c]), "/", static_cast<double>(p.std[c]));
  return text;
}

}  // namespace

Settings describe_settings(const TrainerOptions& options, Monitor monitor, const Model& model,
                           const std::vector<NamedTensor>& tensors, const Dataset& train, const Dataset* val) {
  const std::size_t classes = train.class_names().size();
  Settings settings;
  const auto put = [&](std::string key, std::string value) { settings.emplace_back(std::move(key), std::move(value)); };
  put("optimizer", describe(options.optimizer));
  std::string more = str("decay_all=", options.optimizer_options.decay_all);
  for (const LearningRateScale& s : options.optimizer_options.lr_scales) more += str(" ", s.pattern, "*", s.scale);
  if (options.optimizer_options.lookahead)
    more +=
        str(" lookahead=", options.optimizer_options.lookahead->every, "/", options.optimizer_options.lookahead->alpha);
  put("optimizer options", more);
  put("schedule", describe(options.schedule));
  put("warm-up",
      str(options.warmup.steps, " steps, ", options.warmup.epochs, " epochs, from ", options.warmup.start_factor));
  put("epochs", str(options.epochs));
  put("batch size", str(options.batch_size));
  put("accumulate", str(options.accumulate));
  put("precision", std::string(to_string(options.precision)));
  put("seed", str(options.seed));
  put("clipping", str("norm ", options.clip_norm, ", value ", options.clip_value));
  put("ema", options.ema ? str("decay ", options.ema->decay, ", warm-up ", options.ema->warmup) : "none");
  std::string loss =
      str(options.loss.kind == LossKind::focal ? "focal gamma=" : "cross-entropy smoothing=",
          options.loss.kind == LossKind::focal ? options.loss.focal_gamma : options.loss.label_smoothing);
  for (const double w : options.loss.class_weights) loss += str(" ", w);
  put("loss", loss);
  put("class balance", str(static_cast<int>(options.balance)));
  put("monitor", str(static_cast<int>(monitor),
                     options.early_stopping ? str(", patience ", options.early_stopping->patience, ", delta ",
                                                  options.early_stopping->min_delta)
                                            : "",
                     options.restore_best ? ", best weights" : ""));
  std::string list;
  for (const TransformPtr& t : options.transforms) list += t->to_string() + "; ";
  for (const BatchTransformPtr& t : options.batch_transforms) list += t->to_string() + "; ";
  put("augmentation", list);
  put("set of classes", describe_classes(train.class_names()));
  put("input", describe_input(model.preprocessing));
  put("training pictures", str(train.size(), " in ", classes, " classes"));
  put("validation pictures", str(val ? val->size() : 0));
  std::string labels;
  for (std::int64_t i = 0; i < train.size(); ++i) labels += str(train.label(i), " ");
  put("list of labels", str("fingerprint ", detail::fnv1a64(labels)));
  std::string frozen;
  for (const NamedTensor& t : tensors) {
    if (!t.is_buffer && !t.tensor.requires_grad()) frozen += t.name + " ";
  }
  put("frozen", str(detail::fnv1a64(frozen)));
  put("threads", str(num_threads()));
  return settings;
}

void check_resumable(const std::string& path, const Settings& old, const Settings& now,
                     const std::function<void(const std::string&)>& warn) {
  const auto find = [](const Settings& settings, std::string_view key) {
    const auto at = std::find_if(settings.begin(), settings.end(), [&](const auto& s) { return s.first == key; });
    return at != settings.end() ? &at->second : nullptr;
  };
  for (const auto& [key, value] : now) {
    const std::string* const found = find(old, key);
    // Checkpoints from before there was a choice.
    const std::string was = found ? *found : key == "precision" ? "f32" : key == "ranks" ? "1" : "unknown";
    if (was == value) continue;
    if (key == "threads") {
      warn(str("the checkpoint was made with ", was, " threads, now there are ", value,
               ": results may differ in the last bits"));
    } else if (key == "ranks") {
      warn(str("the checkpoint was made by other ranks (", was, "; now ", value, "): results may differ"));
    } else {
      throw Error(ErrorKind::usage, path, str("was made with another ", key, ": '", was, "', now '", value, "'"),
                  "use the same settings, or start afresh without resuming");
    }
  }
  if (find(old, "privacy") && !find(now, "privacy")) {
    throw Error(ErrorKind::usage, path, "is of a private training, which this is not",
                "go on with the same privacy options, or start afresh without resuming");
  }
}

}  // namespace fovea
