// Separate, thread-local modes: gradient recording (Tape and NoGrad), training mode, batch-norm statistics updates, and
// passes whose gradients are wanted example by example.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/export.h"

namespace fovea {

class Communicator;

/// While alive, this thread's forward passes are training passes: batch norm uses batch statistics and updates the
/// running ones, dropout drops. `step` numbers the pass so that dropout's masks depend on (seed, step, position in the
/// pass) only.
class FOVEA_API TrainingMode {
 public:
  struct Options {
    std::uint64_t seed = 0;
    std::uint64_t step = 0;
    bool update_statistics = true;
    /// bf16, f16: maps are kept, and products of convolutions and dense layers computed, in that type; sums,
    /// statistics, parameters and gradients of parameters stay f32, and so does the result. Where passes are captured
    /// (Model, layers/fused): on GPUs, and bf16 on CPUs that can (on others the pass is f32). f16 on a CPU is
    /// Error{usage}. f16 loses gradients below 6e-8: scale the loss (train/loss_scale.h).
    DType precision = DType::f32;
    /// Of a network's blocks (parts with two convolutions or more, by the modules that ran them) only what goes in and
    /// out is kept; backward runs them again, to the same bits. Less memory, about a third more time. Where passes are
    /// captured (Model, layers/fused); elsewhere nothing changes.
    bool checkpoint_blocks = false;
    /// Ranks (core/distributed/communicator.h) that run this pass too, each on its part of the batch: batch norm's
    /// statistics are those of all parts. nullptr: of this pass's batch. Not owned.
    Communicator* batch_ranks = nullptr;
    /// How many examples of the whole batch come before this part's: dropout's masks do not depend on the parting.
    std::int64_t first_example = 0;
  };
  TrainingMode() : TrainingMode(Options{}) {}
  explicit TrainingMode(const Options& options);
  ~TrainingMode();
  TrainingMode(const TrainingMode&) = delete;
  TrainingMode& operator=(const TrainingMode&) = delete;

 private:
  friend struct ModeAccess;
  Options options_;
  std::uint64_t next_stream_ = 0;
  TrainingMode* outer_;
};

/// While alive, this thread's forward passes are inference passes, also inside a TrainingMode.
class FOVEA_API InferenceMode {
 public:
  InferenceMode();
  ~InferenceMode();
  InferenceMode(const InferenceMode&) = delete;
  InferenceMode& operator=(const InferenceMode&) = delete;

 private:
  TrainingMode* outer_;
};

/// While alive, no tape of this thread records.
class FOVEA_API NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool outer_;
};

namespace detail {
/// What the TrainingMode on this thread was made with; the defaults outside one.
FOVEA_API TrainingMode::Options training_options();
/// While alive, tapes of this thread record, also inside a NoGrad: for work that is done again during a backward pass.
class FOVEA_API RecordAgain {
 public:
  RecordAgain();
  ~RecordAgain();
  RecordAgain(const RecordAgain&) = delete;
  RecordAgain& operator=(const RecordAgain&) = delete;

 private:
  bool outer_;
};
/// The number of the random stream that the next op of this training pass draws from, 0 outside one; and another from
/// here on: for passes that are replayed with ops taken together.
FOVEA_API std::uint64_t random_stream();
FOVEA_API void use_random_stream(std::uint64_t number);
}  // namespace detail

/// While alive, modules on this thread bring a parameter together with the examples' values only, never with another
/// parameter first (as a convolution's weights with the scale of a frozen norm): only so can a parameter's gradient be
/// told example by example.
class FOVEA_API PerExampleMode {
 public:
  PerExampleMode();
  ~PerExampleMode();
  PerExampleMode(const PerExampleMode&) = delete;
  PerExampleMode& operator=(const PerExampleMode&) = delete;

 private:
  bool outer_;
};
FOVEA_API bool is_per_example();

/// True inside a TrainingMode on this thread.
FOVEA_API bool is_training();
/// What the TrainingMode on this thread asks for; f32 outside one.
FOVEA_API DType training_precision();
/// True if a tape is alive on this thread and no NoGrad hides it.
FOVEA_API bool is_recording();

}  // namespace fovea
