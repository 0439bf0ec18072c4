#include "train/loss_scale.h"

#include <cmath>

#include "core/error.h"
#include "train/gradients.h"

namespace fovea {

LossScale::LossScale(const State& state) : state_(state) {
  int exponent = 0;
  if (!(state.scale >= kLeast && std::isfinite(state.scale)) || std::frexp(state.scale, &exponent) != 0.5 ||
      state.good_steps < 0 || state.good_steps >= kGrowEvery || state.skipped < 0) {
    throw Error(ErrorKind::format, "loss scale",
                str("scale ", state.scale, " after ", state.good_steps, " good steps and ", state.skipped,
                    " left out is no state of it"));
  }
}

Tensor LossScale::seed(const Tensor& loss, double share) {
  const double value = state_.scale * share;
  const bool kept =
      seed_.defined() && seed_value_ == value && seed_.spec() == loss.spec() && seed_.device() == loss.device();
  if (!kept) {
    seed_ = Tensor::full(loss.shape(), value, loss.dtype(), loss.device());
    seed_value_ = value;
  }
  return seed_;
}

std::string LossScale::left_out() const {
  return str(" is left out: its gradients were too large for f16 with the loss times ", 2 * state_.scale,
             ", which goes on with ", state_.scale);
}

bool LossScale::unscale(const std::vector<NamedTensor>& parameters, int group) {
  const std::string bad = first_bad_gradient(parameters);
  if (bad.empty()) {
    scale_gradients(parameters, 1 / (state_.scale * group));
    if (++state_.good_steps == kGrowEvery) {
      state_.good_steps = 0;
      if (state_.scale < kMost) state_.scale *= 2;
    }
    return true;
  }
  if (state_.scale / 2 < kLeast) {
    throw Error(ErrorKind::numeric, "training",
                str("NaN or Inf also with the loss scaled by ", state_.scale, "; the first bad tensor is the ", bad),
                "train in bf16 or f32, lower the learning rate or use a warm-up");
  }
  state_.scale /= 2;
  state_.good_steps = 0;
  ++state_.skipped;
  return false;
}

}  // namespace fovea
