// Optimizer steps: one thread per element, the formulas of kernels/optimizer.h in the parameters' precision.
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"

namespace fovea::kernels::cuda {
namespace {

/// Weight decay: of the value itself (decoupled), or as a part of the gradient.
template <class T>
struct WeightDecay {
  bool decoupled;
  T of_value, of_gradient;

  template <class Step>
  explicit WeightDecay(const Step& s)
      : decoupled(s.decoupled),
        of_value(static_cast<T>(s.lr * s.weight_decay)),
        of_gradient(static_cast<T>(s.weight_decay)) {}
  FOVEA_HD void apply(T& value, T& g) const {
    if (decoupled) {
      value -= of_value * value;
    } else {
      g += of_gradient * value;
    }
  }
};

template <class T>
void run_sgd(const SgdProblem& p) {
  const SgdStep& s = p.step;
  const T* const grad = p.grad.ptr<T>();
  T *const param = p.param.ptr<T>(), *const state = s.momentum == 0 ? nullptr : optional_ptr<T>(p.momentum);
  const T lr = static_cast<T>(s.lr), momentum = static_cast<T>(s.momentum);
  const WeightDecay<T> decay(s);
  const bool keras = s.keras, nesterov = s.nesterov, first = s.first;
  for_each(
      "sgd_step", p.param.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        T value = param[i], g = grad[i];
        decay.apply(value, g);
        if (!state) {
          value -= lr * g;
        } else if (keras) {
          const T b = (first ? T(0) : momentum * state[i]) - lr * g;
          state[i] = b;
          value += nesterov ? momentum * b - lr * g : b;
        } else {
          const T b = first ? g : momentum * state[i] + g;
          state[i] = b;
          value -= lr * (nesterov ? g + momentum * b : b);
        }
        param[i] = value;
      },
      p.param.device.index);
}

template <class T>
void run_adam(const AdamProblem& p) {
  const AdamStep& s = p.step;
  const T* const grad = p.grad.ptr<T>();
  T *const param = p.param.ptr<T>(), *const m = p.m.ptr<T>(), *const v = p.v.ptr<T>();
  const double c1 = 1 - std::pow(s.beta1, static_cast<double>(s.step)),
               c2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  // Both forms are p −= rate·m / (√v·widen + eps).
  const T rate = static_cast<T>(s.keras ? s.lr * std::sqrt(c2) / c1 : s.lr / c1),
          widen = static_cast<T>(s.keras ? 1 : 1 / std::sqrt(c2));
  const T beta1 = static_cast<T>(s.beta1), beta2 = static_cast<T>(s.beta2), rest1 = static_cast<T>(1 - s.beta1),
          rest2 = static_cast<T>(1 - s.beta2), epsilon = static_cast<T>(s.epsilon);
  const WeightDecay<T> decay(s);
  for_each(
      "adam_step", p.param.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        T value = param[i], g = grad[i];
        decay.apply(value, g);
        const T a = beta1 * m[i] + rest1 * g, b = beta2 * v[i] + rest2 * g * g;
        m[i] = a;
        v[i] = b;
        param[i] = value - rate * a / (std::sqrt(b) * widen + epsilon);
      },
      p.param.device.index);
}

template <class T>
void run_rmsprop(const RmspropProblem& p) {
  const RmspropStep& s = p.step;
  const T* const grad = p.grad.ptr<T>();
  T *const param = p.param.ptr<T>(), *const v = p.v.ptr<T>();
  T *const state = s.momentum == 0 ? nullptr : optional_ptr<T>(p.momentum), *const mean = optional_ptr<T>(p.mean_grad);
  const T lr = static_cast<T>(s.lr), alpha = static_cast<T>(s.alpha), rest = static_cast<T>(1 - s.alpha),
          epsilon = static_cast<T>(s.epsilon), momentum = static_cast<T>(s.momentum),
          decay = static_cast<T>(s.weight_decay);
  const bool inside = s.epsilon_inside, lr_in_momentum = s.lr_in_momentum;
  for_each(
      "rmsprop_step", p.param.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        T value = param[i];
        const T g = grad[i] + decay * value;
        T spread = alpha * v[i] + rest * g * g;
        v[i] = spread;
        if (mean) {
          const T a = alpha * mean[i] + rest * g;
          mean[i] = a;
          spread = spread - a * a > T(0) ? spread - a * a : T(0);  // rounding may leave it below 0
        }
        const T denominator = inside ? std::sqrt(spread + epsilon) : std::sqrt(spread) + epsilon;
        if (!state) {
          value -= lr * g / denominator;
        } else if (lr_in_momentum) {
          const T b = momentum * state[i] + lr * g / denominator;
          state[i] = b;
          value -= b;
        } else {
          const T b = momentum * state[i] + g / denominator;
          state[i] = b;
          value -= lr * b;
        }
        param[i] = value;
      },
      p.param.device.index);
}

template <class T>
void run_update(const UpdateProblem& p) {
  const T* const from = p.from ? p.from->ptr<T>() : nullptr;
  T* const to = p.to.ptr<T>();
  const T a = static_cast<T>(p.a), rest = static_cast<T>(1 - p.a);
  for_each(
      "update", p.to.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) { to[i] = from ? a * to[i] + rest * from[i] : a * to[i]; }, p.to.device.index);
}

template <class T>
void run_clamp(const ClampProblem& p) {
  T* const x = p.x.ptr<T>();
  const T high = static_cast<T>(p.limit), low = -high;
  for_each(
      "clamp", p.x.numel(), [=] FOVEA_LAMBDA(std::int64_t i) { x[i] = x[i] > high  ? high
                                                                      : x[i] < low ? low
                                                                                   : x[i]; },
      p.x.device.index);
}

}  // namespace

void sgd(const SgdProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { run_sgd<decltype(t)>(p); });
}
void adam(const AdamProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { run_adam<decltype(t)>(p); });
}
void rmsprop(const RmspropProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { run_rmsprop<decltype(t)>(p); });
}
void clamp(const ClampProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_clamp<decltype(t)>(p); });
}
void update(const UpdateProblem& p) {
  by_scalar(p.to.dtype, [&](auto t) { run_update<decltype(t)>(p); });
}

}  // namespace fovea::kernels::cuda
