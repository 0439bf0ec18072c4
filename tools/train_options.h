// What `fovea train` was asked to do, and how that becomes data, a network and trainer options. Internal to tools/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "models/model.h"
#include "tools/augment_options.h"
#include "tools/command.h"
#include "tools/consent.h"
#include "tools/data_source.h"
#include "train/trainer.h"

namespace fovea::tools {

struct TrainOptions {
  Common common;
  AugmentOptions augment;
  ConsentOptions consent;
  std::string data;      ///< "fashion-mnist" or a path
  std::string data_dir;  ///< where the files of a named data set lie
  std::string out;
  std::string preset;
  std::string model;
  int image_size = 0;
  double width = 0;  ///< 0: the network's own
  int epochs = 0;
  int batch_size = 0;
  bool auto_batch = false;
  std::string batch_reason;  ///< why batch_size is what it is, where it was chosen
  std::string precision = "f32", device = "cpu";
  bool sync_batch_norm = false;
  std::string optimizer, schedule;
  double lr = 0, weight_decay = -1, label_smoothing = -1, momentum = 0.9, ema = -1, clip_norm = -1;
  std::optional<bool> tta;  ///< test-time augmentation, kept with the model
  double focal = 0, warmup = 0;
  double val = -1;
  int group_prefix = 0;
  std::string balance = "none";
  int patience = 0, accumulate = 1, workers = 1;
  std::int64_t checkpoint_every = 0;
  std::int64_t limit = 0;
  std::string weights, layout = "auto", unfreeze;  ///< transfer learning, as the next three
  double lr_decay = 0;
  PrivacyOptions privacy{.clip = 0};  ///< 0: not given, as the next
  std::int64_t noise_seed = -1;
  bool is_private = false;
  bool linear_probe = false, train_bn = false;
  bool resume = false, overwrite = false, skip_corrupt = false, find_lr = false, no_cache = false;
  bool dry_run = false, checkpoint_blocks = false, cuda_graph = false;
};

void add_train_options(CLI::App& command, TrainOptions& options);

struct TrainData {
  DatasetPtr train, val, test;
  std::string name;  ///< for the run folder
  std::optional<SmallPictures> small;
  std::vector<std::string> warnings;
  std::vector<double> class_weights;  ///< of a manifest with a column `weight`; empty: none
};
TrainData open_data(const TrainOptions& options);
/// Fills in what was not given: by the preset, or by the kind of data.
void apply_preset(TrainOptions& options, const TrainData& data);
/// The number of classes. Error{usage} below 2.
int check_classes(const TrainOptions& options, const TrainData& data);
Model build_model(const TrainOptions& options, const TrainData& data);
TrainerOptions trainer_options(const TrainOptions& options, const TrainData& data, const Model& model);

}  // namespace fovea::tools
