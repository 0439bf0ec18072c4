// A checkpoint: everything a training run needs to go on as if it had never stopped, in one safetensors file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layers/module.h"
#include "train/history.h"
#include "train/loss_scale.h"
#include "train/schedule.h"

namespace fovea {

/// Where a run stands. All of it is stored to the bit.
struct TrainProgress {
  std::int64_t epoch = 0;   ///< epochs completed
  std::int64_t batch = 0;   ///< batches of the current epoch already trained on
  std::int64_t step = 0;    ///< optimizer steps done
  std::int64_t images = 0;  ///< of the current epoch, as the next three
  std::int64_t correct = 0;
  double loss_sum = 0;  ///< Σ loss·images
  double seconds = 0;
  double train_seconds = 0;     ///< without validation
  double wait_seconds = 0;      ///< of these, waiting for pictures
  double monitored_best = 0;    ///< early stopping and best weights
  std::int64_t bad_epochs = 0;  ///< epochs since the best
  bool finished = false;        ///< training ended by itself: nothing is left to do
  PlateauState plateau;
};

struct Checkpoint {
  TrainProgress progress;
  History history;
  std::vector<NamedTensor> model;      ///< parameters and buffers
  std::vector<NamedTensor> optimizer;  ///< Optimizer::state()
  std::vector<NamedTensor> ema;        ///< empty without
  std::int64_t ema_updates = 0;
  std::optional<LossScale::State> loss_scale;  ///< of training in f16
  std::vector<NamedTensor> best;               ///< weights of the best epoch; empty if not kept
  /// Name and value of each setting that the result depends on: a run only resumes under the same ones.
  std::vector<std::pair<std::string, std::string>> settings;
};

/// Atomic: until it returns, an existing checkpoint at `path` stays whole, also through kill -9 or a full disk.
/// Error{file}.
FOVEA_API void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);
/// Error{file} when it cannot be read, Error{format} when it is no checkpoint or damaged. Tensors are copies.
FOVEA_API Checkpoint load_checkpoint(const std::string& path);

}  // namespace fovea
