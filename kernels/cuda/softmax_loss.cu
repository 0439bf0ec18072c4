// Softmax over the last axis and the losses. A block works on one row; what is summed over rows goes through
// reduce_columns, so that results are the same every time.
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"

namespace fovea::kernels::cuda {
namespace {

/// y = e^(x−max) / Σ e^(x−max), or its logarithm.
template <class T>
struct SoftmaxForward {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads];
    double greatest;
  };
  struct Thread {};
  std::int64_t classes;
  bool log;
  const T* x;
  T* y;

  FOVEA_HD int phases() const { return 2 * BlockTotal::kSteps + 4; }
  FOVEA_HD void phase(int p, std::int64_t row, int thread, Shared& s, Thread&) const {
    const T* const in = x + row * classes;
    if (p == 0) {
      double greatest = neutral<Combine::max>();
      for (std::int64_t c = thread; c < classes; c += kThreads)
        greatest = combined<Combine::max>(greatest, static_cast<double>(in[c]));
      s.values[thread] = greatest;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::max>(p - 1, thread, s.values);
    } else if (p == BlockTotal::kSteps + 1) {
      if (thread == 0) s.greatest = s.values[0];
    } else if (p == BlockTotal::kSteps + 2) {
      double sum = 0;
      const T greatest = static_cast<T>(s.greatest);
      for (std::int64_t c = thread; c < classes; c += kThreads) sum += static_cast<double>(std::exp(in[c] - greatest));
      s.values[thread] = sum;
    } else if (p <= 2 * BlockTotal::kSteps + 2) {
      BlockTotal::step<Combine::sum>(p - BlockTotal::kSteps - 3, thread, s.values);
    } else {
      const T greatest = static_cast<T>(s.greatest), sum = static_cast<T>(s.values[0]);
      const T log_sum = log ? static_cast<T>(std::log(s.values[0])) : T(0);
      for (std::int64_t c = thread; c < classes; c += kThreads)
        y[row * classes + c] = log ? (in[c] - greatest) - log_sum : std::exp(in[c] - greatest) / sum;
    }
  }
};

/// dx = y·(dy − Σ dy·y); of the logarithm dx = dy − e^y·Σ dy.
template <class T>
struct SoftmaxBackward {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads];
  };
  struct Thread {};
  std::int64_t classes;
  bool log;
  const T *y, *dy;
  T* dx;

  FOVEA_HD int phases() const { return BlockTotal::kSteps + 2; }
  FOVEA_HD void phase(int p, std::int64_t row, int thread, Shared& s, Thread&) const {
    const T *const out = y + row * classes, *const grad = dy + row * classes;
    if (p == 0) {
      double sum = 0;
      for (std::int64_t c = thread; c < classes; c += kThreads)
        sum += log ? static_cast<double>(grad[c]) : static_cast<double>(grad[c]) * static_cast<double>(out[c]);
      s.values[thread] = sum;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::sum>(p - 1, thread, s.values);
    } else {
      const T sum = static_cast<T>(s.values[0]);
      for (std::int64_t c = thread; c < classes; c += kThreads)
        dx[row * classes + c] = log ? grad[c] - std::exp(out[c]) * sum : out[c] * (grad[c] - sum);
    }
  }
};

template <class T>
void run_softmax(const SoftmaxProblem& p) {
  const int device = p.out.device.index;
  if (p.pass == Pass::forward) {
    run_blocks("softmax", p.rows(), SoftmaxForward<T>{p.classes(), p.log, p.x.ptr<T>(), p.out.ptr<T>()}, device);
  } else {
    run_blocks("softmax_backward", p.rows(),
               SoftmaxBackward<T>{p.classes(), p.log, p.y.ptr<T>(), p.dy.ptr<T>(), p.out.ptr<T>()}, device);
  }
}

// ---- cross-entropy of classes

/// The targets: indices of either width, or distributions.
template <class T>
struct Targets {
  std::int64_t classes, ignore;
  const std::int64_t* wide;
  const std::int32_t* narrow;
  const T *soft, *weights;

  Targets(const CrossEntropyProblem& p)
      : classes(p.logits.shape.dim(-1)),
        ignore(p.params.ignore_index),
        wide(p.target.dtype == DType::i64 ? p.target.ptr<std::int64_t>() : nullptr),
        narrow(p.target.dtype == DType::i32 ? p.target.ptr<std::int32_t>() : nullptr),
        soft(is_floating(p.target.dtype) ? p.target.ptr<T>() : nullptr),
        weights(p.class_weights ? p.class_weights->ptr<T>() : nullptr) {}

  FOVEA_HD std::int64_t label(std::int64_t row) const { return wide ? wide[row] : narrow ? narrow[row] : 0; }
  FOVEA_HD bool counts(std::int64_t row) const { return soft || label(row) != ignore; }
  /// False for a label that is no class. The host finds such labels where it makes them; here they give NaN.
  FOVEA_HD bool valid(std::int64_t row) const { return soft || (label(row) >= 0 && label(row) < classes); }
  FOVEA_HD double weight(std::int64_t c) const { return weights ? static_cast<double>(weights[c]) : 1.0; }
  FOVEA_HD double target(std::int64_t row, std::int64_t c) const {
    return soft ? static_cast<double>(soft[row * classes + c]) : (c == label(row) ? 1.0 : 0.0);
  }
  /// The row's share of the mean's divisor.
  FOVEA_HD double divisor(std::int64_t row) const {
    return soft ? 1.0 : counts(row) && valid(row) ? weight(label(row)) : 0.0;
  }
};

/// (1 − p)^gamma and its derivative by p.
struct Modulator {
  double value, slope;
  FOVEA_HD Modulator(double gamma, double one_minus_p)
      : value(gamma == 0 ? 1 : std::pow(one_minus_p, gamma)),
        slope(gamma == 0 || one_minus_p <= 0 ? 0 : -gamma * std::pow(one_minus_p, gamma - 1)) {}
};

/// A block per row: log Σ e^z, then Σ q and Σ q·log p, then (forward) the row's loss or (backward) its gradient.
template <class T>
struct CrossEntropyRows {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads], q[kThreads];
    double greatest, log_sum;
  };
  struct Thread {};
  Targets<T> targets;
  double smoothing, gamma;
  const T* z;
  double* row_loss;  ///< forward
  const T* dloss;    ///< backward
  bool each;         ///< dloss is one per row
  const double* divisor;
  T* dz;

  FOVEA_HD double weighted(std::int64_t row, std::int64_t c) const {
    return targets.weight(c) *
           ((1 - smoothing) * targets.target(row, c) + smoothing / static_cast<double>(targets.classes));
  }
  FOVEA_HD int phases() const { return 3 * BlockTotal::kSteps + 6; }
  FOVEA_HD void phase(int p, std::int64_t row, int thread, Shared& s, Thread&) const {
    constexpr int kTree = BlockTotal::kSteps;
    const std::int64_t classes = targets.classes;
    const T* const in = z + row * classes;
    if (p == 0) {
      double greatest = neutral<Combine::max>();
      for (std::int64_t c = thread; c < classes; c += kThreads)
        greatest = combined<Combine::max>(greatest, static_cast<double>(in[c]));
      s.values[thread] = greatest;
    } else if (p <= kTree) {
      BlockTotal::step<Combine::max>(p - 1, thread, s.values);
    } else if (p == kTree + 1) {
      if (thread == 0) s.greatest = s.values[0];
    } else if (p == kTree + 2) {
      double sum = 0;
      for (std::int64_t c = thread; c < classes; c += kThreads)
        sum += std::exp(static_cast<double>(in[c]) - s.greatest);
      s.values[thread] = sum;
    } else if (p <= 2 * kTree + 2) {
      BlockTotal::step<Combine::sum>(p - kTree - 3, thread, s.values);
    } else if (p == 2 * kTree + 3) {
      if (thread == 0) s.log_sum = s.greatest + std::log(s.values[0]);
    } else if (p == 2 * kTree + 4) {
      double total = 0, dot = 0;
      for (std::int64_t c = thread; c < classes; c += kThreads) {
        const double q = weighted(row, c);
        total += q;
        if (q != 0) dot += q * (static_cast<double>(in[c]) - s.log_sum);  // 0·log 0 is 0
      }
      s.q[thread] = total;
      s.values[thread] = dot;
    } else if (p <= 3 * kTree + 4) {
      BlockTotal::step<Combine::sum>(p - 2 * kTree - 5, thread, s.q);
      BlockTotal::step<Combine::sum>(p - 2 * kTree - 5, thread, s.values);
    } else {
      finish(row, thread, in, s);
    }
  }
  FOVEA_HD void finish(std::int64_t row, int thread, const T* in, const Shared& s) const {
    const bool counts = targets.counts(row), valid = targets.valid(row);
    const double log_p = counts && valid && !targets.soft ? static_cast<double>(in[targets.label(row)]) - s.log_sum : 0;
    if (row_loss) {
      if (thread != 0) return;
      double loss = -s.values[0];
      if (gamma != 0) loss *= Modulator(gamma, -std::expm1(log_p)).value;
      row_loss[row] = !counts ? 0 : valid ? loss : std::nan("");
      return;
    }
    double factor = *divisor == 0 ? 0 : static_cast<double>(dloss[each ? row : 0]) / *divisor;
    if (gamma != 0) {
      const Modulator m(gamma, -std::expm1(log_p));
      factor *= m.value + m.slope * std::exp(log_p) * log_p;
    }
    for (std::int64_t c = thread; c < targets.classes; c += kThreads) {
      const double slope = factor * (std::exp(static_cast<double>(in[c]) - s.log_sum) * s.q[0] - weighted(row, c));
      dz[row * targets.classes + c] = static_cast<T>(!counts ? 0 : valid ? slope : std::nan(""));
    }
  }
};

template <class T>
void run_cross_entropy(const CrossEntropyProblem& p) {
  const Targets<T> targets(p);
  const std::int64_t rows = targets.classes == 0 ? 0 : p.logits.numel() / targets.classes;
  const int device = p.logits.device.index;
  const bool forward = p.pass == Pass::forward, mean = p.params.reduction == LossReduction::mean,
             none = p.params.reduction == LossReduction::none;
  const Scratch memory(static_cast<std::size_t>(rows + 1) * sizeof(double), device);
  double *const divisor = memory.as<double>(), *const row_loss = divisor + 1;
  CrossEntropyRows<T> kernel{targets,
                             p.params.label_smoothing,
                             p.params.focal_gamma,
                             p.logits.ptr<T>(),
                             forward ? row_loss : nullptr,
                             nullptr,
                             none,
                             divisor,
                             nullptr};
  if (forward) {
    run_blocks("cross_entropy", rows, kernel, device);
    T* const loss = p.out.ptr<T>();
    if (none) {
      for_each(
          "cross_entropy", rows, [=] FOVEA_LAMBDA(std::int64_t i) { loss[i] = static_cast<T>(row_loss[i]); }, device);
      return;
    }
    reduce_columns<double, 2>(
        "cross_entropy", 1, rows, 1,
        [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t, double(&terms)[2]) {
          terms[0] = row_loss[row];
          terms[1] = targets.divisor(row);
        },
        [=] FOVEA_LAMBDA(std::int64_t, const double(&sums)[2]) {
          *loss = static_cast<T>(!mean ? sums[0] : sums[1] == 0 ? sums[0] * 0 : sums[0] / sums[1]);
        },
        device);
    return;
  }
  reduce_columns<double, 1>(
      "cross_entropy_backward", 1, rows, 1,
      [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t, double(&terms)[1]) {
        terms[0] = targets.divisor(row);
      },
      [=] FOVEA_LAMBDA(std::int64_t, const double(&sums)[1]) { *divisor = mean ? sums[0] : 1.0; }, device);
  kernel.dloss = p.dloss.ptr<T>();
  kernel.dz = p.out.ptr<T>();
  run_blocks("cross_entropy_backward", rows, kernel, device);
}

// ---- losses of elements

FOVEA_HD double softplus(double x) { return (x > 0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x))); }
FOVEA_HD double logistic(double x) {
  const double e = std::exp(-std::fabs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

/// Loss and slope of one element of a sigmoid cross-entropy (kernels/loss.h).
struct BinaryTerm {
  double loss, slope;
  FOVEA_HD BinaryTerm(double gamma, double alpha, double z, double y, double positive) {
    const double p = logistic(z), not_p = logistic(-z);
    loss = positive * y * softplus(-z) + (1 - y) * softplus(z);
    slope = -positive * y * not_p + (1 - y) * p;
    if (gamma != 0) {
      const Modulator m(gamma, not_p * y + p * (1 - y));
      slope = m.value * slope + m.slope * (2 * y - 1) * p * not_p * loss;
      loss *= m.value;
    }
    if (alpha >= 0) {
      const double a = alpha * y + (1 - alpha) * (1 - y);
      loss *= a;
      slope *= a;
    }
  }
};

/// term(i, loss, slope) of element i.
template <class T, class Term>
void run_element_loss(const char* name, Pass pass, LossReduction reduction, std::int64_t count, const ConstView& dloss,
                      const View& out, const Term& term) {
  const int device = out.device.index;
  T* const to = out.ptr<T>();
  const bool none = reduction == LossReduction::none;
  const double scale = reduction == LossReduction::mean ? (count == 0 ? 0.0 : 1 / static_cast<double>(count)) : 1.0;
  if (pass == Pass::backward) {
    const T* const given = dloss.ptr<T>();
    for_each(
        name, count,
        [=] FOVEA_LAMBDA(std::int64_t i) {
          double loss, slope;
          term(i, loss, slope);
          to[i] = static_cast<T>(scale * static_cast<double>(given[none ? i : 0]) * slope);
        },
        device);
  } else if (none) {
    for_each(
        name, count,
        [=] FOVEA_LAMBDA(std::int64_t i) {
          double loss, slope;
          term(i, loss, slope);
          to[i] = static_cast<T>(loss);
        },
        device);
  } else {
    reduce_columns<double, 1>(
        name, 1, count, 1,
        [=] FOVEA_LAMBDA(std::int64_t, std::int64_t i, std::int64_t, double(&terms)[1]) {
          double slope;
          term(i, terms[0], slope);
        },
        [=] FOVEA_LAMBDA(std::int64_t, const double(&sums)[1]) { *to = static_cast<T>(sums[0] * scale); }, device);
  }
}

template <class T>
struct BinaryTerms {
  double gamma, alpha;
  const T *z, *y, *positive;
  std::int64_t classes;
  FOVEA_HD void operator()(std::int64_t i, double& loss, double& slope) const {
    const BinaryTerm t(gamma, alpha, static_cast<double>(z[i]), static_cast<double>(y[i]),
                       positive ? static_cast<double>(positive[Divided(i, classes).rest]) : 1.0);
    loss = t.loss;
    slope = t.slope;
  }
};

template <class T>
struct SquareTerms {
  const T *x, *target;
  FOVEA_HD void operator()(std::int64_t i, double& loss, double& slope) const {
    const double d = static_cast<double>(x[i]) - static_cast<double>(target[i]);
    loss = d * d;
    slope = 2 * d;
  }
};

}  // namespace

void softmax(const SoftmaxProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { run_softmax<decltype(t)>(p); });
}
void cross_entropy(const CrossEntropyProblem& p) {
  by_scalar(p.logits.dtype, [&](auto t) { run_cross_entropy<decltype(t)>(p); });
}
void binary_cross_entropy(const BinaryCrossEntropyProblem& p) {
  by_scalar(p.logits.dtype, [&](auto t) {
    using T = decltype(t);
    const T* const positive = p.pos_weight ? p.pos_weight->ptr<T>() : nullptr;
    run_element_loss<T>("binary_cross_entropy", p.pass, p.params.reduction, p.logits.numel(), p.dloss, p.out,
                        BinaryTerms<T>{p.params.focal_gamma, p.params.focal_alpha, p.logits.ptr<T>(), p.target.ptr<T>(),
                                       positive, p.pos_weight ? p.pos_weight->numel() : 1});
  });
}
void squared_error(const SquaredErrorProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) {
    using T = decltype(t);
    run_element_loss<T>("squared_error", p.pass, p.reduction, p.x.numel(), p.dloss, p.out,
                        SquareTerms<T>{p.x.ptr<T>(), p.target.ptr<T>()});
  });
}

}  // namespace fovea::kernels::cuda
