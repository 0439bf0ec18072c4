// What a training run leaves behind in numbers.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/export.h"

namespace fovea {

/// One epoch. Values that do not exist (no validation data) are NaN.
struct EpochRecord {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t step = 0;   ///< optimizer steps done by its end
  double lr = 0;           ///< of its last step
  double train_loss = 0;   ///< mean over the epoch's batches as they were trained on
  double train_accuracy = 0;
  double val_loss = std::numeric_limits<double>::quiet_NaN();
  double val_accuracy = std::numeric_limits<double>::quiet_NaN();
  double val_macro_f1 = std::numeric_limits<double>::quiet_NaN();
  double seconds = 0;       ///< wall time of training and validation, over all runs that worked on it
  double images_per_s = 0;  ///< of training alone
  bool best = false;        ///< better than every epoch before it
  double epsilon = std::numeric_limits<double>::quiet_NaN();  ///< of private training, from its start
  /// Share of the training time that steps waited for pictures; above a tenth, more workers or a pack would help.
  double wait_share = std::numeric_limits<double>::quiet_NaN();
};

struct CurvePoint {
  std::int64_t step = 0;  ///< from 0
  double lr = 0;
  double loss = 0;  ///< of that step's batches
};

struct FOVEA_API History {
  static constexpr std::size_t kMaxCurvePoints = 4096;

  std::vector<EpochRecord> epochs;
  /// Every `curve_stride`-th step; the stride doubles whenever the curve would outgrow kMaxCurvePoints.
  std::vector<CurvePoint> curve;
  std::int64_t curve_stride = 1;
  std::int64_t best_epoch = 0;  ///< 0: none
  bool cancelled = false;
  bool stopped_early = false;

  void add(const CurvePoint& point);
};

}  // namespace fovea
