// Optimizer steps and what surrounds them, over all tensors in one launch: one thread per element, the formulas of
// kernels/optimizer.h in the parameters' precision.
#include <algorithm>
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_table.h"

namespace fovea::kernels::cuda {
namespace {

/// The values that tensors of one launch may differ in travel as arguments of the kernel, of which there are 4 KB.
/// Flags are whole words: packed beside a float they look like an address to the test double.
template <class Set>
struct Sets {
  // An even number: GCC 12 does not clear the four bytes that would pad an odd one, in which the tests' double of the
  // runtime, which looks for addresses, may then find half of one.
  static constexpr std::size_t kMost = 3072 / sizeof(Set) / 2 * 2;
  Set of[kMost];
};

/// Makes a table of the items of one element type and launches, once unless there are more different sets than fit.
/// @param row the item's arrays; @param set its values
template <class T, class Set, class Kernel, class Item, class Row, class MakeSet>
void run_items(const char* name, std::span<const Item> all, View Item::*view, const Row& row, const MakeSet& set) {
  const int device = (all.front().*view).device.index;
  TensorTable table;
  Sets<Set> sets{};
  std::size_t used = 0;
  const auto launch = [&] {
    for_each_of(name, table, Kernel{sets}, device);
    table = {};
    used = 0;
  };
  for (const Item& item : all) {
    if ((item.*view).dtype != dtype_of<T>) continue;
    const Set mine = set(item);
    const Set* const found = std::find(sets.of, sets.of + used, mine);
    auto at = static_cast<std::size_t>(found - sets.of);
    if (at == Sets<Set>::kMost) {
      launch();
      at = 0;
    }
    if (at == used) sets.of[used++] = mine;
    TableRow made = row(item);
    made.count = (item.*view).numel();
    made.set = static_cast<std::int64_t>(at);
    table.add(made);
  }
  launch();
}

/// Weight decay: of the value itself (decoupled), or as a part of the gradient.
template <class T>
struct WeightDecay {
  T of_value = 0, of_gradient = 0;

  WeightDecay() = default;
  template <class Step>
  explicit WeightDecay(const Step& s)
      : of_value(static_cast<T>(s.decoupled ? s.lr * s.weight_decay : 0)),
        of_gradient(static_cast<T>(s.decoupled ? 0 : s.weight_decay)) {}
  FOVEA_HD void apply(T& value, T& g) const {
    g += of_gradient * value;
    value -= of_value * value;
  }
  friend bool operator==(const WeightDecay&, const WeightDecay&) = default;
};

template <class T>
struct SgdSet {
  T lr, momentum;
  WeightDecay<T> decay;
  std::int64_t keras, nesterov, first;
  friend bool operator==(const SgdSet&, const SgdSet&) = default;
};

template <class T>
struct SgdKernel {
  Sets<SgdSet<T>> sets;
  template <class Each>
  FOVEA_HD void operator()(const TableRow& row, const Each& each) const {
    const T* const grad = static_cast<const T*>(row.at[0]);
    T *const param = static_cast<T*>(row.at[1]), *const state = static_cast<T*>(row.at[2]);
    const SgdSet<T> s = sets.of[row.set];
    each([&](std::int64_t i) {
      T value = param[i], g = grad[i];
      s.decay.apply(value, g);
      if (!state) {
        value -= s.lr * g;
      } else if (s.keras) {
        const T b = (s.first ? T(0) : s.momentum * state[i]) - s.lr * g;
        state[i] = b;
        value += s.nesterov ? s.momentum * b - s.lr * g : b;
      } else {
        const T b = s.first ? g : s.momentum * state[i] + g;
        state[i] = b;
        value -= s.lr * (s.nesterov ? g + s.momentum * b : b);
      }
      param[i] = value;
    });
  }
};

template <class T>
void run_sgd(const SgdProblem& p) {
  run_items<T, SgdSet<T>, SgdKernel<T>>(
      "sgd_steps", p.all, &SgdUpdate::param,
      [](const SgdUpdate& u) {
        T* const state = u.step.momentum == 0 ? nullptr : optional_ptr<T>(u.momentum);
        return TableRow{.at = {const_cast<T*>(u.grad.ptr<T>()), u.param.ptr<T>(), state}};
      },
      [](const SgdUpdate& u) {
        const SgdStep& s = u.step;
        return SgdSet<T>{
            static_cast<T>(s.lr), static_cast<T>(s.momentum), WeightDecay<T>(s), s.keras, s.nesterov, s.first};
      });
}

template <class T>
struct AdamSet {
  T rate, widen, beta1, beta2, rest1, rest2, epsilon;
  WeightDecay<T> decay;
  explicit AdamSet(const AdamStep& s)
      : beta1(static_cast<T>(s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        rest1(static_cast<T>(1 - s.beta1)),
        rest2(static_cast<T>(1 - s.beta2)),
        epsilon(static_cast<T>(s.epsilon)),
        decay(s) {
    const double c1 = 1 - std::pow(s.beta1, static_cast<double>(s.step)),
                 c2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
    // Both forms are p −= rate·m / (√v·widen + eps).
    rate = static_cast<T>(s.keras ? s.lr * std::sqrt(c2) / c1 : s.lr / c1);
    widen = static_cast<T>(s.keras ? 1 : 1 / std::sqrt(c2));
  }
  AdamSet() = default;
  friend bool operator==(const AdamSet&, const AdamSet&) = default;
};

template <class T>
struct AdamKernel {
  Sets<AdamSet<T>> sets;
  template <class Each>
  FOVEA_HD void operator()(const TableRow& row, const Each& each) const {
    const T* const grad = static_cast<const T*>(row.at[0]);
    T *const param = static_cast<T*>(row.at[1]), *const m = static_cast<T*>(row.at[2]),
             *const v = static_cast<T*>(row.at[3]);
    const AdamSet<T> s = sets.of[row.set];
    each([&](std::int64_t i) {
      T value = param[i], g = grad[i];
      s.decay.apply(value, g);
      const T a = s.beta1 * m[i] + s.rest1 * g, b = s.beta2 * v[i] + s.rest2 * g * g;
      m[i] = a;
      v[i] = b;
      param[i] = value - s.rate * a / (std::sqrt(b) * s.widen + s.epsilon);
    });
  }
};

template <class T>
void run_adam(const AdamProblem& p) {
  run_items<T, AdamSet<T>, AdamKernel<T>>(
      "adam_steps", p.all, &AdamUpdate::param,
      [](const AdamUpdate& u) {
        return TableRow{.at = {const_cast<T*>(u.grad.ptr<T>()), u.param.ptr<T>(), u.m.ptr<T>(), u.v.ptr<T>()}};
      },
      [](const AdamUpdate& u) { return AdamSet<T>(u.step); });
}

template <class T>
struct RmspropSet {
  T lr, alpha, rest, epsilon, momentum, decay;
  std::int64_t inside, lr_in_momentum;
  friend bool operator==(const RmspropSet&, const RmspropSet&) = default;
};

template <class T>
struct RmspropKernel {
  Sets<RmspropSet<T>> sets;
  template <class Each>
  FOVEA_HD void operator()(const TableRow& row, const Each& each) const {
    const T* const grad = static_cast<const T*>(row.at[0]);
    T *const param = static_cast<T*>(row.at[1]), *const v = static_cast<T*>(row.at[2]),
             *const state = static_cast<T*>(row.at[3]), *const mean = static_cast<T*>(row.at[4]);
    const RmspropSet<T> s = sets.of[row.set];
    each([&](std::int64_t i) {
      T value = param[i];
      const T g = grad[i] + s.decay * value;
      T spread = s.alpha * v[i] + s.rest * g * g;
      v[i] = spread;
      if (mean) {
        const T a = s.alpha * mean[i] + s.rest * g;
        mean[i] = a;
        spread = spread - a * a > T(0) ? spread - a * a : T(0);  // rounding may leave it below 0
      }
      const T denominator = s.inside ? std::sqrt(spread + s.epsilon) : std::sqrt(spread) + s.epsilon;
      if (!state) {
        value -= s.lr * g / denominator;
      } else if (s.lr_in_momentum) {
        const T b = s.momentum * state[i] + s.lr * g / denominator;
        state[i] = b;
        value -= b;
      } else {
        const T b = s.momentum * state[i] + g / denominator;
        state[i] = b;
        value -= s.lr * b;
      }
      param[i] = value;
    });
  }
};

template <class T>
void run_rmsprop(const RmspropProblem& p) {
  run_items<T, RmspropSet<T>, RmspropKernel<T>>(
      "rmsprop_steps", p.all, &RmspropUpdate::param,
      [](const RmspropUpdate& u) {
        T* const state = u.step.momentum == 0 ? nullptr : optional_ptr<T>(u.momentum);
        return TableRow{.at = {const_cast<T*>(u.grad.ptr<T>()), u.param.ptr<T>(), u.v.ptr<T>(), state,
                               optional_ptr<T>(u.mean_grad)}};
      },
      [](const RmspropUpdate& u) {
        const RmspropStep& s = u.step;
        return RmspropSet<T>{static_cast<T>(s.lr),
                             static_cast<T>(s.alpha),
                             static_cast<T>(1 - s.alpha),
                             static_cast<T>(s.epsilon),
                             static_cast<T>(s.momentum),
                             static_cast<T>(s.weight_decay),
                             s.epsilon_inside,
                             s.lr_in_momentum};
      });
}

template <class T>
struct UpdateSet {
  T a, rest;
  std::int64_t kind;
  friend bool operator==(const UpdateSet&, const UpdateSet&) = default;
};

template <class T>
struct UpdateKernel {
  Sets<UpdateSet<T>> sets;
  template <class Each>
  FOVEA_HD void operator()(const TableRow& row, const Each& each) const {
    T* const to = static_cast<T*>(row.at[0]);
    const T* const from = static_cast<const T*>(row.at[1]);
    const UpdateSet<T> s = sets.of[row.set];
    each([&](std::int64_t i) {
      const T old = to[i];
      switch (static_cast<UpdateKind>(s.kind)) {
        case UpdateKind::scale: to[i] = s.a * old; break;
        case UpdateKind::lerp:
          if (old != from[i]) to[i] = s.a * old + s.rest * from[i];
          break;
        case UpdateKind::add: to[i] = old + s.a * from[i]; break;
        case UpdateKind::clamp: to[i] = old > s.a ? s.a : old < -s.a ? -s.a : old; break;
      }
    });
  }
};

template <class T>
void run_update(const UpdateProblem& p) {
  run_items<T, UpdateSet<T>, UpdateKernel<T>>(
      "update_all", p.all, &Update::to,
      [](const Update& u) {
        return TableRow{.at = {u.to.ptr<T>(), u.from ? const_cast<T*>(u.from->ptr<T>()) : nullptr}};
      },
      [](const Update& u) {
        return UpdateSet<T>{static_cast<T>(u.a), static_cast<T>(1 - u.a), static_cast<std::int64_t>(u.kind)};
      });
}

}  // namespace

void sgd(const SgdProblem& p) {
  run_sgd<float>(p);
  run_sgd<double>(p);
}
void adam(const AdamProblem& p) {
  run_adam<float>(p);
  run_adam<double>(p);
}
void rmsprop(const RmspropProblem& p) {
  run_rmsprop<float>(p);
  run_rmsprop<double>(p);
}
void update(const UpdateProblem& p) {
  run_update<float>(p);
  run_update<double>(p);
}

}  // namespace fovea::kernels::cuda
