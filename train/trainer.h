// Trainer: the training loop with everything around it (schedule, clipping, averaging, early stopping, checkpoints,
// resuming).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "augment/transform.h"
#include "core/distributed/communicator.h"
#include "models/model.h"
#include "train/cancel.h"
#include "train/ema.h"
#include "train/evaluation.h"
#include "train/history.h"
#include "train/observer.h"
#include "train/optimizer.h"
#include "train/privacy/privacy.h"
#include "train/schedule.h"

namespace fovea {

enum class LossKind : std::uint8_t { cross_entropy, focal };

struct LossOptions {
  LossKind kind = LossKind::cross_entropy;
  double label_smoothing = 0;         ///< cross-entropy only
  double focal_gamma = 2;             ///< focal only
  std::vector<double> class_weights;  ///< one per class; empty: all 1
};

/// What to do about classes of unequal size.
enum class ClassBalance : std::uint8_t {
  none,
  weights,     ///< weighs the loss by n/(classes·count), scikit-learn's "balanced"
  oversample,  ///< draws every class equally often, with replacement
};

/// What "best" means, for early stopping, best weights and the plateau schedule.
enum class Monitor : std::uint8_t { val_loss, val_accuracy, val_macro_f1, train_loss };

struct EarlyStopping {
  int patience = 5;      ///< stop after this many epochs without improvement
  double min_delta = 0;  ///< smaller improvements do not count
};

/// As batch_size: the largest that fits into memory (choose_batch_size(), train/forecast.h).
constexpr std::int64_t kAutoBatch = 0;

struct TrainerOptions {
  OptimizerConfig optimizer = AdamW{};
  OptimizerOptions optimizer_options;
  ScheduleConfig schedule = ConstantLr{};
  Warmup warmup;
  int epochs = 10;
  std::int64_t batch_size = 32;  ///< or kAutoBatch, but not with several ranks
  LossOptions loss;
  std::uint64_t seed = 0;

  std::vector<TransformPtr> transforms;             ///< augmentation of training pictures
  std::vector<BatchTransformPtr> batch_transforms;  ///< mixup, cutmix
  ClassBalance balance = ClassBalance::none;
  int threads = 0;  ///< set_num_threads(); 0 leaves it
  int workers = 1;  ///< of each loader; results do not depend on it
  bool skip_corrupt = false;
  bool cache = true;

  /// bf16: maps between convolutions and their products in bf16, everything else in f32; no loss scaling is needed. On
  /// a CPU without AVX-512 BF16 the training is f32, with a warning; on a GPU before compute capability 8.0 it is
  /// Error{device}. f16, on GPUs only: the same with f16, and the loss scaled (train/loss_scale.h); steps whose
  /// gradients are too large for it are left out, which observers are told as a note.
  DType precision = DType::f32;
  /// Less memory for a third more time: of the network's blocks only what goes in and out is kept, and backward runs
  /// them again, to the same bits (docs/training.md has figures). Not with privacy.
  bool checkpoint_blocks = false;
  /// On a GPU: the pass of a full batch is recorded as a CUDA graph and started with one call from the third batch on,
  /// to the same bits. Alone: not with accumulation, privacy, several ranks or checkpoint_blocks.
  bool cuda_graph = false;
  int accumulate = 1;             ///< batches whose gradients are averaged into one optimizer step
  double clip_norm = 0;           ///< 0: off
  double clip_value = 0;          ///< 0: off
  std::optional<EmaOptions> ema;  ///< validation uses the averages, and the trained model gets them at the end

  /// Differentially private training. Then batch_size is what batches hold on average, and all that would read the
  /// training data past the noise is refused: mixup, balancing, other clipping, accumulation, and decisions on the
  /// training loss. Networks with batch statistics are refused too.
  std::optional<PrivacyOptions> privacy;

  /// Ranks that train together (train/distributed/mpi.h): each batch is parted among them, so that batch_size is that
  /// of the whole. All are given the same options, data and network; rank 0's parameters are everybody's at the
  /// beginning. Rank 0 alone writes checkpoints, every rank reads them, and each tells its own observers of the whole.
  /// nullptr: this process alone. Not owned.
  Communicator* ranks = nullptr;
  /// Batch norm takes the statistics of the whole batch: the results are those of one rank. Otherwise of each rank's
  /// part, which is faster, and enough from some 16 pictures in a part up; running statistics are means over the ranks.
  bool sync_batch_norm = false;

  Monitor monitor = Monitor::val_loss;  ///< train_loss is used instead where there is no validation data
  std::optional<EarlyStopping> early_stopping;
  bool restore_best = false;  ///< ends with the weights of the best epoch instead of the last

  std::string checkpoint;             ///< path; empty: none
  std::int64_t checkpoint_every = 0;  ///< also every so many optimizer steps; 0: at the end of each epoch only
  bool resume = false;  ///< go on from the checkpoint if there is one, to the same bits as without the interruption

  bool check_gradients = true;  ///< look for NaN and Inf before each step; the loss is always checked
  MetricOptions metrics;
  std::vector<TrainObserver*> observers;  ///< not owned
  const CancelToken* cancel = nullptr;    ///< not owned
};

/// With the same seed, data, options and thread count the results are the same bits: nothing depends on timing, on the
/// number of loader workers, or on whether the run was interrupted and resumed. Private training without a seed of its
/// own (TrainerOptions::privacy) is the exception.
class FOVEA_API Trainer {
 public:
  /// Error{usage} for options out of range. Trains the model's network in place.
  Trainer(const Model& model, TrainerOptions options);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// Trains. Errors: usage (empty data, class counts that do not fit, a checkpoint of other settings), numeric (NaN or
  /// Inf, naming the first bad tensor; the checkpoint of before stays), file (the checkpoint's folder cannot be written
  /// to: found before the first step). A checkpoint that fails later is reported to the observers and training goes on.
  /// With ranks, an error on one of them leaves the others waiting: end all by Communicator::abort(). Cancelling one
  /// cancels all.
  /// When cancelled it stops after the current step, writes a checkpoint, and returns with History::cancelled set; the
  /// network then holds the raw weights.
  History fit(const DatasetPtr& train, const DatasetPtr& val = nullptr);
  /// Validation metrics of the last finished epoch of fit(), if there were any.
  const std::optional<MetricValues>& last_validation() const;
  /// What fit() has cost, with TrainerOptions::privacy.
  const std::optional<PrivacyReport>& privacy() const;

 private:
  struct Run;
  Model model_;
  TrainerOptions options_;
  std::optional<MetricValues> last_validation_;
  std::optional<PrivacyReport> privacy_;
};

/// n/(classes·count) for each class (1 for absent ones): scikit-learn's "balanced".
FOVEA_API std::vector<double> balanced_class_weights(const Dataset& dataset);

}  // namespace fovea
