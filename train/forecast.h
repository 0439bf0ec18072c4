// What a training will take before it begins: memory for any batch size, the largest batch that fits, seconds per
// epoch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "models/model.h"
#include "train/trainer.h"

namespace fovea {

/// Bytes at the highest point of a training.
struct MemoryForecast {
  std::int64_t batch_size = 0;
  std::int64_t process = 0;    ///< resident already: program, libraries, parameters, data in memory
  std::int64_t step = 0;       ///< maps, gradients and prefetched batches, as the allocator places them
  std::int64_t optimizer = 0;  ///< moments, averaged weights, best weights
  std::int64_t pictures = 0;   ///< decoded ones that are kept
  std::int64_t scratch = 0;    ///< kernels' own buffers

  /// What the training adds to the process.
  std::int64_t added() const { return step + optimizer + pictures + scratch; }
  std::int64_t total() const { return process + added(); }
};

/// Tells the memory of training steps at any batch size from real ones of a few examples: what they allocate is noted,
/// each size extrapolated along a line, and the allocator's placement repeated without its memory. Private training and
/// models on other devices than the CPU: Error{usage}.
class FOVEA_API MemoryForecaster {
 public:
  /// Runs the small steps, on noise; the model stays as it is to the bit, but gradients are dropped.
  MemoryForecaster(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                   const DatasetPtr& val = nullptr);
  ~MemoryForecaster();
  MemoryForecaster(const MemoryForecaster&) = delete;
  MemoryForecaster& operator=(const MemoryForecaster&) = delete;

  MemoryForecast at(std::int64_t batch_size) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct BatchChoice {
  std::int64_t batch_size = 0;
  MemoryForecast memory;
  std::int64_t available = 0;  ///< available_memory() at that time
  std::string reason;          ///< "64: 1.9 GB of 8.1 GB available; 128 would need 3.7 GB"
};

/// What batch_size = kAutoBatch stands for: the largest power of two up to 256 whose forecast is within 85 % of the
/// available memory, and at most a quarter of the training pictures, so that an epoch has steps. Depends on the
/// network, the options, the size of the data and the available memory only. Resuming it is the checkpoint's batch
/// size. Error{memory} where not even 1 fits.
/// @param available 0: available_memory() (core/available_memory.h)
FOVEA_API BatchChoice choose_batch_size(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                                        const DatasetPtr& val = nullptr, std::int64_t available = 0);

struct TimeForecast {
  std::int64_t batches = 0;                           ///< of an epoch
  double step_seconds = 0;                            ///< one batch: forward, backward, optimizer
  double load_seconds = 0;                            ///< what one worker takes for a batch, decoding pictures
  double reload_seconds = 0;                          ///< the same once they are kept decoded
  double validation_seconds = 0;                      ///< all of it
  double first_epoch_seconds = 0, epoch_seconds = 0;  ///< the first, and each later one, with validation
  double wait_share = 0;                              ///< of later epochs' training time: what loading adds to steps
};

/// Times a few real steps and batches of the loader. The model stays as it is to the bit.
FOVEA_API TimeForecast forecast_time(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                                     const DatasetPtr& val = nullptr);

}  // namespace fovea
