// Learning-rate range test (Smith 2017): trains a little with a rising rate and watches the loss.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace fovea {

struct LrFinderOptions {
  double low = 1e-7, high = 10;  ///< the rate rises exponentially from low to high
  int steps = 100;               ///< fewer when the loss explodes
  double smoothing = 0.98;       ///< of the exponential average of the loss
  double stop_factor = 4;        ///< ends once the smoothed loss exceeds this many times its minimum
};

struct LrFinderResult {
  std::vector<double> lr, loss;  ///< smoothed loss before each step
  /// The rate of the steepest fall of the smoothed loss over the logarithm of the rate; 0 when the loss never fell.
  double suggestion = 0;
  /// A tenth of the rate with the smallest smoothed loss, a more cautious rule.
  double tenth_of_minimum = 0;
};

/// Uses the trainer options' optimizer, batch size, loss, seed, augmentation and preprocessing. The network is left as
/// it was, to the bit.
FOVEA_API LrFinderResult find_learning_rate(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                                            const LrFinderOptions& finder = {});
FOVEA_API std::string lr_finder_svg(const LrFinderResult& result);

}  // namespace fovea
