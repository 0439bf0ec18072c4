// Optimizer steps, one pass over gradient, parameter and state.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/optimizer.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/optimizer_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

void sgd(const SgdStep& s, const float* grad, float* param, float* momentum, std::int64_t n) {
  const auto lr = static_cast<float>(s.lr), mu = static_cast<float>(s.momentum);
  const float coupled = s.decoupled ? 0.0f : static_cast<float>(s.weight_decay);
  const float shrink = s.decoupled ? static_cast<float>(-s.lr * s.weight_decay) : 0.0f;
  const float old = s.first ? 0.0f : mu;
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, param + i);
    const auto g = hn::MulAdd(hn::Set(d, coupled), value, hn::LoadU(d, grad + i));
    const auto p = hn::MulAdd(hn::Set(d, shrink), value, value);
    if (!momentum) {
      hn::StoreU(hn::NegMulAdd(hn::Set(d, lr), g, p), d, param + i);
      return;
    }
    // The first step must not read what an unset buffer holds (0·NaN is NaN).
    const auto before = s.first ? hn::Zero(d) : hn::LoadU(d, momentum + i);
    if (s.keras) {
      const auto step = hn::Mul(hn::Set(d, lr), g);
      const auto b = hn::MulSub(hn::Set(d, old), before, step);
      hn::StoreU(b, d, momentum + i);
      hn::StoreU(hn::Add(p, s.nesterov ? hn::MulSub(hn::Set(d, mu), b, step) : b), d, param + i);
      return;
    }
    const auto b = hn::MulAdd(hn::Set(d, old), before, g);
    hn::StoreU(b, d, momentum + i);
    hn::StoreU(hn::NegMulAdd(hn::Set(d, lr), s.nesterov ? hn::MulAdd(hn::Set(d, mu), b, g) : b, p), d, param + i);
  });
}

void adam(const AdamStep& s, const float* grad, float* param, float* m, float* v, std::int64_t n) {
  const double c1 = 1 - std::pow(s.beta1, static_cast<double>(s.step)),
               c2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  const auto b1 = static_cast<float>(s.beta1), rest1 = static_cast<float>(1 - s.beta1);
  const auto b2 = static_cast<float>(s.beta2), rest2 = static_cast<float>(1 - s.beta2);
  const auto lr = static_cast<float>(s.keras ? s.lr * std::sqrt(c2) / c1 : s.lr / c1);
  const auto root_scale = static_cast<float>(s.keras ? 1.0 : 1 / std::sqrt(c2));
  const auto epsilon = static_cast<float>(s.epsilon);
  const float coupled = s.decoupled ? 0.0f : static_cast<float>(s.weight_decay);
  const float shrink = s.decoupled ? static_cast<float>(-s.lr * s.weight_decay) : 0.0f;
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, param + i);
    const auto g = hn::MulAdd(hn::Set(d, coupled), value, hn::LoadU(d, grad + i));
    const auto p = hn::MulAdd(hn::Set(d, shrink), value, value);
    const auto first = hn::MulAdd(hn::Set(d, b1), hn::LoadU(d, m + i), hn::Mul(hn::Set(d, rest1), g));
    const auto second = hn::MulAdd(hn::Set(d, b2), hn::LoadU(d, v + i), hn::Mul(hn::Set(d, rest2), hn::Mul(g, g)));
    hn::StoreU(first, d, m + i);
    hn::StoreU(second, d, v + i);
    const auto denominator = hn::MulAdd(hn::Sqrt(second), hn::Set(d, root_scale), hn::Set(d, epsilon));
    hn::StoreU(hn::NegMulAdd(hn::Set(d, lr), hn::Div(first, denominator), p), d, param + i);
  });
}

void rmsprop(const RmspropStep& s, const float* grad, float* param, float* v, float* momentum, float* mean_grad,
             std::int64_t n) {
  const auto lr = static_cast<float>(s.lr), alpha = static_cast<float>(s.alpha), rest = static_cast<float>(1 - s.alpha);
  const auto epsilon = static_cast<float>(s.epsilon), mu = static_cast<float>(s.momentum),
             decay = static_cast<float>(s.weight_decay);
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, param + i);
    const auto g = hn::MulAdd(hn::Set(d, decay), value, hn::LoadU(d, grad + i));
    auto spread = hn::MulAdd(hn::Set(d, alpha), hn::LoadU(d, v + i), hn::Mul(hn::Set(d, rest), hn::Mul(g, g)));
    hn::StoreU(spread, d, v + i);
    if (mean_grad) {
      const auto a = hn::MulAdd(hn::Set(d, alpha), hn::LoadU(d, mean_grad + i), hn::Mul(hn::Set(d, rest), g));
      hn::StoreU(a, d, mean_grad + i);
      spread = hn::NegMulAdd(a, a, spread);
      spread = hn::IfThenElse(hn::Lt(spread, hn::Zero(d)), hn::Zero(d), spread);  // rounding may leave it below 0
    }
    const auto eps = hn::Set(d, epsilon);
    const auto denominator = s.epsilon_inside ? hn::Sqrt(hn::Add(spread, eps)) : hn::Add(hn::Sqrt(spread), eps);
    auto step = hn::Div(g, denominator);
    if (s.lr_in_momentum || !momentum) step = hn::Mul(hn::Set(d, lr), step);
    if (momentum) {
      step = hn::MulAdd(hn::Set(d, mu), hn::LoadU(d, momentum + i), step);
      hn::StoreU(step, d, momentum + i);
      if (!s.lr_in_momentum) step = hn::Mul(hn::Set(d, lr), step);
    }
    hn::StoreU(hn::Sub(value, step), d, param + i);
  });
}

void update(UpdateKind kind, double factor, const float* from, float* to, std::int64_t n) {
  const auto a = static_cast<float>(factor), b = static_cast<float>(1 - factor);
  switch (kind) {
    case UpdateKind::scale:
      each_vector(n, [&](auto d, std::int64_t i)
                         HWY_ATTR { hn::StoreU(hn::Mul(hn::Set(d, a), hn::LoadU(d, to + i)), d, to + i); });
      return;
    case UpdateKind::lerp:
      each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto old = hn::LoadU(d, to + i), source = hn::LoadU(d, from + i);
        const auto v = hn::MulAdd(hn::Set(d, a), old, hn::Mul(hn::Set(d, b), source));
        hn::StoreU(hn::IfThenElse(hn::Eq(old, source), old, v), d, to + i);
      });
      return;
    case UpdateKind::add:
      each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::MulAdd(hn::Set(d, a), hn::LoadU(d, from + i), hn::LoadU(d, to + i)), d, to + i);
      });
      return;
    case UpdateKind::clamp:
      each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto v = hn::LoadU(d, to + i), high = hn::Set(d, a), low = hn::Set(d, -a);
        hn::StoreU(hn::IfThenElse(hn::Gt(v, high), high, hn::IfThenElse(hn::Lt(v, low), low, v)), d, to + i);
      });
      return;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(sgd);
HWY_EXPORT(adam);
HWY_EXPORT(rmsprop);
HWY_EXPORT(update);

void sgd_f32(const SgdStep& s, const float* grad, float* param, float* momentum, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(sgd)(s, grad, param, momentum, n);
}
void adam_f32(const AdamStep& s, const float* grad, float* param, float* m, float* v, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(adam)(s, grad, param, m, v, n);
}
void rmsprop_f32(const RmspropStep& s, const float* grad, float* param, float* v, float* momentum, float* mean_grad,
                 std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(rmsprop)(s, grad, param, v, momentum, mean_grad, n);
}
void update_f32(UpdateKind kind, double a, const float* from, float* to, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(update)(kind, a, from, to, n);
}

}  // namespace fovea::kernels::simd
#endif
