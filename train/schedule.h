// Learning-rate schedules as pure functions of the step, with PyTorch's definitions where PyTorch has one. Only the
// plateau rule has a memory, which is plain data that checkpoints store.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/export.h"

namespace fovea {

/// lr
struct ConstantLr {};
/// lr·gamma^⌊epoch/every⌋ (StepLR)
struct StepLr {
  int every = 30;  ///< epochs
  double gamma = 0.1;
};
/// lr·gamma^(milestones ≤ epoch) (MultiStepLR)
struct MultiStepLr {
  std::vector<int> milestones;  ///< epochs, ascending
  double gamma = 0.1;
};
/// lr·gamma^epoch (ExponentialLR)
struct ExponentialLr {
  double gamma = 0.95;
};
/// floor + (lr − floor)·(1 + cos(π·t/T))/2 over the steps after the warm-up, floor = lr·final_factor
/// (CosineAnnealingLR; Loshchilov and Hutter 2017 without restarts)
struct CosineLr {
  double final_factor = 0;
};
/// lr·(1 − t/T)^power over the steps after the warm-up (PolynomialLR; power 1 is a linear fall)
struct PolynomialLr {
  double power = 1;
};
/// Smith and Topin 2018 as in OneCycleLR (two phases): from lr/div_factor up to lr at pct_start·T, then down to
/// lr/(div_factor·final_div_factor). The optimizer's lr is the peak. Takes no warm-up of its own.
struct OneCycleLr {
  double pct_start = 0.3;
  double div_factor = 25;
  double final_div_factor = 1e4;
  bool linear = false;          ///< straight lines instead of cosines
  bool cycle_momentum = false;  ///< momentum (Adam: beta1) goes from max_momentum to base_momentum and back
  double base_momentum = 0.85;
  double max_momentum = 0.95;
};
/// lr·factor each time the monitored value has not improved by the relative `threshold` for more than `patience` epochs
/// (ReduceLROnPlateau, threshold_mode 'rel')
struct PlateauLr {
  double factor = 0.1;
  int patience = 10;
  double threshold = 1e-4;
  int cooldown = 0;  ///< epochs after a reduction that do not count as bad
  double min_lr = 0;
  bool maximize = false;  ///< the monitored value is an accuracy; otherwise a loss
};

using ScheduleConfig =
    std::variant<ConstantLr, StepLr, MultiStepLr, ExponentialLr, CosineLr, PolynomialLr, OneCycleLr, PlateauLr>;

/// Before the schedule: the rate rises linearly from start_factor·lr over the first steps (LinearLR). Epoch-based
/// schedules keep counting epochs from the start of training; cosine and polynomial run over what is left after it.
struct Warmup {
  double epochs = 0;       ///< may be a fraction
  std::int64_t steps = 0;  ///< used instead of epochs if positive
  double start_factor = 0.01;
};

/// The plateau rule's memory.
struct PlateauState {
  double best = 0;
  double factor = 1;
  std::int64_t bad_epochs = 0;
  std::int64_t cooldown = 0;
  bool any = false;
};

class FOVEA_API Schedule {
 public:
  struct Rates {
    double lr = 0;
    double momentum = -1;  ///< negative: leave it
  };

  /// Error{usage} for values out of range. @param lr the optimizer's rate; @param total_steps optimizer steps of the
  /// whole training
  Schedule(ScheduleConfig config, double lr, std::int64_t total_steps, std::int64_t steps_per_epoch,
           Warmup warmup = {});

  /// The rates for optimizer step `step`, from 0. Steps beyond the last keep its rate.
  Rates at(std::int64_t step) const;
  /// End of an epoch with the monitored value; only the plateau rule listens. True if it lowered the rate.
  bool end_epoch(double monitored);
  const PlateauState& plateau() const { return plateau_; }
  void set_plateau(const PlateauState& state) { plateau_ = state; }

 private:
  ScheduleConfig config_;
  double lr_;
  std::int64_t total_, per_epoch_, warmup_steps_;
  double warmup_start_;
  PlateauState plateau_;
};

/// "cosine final_factor=0", …: for logs and for telling that a resumed run uses another schedule.
FOVEA_API std::string describe(const ScheduleConfig& config);

}  // namespace fovea
