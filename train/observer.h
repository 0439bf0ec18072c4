// How a training run tells others (a progress bar, a log) what it does.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "train/history.h"
#include "train/metrics.h"

namespace fovea {

struct TrainInfo {
  std::int64_t epochs = 0, batches_per_epoch = 0, steps = 0;
  std::int64_t train_images = 0, val_images = 0;
  std::int64_t parameters = 0, trainable_parameters = 0;
  std::int64_t batch_size = 0;
  /// Where it starts: 0 and 0 unless resumed.
  std::int64_t first_epoch = 0, first_batch = 0, first_step = 0;
  bool resumed = false;
};

struct BatchReport {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t epochs = 0;
  std::int64_t batch = 0;  ///< from 1
  std::int64_t batches = 0;
  std::int64_t step = 0;               ///< optimizer steps done
  std::int64_t images = 0;             ///< in this batch
  double loss = 0;                     ///< of this batch
  double mean_loss = 0, accuracy = 0;  ///< of the epoch so far
  double lr = 0;
  double images_per_s = 0;                                    ///< of the epoch so far, since the run began or resumed
  double seconds_left = 0;                                    ///< estimate for the rest of training, without validation
  double epsilon = std::numeric_limits<double>::quiet_NaN();  ///< spent so far by private training
};

/// Called on the thread that trains. All functions do nothing unless overridden. An exception ends the run and leaves
/// fit().
class FOVEA_API TrainObserver {
 public:
  virtual ~TrainObserver();
  virtual void on_start(const TrainInfo&) {}
  virtual void on_batch(const BatchReport&) {}
  /// Validation: batch from 1.
  virtual void on_validation_batch(std::int64_t /*batch*/, std::int64_t /*batches*/) {}
  /// `validation` is nullptr without validation data.
  virtual void on_epoch(const EpochRecord&, const History&, const MetricValues* /*validation*/) {}
  virtual void on_checkpoint(std::string_view /*path*/) {}
  /// Something went wrong that training survives: a checkpoint that could not be written, pictures left out.
  virtual void on_warning(std::string_view) {}
  /// What the trainer decided by itself, before on_start(): the batch size.
  virtual void on_note(std::string_view) {}
  virtual void on_end(const History&) {}
};

}  // namespace fovea
