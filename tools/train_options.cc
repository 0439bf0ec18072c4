#include "tools/train_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "augment/csv_dataset.h"
#include "augment/open.h"
#include "augment/pack.h"
#include "core/error.h"
#include "tools/data_source.h"
#include "tools/train_private.h"
#include "tools/train_transfer.h"

namespace fovea::tools {
namespace {

/// Settings chosen on a split of Fashion-MNIST's training set, never on its test set.
struct Preset {
  const char* name;
  const char* model;
  int epochs;
  int batch_size;
  const char* optimizer;
  double lr, weight_decay, label_smoothing, ema;
  const char* augment;  // preset of --augment
  double erase;         // probability
  bool tta;
};
constexpr Preset kPresets[] = {
    {"quick", "fashion_cnn", 6, 64, "sgd", 0.1, 5e-4, 0.05, -1, "flip", 0, false},
    {"demo", "fashion_cnn", 12, 128, "sgd", 0.1, 5e-4, 0.05, -1, "flip", 0, false},
    {"best", "fashion_cnn_wide", 28, 128, "sgd", 0.1, 1e-3, 0.05, -1, "flip", 0.3, true},
};

/// The first pictures only: for trying things out.
DatasetPtr limited(const DatasetPtr& data, std::int64_t limit) {
  if (limit <= 0 || limit >= data->size()) return data;
  std::vector<std::int64_t> indices(static_cast<std::size_t>(limit));
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<std::int64_t>(i);
  return std::make_shared<Subset>(data, std::move(indices));
}

}  // namespace

TrainData open_data(const TrainOptions& o) {
  TrainData result;
  const bool fashion = o.data == "fashion-mnist";
  const std::string path = data_path(o.data, o.data_dir);
  result.name = fashion ? "fashion-mnist" : last_name(path).stem().string();
  if (result.name.empty() || result.name == "." || result.name == "..") result.name = "run";
  const std::vector<std::string> parts = available_splits(path);
  const auto has = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
  const OpenOptions open{.image_size = o.image_size, .class_names = {}, .group_prefix = o.group_prefix};
  DatasetPtr whole;
  if (has("train")) {
    whole = open_dataset(path, "train", open);
    OpenOptions same = open;
    same.class_names = whole->class_names();
    if (has("val")) result.val = open_dataset(path, "val", same);
    if (has("test")) result.test = open_dataset(path, "test", same);
  } else {
    whole = open_dataset(path, "", open);
  }
  if (const auto manifest = std::dynamic_pointer_cast<const CsvDataset>(whole)) {
    const std::vector<double>& w = manifest->class_weights();
    if (std::any_of(w.begin(), w.end(), [](double v) { return v != 1; })) result.class_weights = w;
  }
  if (const auto packed = std::dynamic_pointer_cast<const PackDataset>(whole))
    result.class_weights = packed->class_weights();
  result.warnings = whole->warnings();
  whole = limited(whole, o.limit);
  result.small = small_pictures(*whole);
  const double share = o.val >= 0 ? o.val : fashion ? 0.03 : kValidationShare;
  if (result.val || share == 0) {
    result.train = whole;
  } else {
    const Splits parts_made = split(whole, {.val = share, .seed = o.common.seed});
    result.train = parts_made.train;
    result.val = parts_made.val;
    result.warnings.insert(result.warnings.end(), parts_made.warnings.begin(), parts_made.warnings.end());
  }
  if (result.val && result.val->size() == 0) result.val = nullptr;
  return result;
}

void apply_preset(TrainOptions& o, const TrainData& data) {
  Preset p{"",
           data.small ? "fashion_cnn" : "picture_cnn",
           data.small ? 12 : 30,
           data.small ? 128 : 32,
           "sgd",
           0.1,
           5e-4,
           0.05,
           -1,
           "",
           0,
           false};
  if (!data.small) p.lr = 0.05;
  const std::string wanted = o.preset.empty() && !o.is_private && o.data == "fashion-mnist" ? "demo" : o.preset;
  for (const Preset& preset : kPresets) {
    if (wanted == preset.name) p = preset;
  }
  const bool adam = o.optimizer == "adam" || o.optimizer == "adamw" || o.optimizer == "lamb";
  if (o.model.empty()) o.model = p.model;
  if (o.epochs == 0) o.epochs = p.epochs;
  if (o.batch_size == 0)
    o.batch_size =
        static_cast<int>(std::min<std::int64_t>(p.batch_size, std::max<std::int64_t>(1, data.train->size() / 4)));
  if (o.optimizer.empty()) o.optimizer = p.optimizer;
  if (o.lr == 0) o.lr = adam ? 2e-3 : o.optimizer == "rmsprop" ? 1e-3 : p.lr;
  if (o.weight_decay < 0) o.weight_decay = adam ? 0.02 : p.weight_decay;
  if (o.label_smoothing < 0) o.label_smoothing = o.focal > 0 ? 0 : p.label_smoothing;
  if (o.ema < 0) o.ema = p.ema;
  if (!o.tta) o.tta = p.tta;
  if (o.schedule.empty()) o.schedule = "one-cycle";
  if (o.augment.preset.empty()) {
    o.augment.preset = p.augment;
    if (o.augment.erase == 0) o.augment.erase = p.erase;
  }
}

int check_classes(const TrainOptions& o, const TrainData& data) {
  const int classes = static_cast<int>(data.train->num_classes());
  if (classes < 2) {
    throw Error(ErrorKind::usage, o.data, str("has ", classes, " class; a classifier needs at least 2"),
                "make one folder of pictures per class");
  }
  return classes;
}

Model build_model(const TrainOptions& o, const TrainData& data) {
  const int classes = check_classes(o, data);
  int size = o.image_size > 0 ? o.image_size : data.train->image_size();
  int channels = 0;
  if (data.small) {
    channels = data.small->channels;
    if (size == 0) size = data.small->side;
  }
  Model model = models::create(
      o.model, {.classes = classes, .image_size = size, .channels = channels, .seed = o.common.seed, .width = o.width});
  model.class_names = data.train->class_names();
  if (data.small && model.preprocessing.channels == 1) {
    // Of Fashion-MNIST's training pictures; right in size for any grey pictures.
    model.preprocessing.mean = {0.286f, 0.286f, 0.286f};
    model.preprocessing.std = {0.353f, 0.353f, 0.353f};
  }
  return model;
}

TrainerOptions trainer_options(const TrainOptions& o, const TrainData& data, const Model& model) {
  TrainerOptions t;
  if (o.optimizer == "sgd")
    t.optimizer = SGD{.lr = o.lr, .momentum = o.momentum, .nesterov = o.momentum > 0, .weight_decay = o.weight_decay};
  if (o.optimizer == "adam") t.optimizer = Adam{.lr = o.lr, .weight_decay = o.weight_decay};
  if (o.optimizer == "adamw") t.optimizer = AdamW{.lr = o.lr, .weight_decay = o.weight_decay};
  if (o.optimizer == "rmsprop")
    t.optimizer = RMSprop{.lr = o.lr, .momentum = o.momentum, .weight_decay = o.weight_decay};
  if (o.optimizer == "lamb") t.optimizer = LAMB{.lr = o.lr, .weight_decay = o.weight_decay};
  if (o.schedule == "constant") t.schedule = ConstantLr{};
  if (o.schedule == "step") t.schedule = StepLr{.every = std::max(1, o.epochs / 3)};
  if (o.schedule == "cosine") t.schedule = CosineLr{};
  if (o.schedule == "one-cycle") t.schedule = OneCycleLr{.pct_start = 0.25};
  if (o.schedule == "plateau") t.schedule = PlateauLr{.patience = 3};
  t.warmup.epochs = o.warmup;
  t.epochs = o.epochs;
  t.batch_size = o.batch_size;
  t.precision = o.precision == "bf16" ? DType::bf16 : o.precision == "f16" ? DType::f16 : DType::f32;
  t.sync_batch_norm = o.sync_batch_norm;
  t.loss.kind = o.focal > 0 ? LossKind::focal : LossKind::cross_entropy;
  t.loss.focal_gamma = o.focal;
  t.loss.label_smoothing = o.label_smoothing;
  if (!data.class_weights.empty() && o.balance != "none")
    throw Error(ErrorKind::usage, "--balance", "the manifest says already how much each class counts (column weight)",
                "leave --balance out, or remove the column");
  t.loss.class_weights = data.class_weights;
  t.seed = o.common.seed;
  t.transforms = make_transforms(o.augment, model.preprocessing.width, model.preprocessing.height,
                                 data.small.has_value() && o.weights.empty());
  t.batch_transforms = make_batch_transforms(o.augment);
  t.balance = o.balance == "weights"      ? ClassBalance::weights
              : o.balance == "oversample" ? ClassBalance::oversample
                                          : ClassBalance::none;
  t.workers = o.workers;
  t.skip_corrupt = o.skip_corrupt;
  t.cache = !o.no_cache;
  t.checkpoint_blocks = o.checkpoint_blocks;
  t.cuda_graph = o.cuda_graph;
  t.accumulate = o.accumulate;
  t.clip_norm = std::max(0.0, o.clip_norm);
  if (o.ema > 0) t.ema = EmaOptions{.decay = o.ema};
  if (o.patience > 0) {
    t.early_stopping = EarlyStopping{.patience = o.patience};
    t.restore_best = true;
  }
  t.checkpoint_every = o.checkpoint_every;
  t.resume = o.resume;
  if (o.is_private) t.privacy = private_options(o);
  return t;
}

void add_train_options(CLI::App& c, TrainOptions& o) {
  c.add_option("source", o.data,
               "What to learn: `fashion-mnist`, a folder with one folder of pictures per class (or with train/ and "
               "val/), a CSV manifest (path,label[,group][,split][,weight]), a pack (`fovea pack`), a COCO Camera "
               "Traps .json (split by "
               "location), or a folder of IDX "
               "or CIFAR files")
      ->required();
  c.add_option("--data", o.data_dir, "Folder of the four IDX files, for fashion-mnist");
  c.add_option("-o,--out", o.out, "Run folder (default: runs/ and the name of the data, numbered if it is taken)");
  c.add_option("--preset", o.preset,
               "quick (a good minute), demo (minutes) or best (half an hour on 2 cores), for fashion-mnist")
      ->check(CLI::IsMember({"quick", "demo", "best"}));
  c.add_flag("--resume", o.resume, "Go on with the run in --out where it stopped, to the same bits as if it had not");
  c.add_flag("--overwrite", o.overwrite, "Begin anew in a run folder that is in use");

  c.add_option("--model", o.model, "Network (`fovea summary NAME` shows it)")
      ->check(CLI::IsMember(models::names()))
      ->group("Network");
  c.add_option("--width", o.width, "Channel multiplier: 0.35 makes a small MobileNetV2 (default: the network's own)")
      ->check(CLI::Range(0.01, 32.0))
      ->group("Network");
  c.add_option("--image-size", o.image_size, "Height and width that pictures are brought to")
      ->check(CLI::Range(4, 4096))
      ->group("Network");

  add_transfer_options(c, o);
  add_private_options(c, o);
  const std::string training = "Training";
  c.add_option("--epochs", o.epochs, "Passes over the training pictures")
      ->check(CLI::Range(1, 100000))
      ->group(training);
  c.add_option_function<std::string>(
       "--batch-size,--batch",
       [&o](const std::string& text) {
         o.auto_batch = text == "auto";
         if (!o.auto_batch && !CLI::detail::lexical_cast(text, o.batch_size))
           throw CLI::ValidationError("--batch-size", "a number of pictures, or auto");
       },
       "Pictures per step, or auto: the largest power of two up to 256 that fits into memory. Learning rates stay")
      ->check(CLI::IsMember({"auto"}) | CLI::Range(1, 1 << 16))
      ->group(training);
  c.add_option(
       "--precision", o.precision,
       "f32, or bf16: maps and products of convolutions in 16 bits, up to twice as fast where the CPU has AVX-512 "
       "BF16 (without it everything is f32), and on a GPU's tensor cores; or f16, on GPUs only, with the loss scaled")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str()
      ->group(training);
  c.add_flag("--sync-batch-norm", o.sync_batch_norm,
             "Under mpirun: batch norm takes the statistics of all ranks' pictures, for results as of one rank")
      ->group(training);
  add_device_option(c, o.device)->group(training);
  c.add_option("--optimizer", o.optimizer, "sgd (default, Nesterov momentum), adam, adamw, rmsprop, lamb")
      ->check(CLI::IsMember({"sgd", "adam", "adamw", "rmsprop", "lamb"}))
      ->group(training);
  c.add_option("--lr", o.lr, "Learning rate (of one-cycle: its peak)")->check(CLI::PositiveNumber)->group(training);
  c.add_option("--momentum", o.momentum, "Of sgd and rmsprop")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str()
      ->group(training);
  c.add_option("--weight-decay", o.weight_decay, "Decay of weights; biases and norms have none")
      ->check(CLI::NonNegativeNumber)
      ->group(training);
  c.add_option("--schedule", o.schedule, "one-cycle (default), cosine, step, plateau, constant")
      ->check(CLI::IsMember({"one-cycle", "cosine", "step", "plateau", "constant"}))
      ->group(training);
  c.add_option("--warmup", o.warmup, "Epochs of linear warm-up (not with one-cycle)")
      ->check(CLI::NonNegativeNumber)
      ->group(training);
  c.add_option("--label-smoothing", o.label_smoothing, "0 to 1")->check(CLI::Range(0.0, 1.0))->group(training);
  c.add_option("--focal", o.focal, "Focal loss with this gamma instead of cross-entropy")
      ->check(CLI::NonNegativeNumber)
      ->group(training);
  c.add_option("--ema", o.ema, "Average the weights with this decay (0.999) and use the averages")
      ->check(CLI::Range(0.0, 0.99999))
      ->group(training);
  // Callbacks: CLI11 takes an optional bool for a counter, and sets it to 0.
  CLI::Option* const tta = c.add_flag_callback(
      "--tta", [&o] { o.tta = true; },
      "The model will answer for each picture and its mirror image, and give the mean: more accurate after training "
      "with flips, and twice the time (with --preset best)");
  tta->group(training);
  c.add_flag_callback(
       "--no-tta", [&o] { o.tta = false; }, "With --preset best: for the picture only")
      ->excludes(tta)
      ->group(training);
  c.add_option("--clip-norm", o.clip_norm, "Clip the gradients' norm")->check(CLI::NonNegativeNumber)->group(training);
  c.add_flag("--cuda-graph", o.cuda_graph, "On a GPU: record a batch's passes once and start them with one call")
      ->group(training);
  c.add_flag("--checkpoint-blocks", o.checkpoint_blocks,
             "Keep only what goes in and out of the network's blocks, and run them again in backward: less memory, a "
             "third more time, the same result")
      ->group(training);
  c.add_option("--accumulate", o.accumulate, "Batches per optimizer step")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(training);
  c.add_option("--patience", o.patience,
               "Stop after this many epochs without improvement, and keep the best epoch's weights")
      ->check(CLI::Range(1, 100000))
      ->group(training);
  c.add_option("--balance", o.balance, "Classes of unequal size: none, weights, oversample")
      ->check(CLI::IsMember({"none", "weights", "oversample"}))
      ->capture_default_str()
      ->group(training);
  c.add_option("--checkpoint-every", o.checkpoint_every, "Also write a checkpoint every so many steps")
      ->check(CLI::Range(1, 1 << 30))
      ->group(training);
  c.add_flag("--dry-run", o.dry_run,
             "Only say how much memory the training will take at its highest, and how long an epoch")
      ->group(training);
  c.add_flag("--find-lr", o.find_lr, "Only try learning rates, suggest one, and draw the curve")->group(training);

  const std::string data = "Data";
  c.add_option("--val", o.val,
               "Share of the pictures to validate on, where the data has no val part (default 0.2; fashion-mnist 0.03)")
      ->check(CLI::Range(0.0, 0.9))
      ->group(data);
  add_consent_options(c, o.consent);
  c.add_option("--group-prefix", o.group_prefix,
               "So many first characters of a file name are its group (patient, camera), never split")
      ->check(CLI::Range(0, 255))
      ->group(data);
  c.add_option("--limit", o.limit, "Use only the first so many training pictures")
      ->check(CLI::Range(2, 1 << 30))
      ->group(data);
  c.add_option("--workers", o.workers, "Threads that load pictures")
      ->check(CLI::Range(0, 256))
      ->capture_default_str()
      ->group(data);
  c.add_flag("--skip-corrupt", o.skip_corrupt, "Leave out pictures that cannot be read instead of stopping")
      ->group(data);
  c.add_flag("--no-cache", o.no_cache, "Do not keep decoded pictures in memory")->group(data);
  add_augment_options(c, o.augment);
  add_common(c, o.common);
}

}  // namespace fovea::tools
