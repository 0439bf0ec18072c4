// One call of Trainer::fit(): trainer.cc has its beginning and end, checkpoints and epochs, run_steps.cc what is done
// for each batch. Internal to train.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "train/checkpoint.h"
#include "train/distributed/data_parallel_internal.h"
#include "train/ema.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"
#include "train/privacy/private_steps_internal.h"
#include "train/recorded_pass_internal.h"
#include "train/schedule.h"
#include "train/setup_internal.h"
#include "train/trainer.h"

namespace fovea {

using RunClock = std::chrono::steady_clock;
inline double seconds_since(RunClock::time_point start) {
  return std::chrono::duration<double>(RunClock::now() - start).count();
}

struct Trainer::Run {
  Trainer& trainer;
  const TrainerOptions& options;
  Model& model;
  DatasetPtr train, val;
  int classes;
  std::vector<NamedTensor> tensors;  // parameters and buffers
  Optimizer optimizer;
  Monitor monitor;
  std::optional<PrivateSteps> privacy;
  std::optional<DataParallel> parallel;
  std::optional<RecordedPass> recorded;
  std::optional<Loader> loader, val_loader;
  std::int64_t batches = 0, steps_per_epoch = 0;
  std::optional<WeightAverage> ema;
  std::optional<Schedule> schedule;
  std::optional<LossScale> loss_scale;  // f16
  Tensor class_weights;
  TrainProgress progress;
  History history;
  std::vector<NamedTensor> best;
  std::vector<std::pair<std::string, std::string>> settings;
  RunClock::time_point segment;  // since when progress.seconds does not yet count
  RunClock::time_point train_segment, train_segment_start;
  std::int64_t segment_images = 0;
  std::int64_t batch_images = 0;  // of the last one
  bool training_now = false;
  std::set<std::string> reported_skips, reported_val_skips;

  Run(Trainer& t, DatasetPtr train_data, DatasetPtr val_data);
  History fit();

  template <class F>
  void tell(F&& f) {
    for (TrainObserver* observer : options.observers) {
      if (observer) f(*observer);
    }
  }

  bool cancelled() const { return options.cancel && options.cancel->requested(); }
  /// Asked by all ranks at the same point.
  bool any_cancelled() { return parallel ? parallel->any(cancelled()) : cancelled(); }

  void resume();
  void count_time();
  void write_checkpoint();
  void report_skips(const Loader& from, std::set<std::string>& reported);
  bool better(double value, double than) const;
  /// Validation, records, best weights, plateau. Returns true if training should stop early.
  bool end_epoch();

  // ---- run_steps.cc
  /// In the network's element type and where it is.
  Tensor on_device(const Batch& batch) const;
  /// The same as train_batch() for private training, where a batch may be empty.
  double train_private(const Batch& batch);
  /// Makes gradients of what backward left: false where the loss was scaled by too much for f16. Then the step is left
  /// out, and counts all the same: the schedule and the epoch go on.
  bool finish_gradients(int group);
  /// Forward and backward of one batch; gradients add up until the optimizer step.
  /// @param last whether the step follows
  double train_batch(const Batch& batch, bool last);
  /// @param group how many batches' gradients have been added up
  Schedule::Rates optimizer_step(int group, double mean_loss);
  void report(double loss, double lr);
  /// False when cancelled. Trains what is left of the current epoch.
  bool train_epoch();
};

}  // namespace fovea
