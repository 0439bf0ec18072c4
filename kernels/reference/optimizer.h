// Optimizer steps as kernels/optimizer.h states them, each element computed in double and rounded once per stored
// value.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/problems.h"

namespace fovea::kernels::reference {

template <class T>
void sgd_step(const SgdUpdate& p) {
  const SgdStep& s = p.step;
  const T* grad = p.grad.ptr<T>();
  T *param = p.param.ptr<T>(), *momentum = p.momentum ? p.momentum->ptr<T>() : nullptr;
  for (std::int64_t i = 0; i < p.param.numel(); ++i) {
    double value = param[i], g = grad[i];
    if (s.decoupled) {
      value -= s.lr * s.weight_decay * value;
    } else {
      g += s.weight_decay * value;
    }
    if (!momentum || s.momentum == 0) {
      value -= s.lr * g;
    } else if (s.keras) {
      const double b = (s.first ? 0.0 : s.momentum * momentum[i]) - s.lr * g;
      momentum[i] = static_cast<T>(b);
      value += s.nesterov ? s.momentum * b - s.lr * g : b;
    } else {
      const double b = s.first ? g : s.momentum * momentum[i] + g;
      momentum[i] = static_cast<T>(b);
      value -= s.lr * (s.nesterov ? g + s.momentum * b : b);
    }
    param[i] = static_cast<T>(value);
  }
}

template <class T>
void adam_step(const AdamUpdate& p) {
  const AdamStep& s = p.step;
  const T* grad = p.grad.ptr<T>();
  T *param = p.param.ptr<T>(), *m = p.m.ptr<T>(), *v = p.v.ptr<T>();
  const double c1 = 1 - std::pow(s.beta1, static_cast<double>(s.step)),
               c2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  for (std::int64_t i = 0; i < p.param.numel(); ++i) {
    double value = param[i], g = grad[i];
    if (s.decoupled) {
      value -= s.lr * s.weight_decay * value;
    } else {
      g += s.weight_decay * value;
    }
    const double first = s.beta1 * m[i] + (1 - s.beta1) * g, second = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    m[i] = static_cast<T>(first);
    v[i] = static_cast<T>(second);
    if (s.keras) {
      value -= s.lr * std::sqrt(c2) / c1 * first / (std::sqrt(second) + s.epsilon);
    } else {
      value -= s.lr * (first / c1) / (std::sqrt(second / c2) + s.epsilon);
    }
    param[i] = static_cast<T>(value);
  }
}

template <class T>
void rmsprop_step(const RmspropUpdate& p) {
  const RmspropStep& s = p.step;
  const T* grad = p.grad.ptr<T>();
  T *param = p.param.ptr<T>(), *v = p.v.ptr<T>();
  T *momentum = p.momentum ? p.momentum->ptr<T>() : nullptr, *mean = p.mean_grad ? p.mean_grad->ptr<T>() : nullptr;
  for (std::int64_t i = 0; i < p.param.numel(); ++i) {
    double value = param[i];
    const double g = grad[i] + s.weight_decay * value;
    double spread = s.alpha * v[i] + (1 - s.alpha) * g * g;
    v[i] = static_cast<T>(spread);
    if (mean) {
      const double a = s.alpha * mean[i] + (1 - s.alpha) * g;
      mean[i] = static_cast<T>(a);
      spread = std::max(0.0, spread - a * a);  // rounding may leave it below 0
    }
    const double denominator = s.epsilon_inside ? std::sqrt(spread + s.epsilon) : std::sqrt(spread) + s.epsilon;
    if (!momentum || s.momentum == 0) {
      value -= s.lr * g / denominator;
    } else if (s.lr_in_momentum) {
      const double b = s.momentum * momentum[i] + s.lr * g / denominator;
      momentum[i] = static_cast<T>(b);
      value -= b;
    } else {
      const double b = s.momentum * momentum[i] + g / denominator;
      momentum[i] = static_cast<T>(b);
      value -= s.lr * b;
    }
    param[i] = static_cast<T>(value);
  }
}

template <class T>
void sum_of_squares(const ScanProblem& p) {
  const T* x = p.x.ptr<T>();
  double sum = 0;
  for (std::int64_t i = 0; i < p.x.numel(); ++i) sum += static_cast<double>(x[i]) * x[i];
  *p.result = sum;
}

template <class T>
void all_finite(const ScanProblem& p) {
  const T* x = p.x.ptr<T>();
  bool finite = true;
  for (std::int64_t i = 0; i < p.x.numel(); ++i) finite = finite && std::isfinite(x[i]);
  *p.result = finite ? 1 : 0;
}

template <class T>
void update(const Update& u) {
  T* to = u.to.ptr<T>();
  const T* from = u.from ? u.from->ptr<T>() : to;  // which scale and clamp do not read
  const T high = static_cast<T>(u.a);
  for (std::int64_t i = 0; i < u.to.numel(); ++i) {
    switch (u.kind) {
      case UpdateKind::scale: to[i] = static_cast<T>(u.a * to[i]); break;
      case UpdateKind::lerp:
        if (to[i] != from[i]) to[i] = static_cast<T>(u.a * to[i] + (1 - u.a) * from[i]);
        break;
      case UpdateKind::add: to[i] = static_cast<T>(to[i] + u.a * from[i]); break;
      case UpdateKind::clamp: to[i] = to[i] > high ? high : to[i] < -high ? -high : to[i]; break;
    }
  }
}

}  // namespace fovea::kernels::reference
