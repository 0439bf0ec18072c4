// Loss scaling for training in f16 (Micikevicius et al. 2018, "Mixed precision training"): gradients below 6e-8 would
// be 0 there, so the loss is multiplied by a power of two before backward, and the f32 gradients of parameters are
// divided by it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layers/module.h"

namespace fovea {

/// The scale, found while training by the rule of PyTorch's GradScaler: a step whose gradients are not all finite is
/// left out and halves it, kGrowEvery steps in a row without one double it.
///
///   LossScale scale;
///   tape.backward(loss, scale.seed(loss));
///   if (scale.unscale(optimizer.parameters())) optimizer.step();
class FOVEA_API LossScale {
 public:
  static constexpr double kFirst = 65536;
  static constexpr std::int64_t kGrowEvery = 2000;
  /// Below this it is not the scale that makes gradients infinite or NaN.
  static constexpr double kLeast = 0x1p-10;

  /// Gradients that are all 0 would let it grow for ever.
  static constexpr double kMost = 0x1p100;

  struct State {
    double scale = kFirst;
    std::int64_t good_steps = 0;  ///< since the scale last changed
    std::int64_t skipped = 0;     ///< steps that were left out, in all
  };

  LossScale() = default;
  /// Goes on from there. Error{format} for what no state() gave.
  explicit LossScale(const State& state);

  const State& state() const { return state_; }
  double scale() const { return state_.scale; }
  /// scale·share, as the gradient that backward begins with, where the loss is. Kept until the scale changes.
  Tensor seed(const Tensor& loss, double share = 1);
  /// Divides the gradients by scale·group, of which `group` were added up, and returns true; or, where one is not
  /// finite, leaves them as they are, halves the scale and returns false: the step is to be left out. One wait for the
  /// GPU. Error{numeric} naming the first bad gradient where the scale would fall below kLeast.
  bool unscale(const std::vector<NamedTensor>& parameters, int group = 1);
  /// What to say behind "step 3" after unscale() gave false.
  std::string left_out() const;

 private:
  State state_;
  Tensor seed_;
  double seed_value_ = 0;
};

}  // namespace fovea
