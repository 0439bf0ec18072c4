#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/check_internal.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

double weight_at(const OptionalView& weights, std::int64_t i) {
  if (!weights) return 1;
  return weights->dtype == DType::f64 ? weights->ptr<double>()[i] : static_cast<double>(weights->ptr<float>()[i]);
}

std::int64_t label_at(const ConstView& target, std::int64_t row) {
  return target.dtype == DType::i64 ? target.ptr<std::int64_t>()[row] : target.ptr<std::int32_t>()[row];
}

/// One row of a softmax cross-entropy: log-probabilities and the weighted target distribution.
template <class T>
struct Rows {
  explicit Rows(const CrossEntropyProblem& p)
      : params(p.params),
        target(p.target),
        weights(p.class_weights),
        classes(p.logits.shape.dim(-1)),
        count(classes == 0 ? 0 : p.logits.numel() / classes),
        z(p.logits.ptr<T>()),
        indices(!is_floating(target.dtype)),
        soft(indices ? nullptr : target.ptr<T>()),
        log_p(static_cast<std::size_t>(classes)),
        q(static_cast<std::size_t>(classes)) {}

  /// The row's class, -1 for distributions, or nothing (false) where it is ignored.
  bool counts(std::int64_t row, std::int64_t& label) const {
    label = -1;
    if (!indices) return true;
    label = label_at(target, row);
    if (label == params.ignore_index) return false;
    if (label < 0 || label >= classes) {
      throw Error(ErrorKind::usage, "cross_entropy",
                  str("label ", label, " of row ", row, " is no class: there are ", classes), "labels count from 0");
    }
    return true;
  }

  /// Fills log_p and q; returns Σ q.
  double load(std::int64_t row, std::int64_t label) {
    const T* logits = z + row * classes;
    double greatest = -INFINITY;
    for (std::int64_t j = 0; j < classes; ++j) greatest = std::max(greatest, static_cast<double>(logits[j]));
    double sum = 0;
    for (std::int64_t j = 0; j < classes; ++j) sum += std::exp(static_cast<double>(logits[j]) - greatest);
    const double log_sum = greatest + std::log(sum);
    const double spread = params.label_smoothing / static_cast<double>(classes);
    double total = 0;
    for (std::int64_t j = 0; j < classes; ++j) {
      const auto i = static_cast<std::size_t>(j);
      const double t = indices ? (j == label ? 1.0 : 0.0) : static_cast<double>(soft[row * classes + j]);
      log_p[i] = static_cast<double>(logits[j]) - log_sum;
      q[i] = weight_at(weights, j) * ((1 - params.label_smoothing) * t + spread);
      total += q[i];
    }
    return total;
  }

  double denominator() const {
    if (params.reduction != LossReduction::mean) return 1;
    if (!indices) return static_cast<double>(count);
    double sum = 0;
    for (std::int64_t row = 0; row < count; ++row) {
      std::int64_t label;
      if (counts(row, label)) sum += weight_at(weights, label);
    }
    return sum;
  }

  CrossEntropyParams params;
  ConstView target;
  OptionalView weights;
  std::int64_t classes, count;
  const T* z;
  bool indices;
  const T* soft;
  std::vector<double> log_p, q;
};

/// f = (1 − p)^gamma and its derivative by p; gamma ≥ 0, p in [0, 1].
struct Modulator {
  double value, slope;
  Modulator(double gamma, double one_minus_p)
      : value(gamma == 0 ? 1 : std::pow(one_minus_p, gamma)),
        slope(gamma == 0 || one_minus_p <= 0 ? 0 : -gamma * std::pow(one_minus_p, gamma - 1)) {}
};

template <class T>
void store_reduced(LossReduction reduction, double sum, double denominator, View loss) {
  if (reduction != LossReduction::none) *loss.ptr<T>() = static_cast<T>(denominator == 0 ? 0 : sum / denominator);
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double logistic(double x) {
  const double e = std::exp(-std::fabs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

/// Loss and d(loss)/dz of one element of a sigmoid cross-entropy.
struct BinaryTerm {
  double loss, slope;
  BinaryTerm(const BinaryCrossEntropyParams& params, double z, double y, double positive) {
    // log p = −softplus(−z), log(1−p) = −softplus(z): no cancellation at either end.
    const double p = logistic(z), not_p = logistic(-z);
    loss = positive * y * softplus(-z) + (1 - y) * softplus(z);
    slope = -positive * y * not_p + (1 - y) * p;
    if (params.focal_gamma != 0) {
      const Modulator m(params.focal_gamma, not_p * y + p * (1 - y));
      slope = m.value * slope + m.slope * (2 * y - 1) * p * not_p * loss;
      loss *= m.value;
    }
    if (params.focal_alpha >= 0) {
      const double alpha = params.focal_alpha * y + (1 - params.focal_alpha) * (1 - y);
      loss *= alpha;
      slope *= alpha;
    }
  }
};

double element_denominator(LossReduction reduction, std::int64_t count) {
  return reduction == LossReduction::mean ? static_cast<double>(count) : 1.0;
}

void reference_cross_entropy_forward(const CrossEntropyProblem& p) {
  const View& loss = p.out;
  by_scalar(p.logits.dtype, [&]<class T>(T) {
    Rows<T> rows(p);
    double sum = 0;
    for (std::int64_t row = 0; row < rows.count; ++row) {
      std::int64_t label;
      double value = 0;
      if (rows.counts(row, label)) {
        rows.load(row, label);
        for (std::size_t j = 0; j < rows.q.size(); ++j) {
          if (rows.q[j] != 0) value -= rows.q[j] * rows.log_p[j];  // 0·log 0 is 0
        }
        if (p.params.focal_gamma != 0)
          value *= Modulator(p.params.focal_gamma, -std::expm1(rows.log_p[static_cast<std::size_t>(label)])).value;
      }
      sum += value;
      if (p.params.reduction == LossReduction::none) loss.ptr<T>()[row] = static_cast<T>(value);
    }
    store_reduced<T>(p.params.reduction, sum, rows.denominator(), loss);
  });
}

void reference_cross_entropy_backward(const CrossEntropyProblem& p) {
  const View& dlogits = p.out;
  by_scalar(p.logits.dtype, [&]<class T>(T) {
    Rows<T> rows(p);
    const double denominator = rows.denominator();
    const double scale = denominator == 0 ? 0 : 1 / denominator;
    const T* given = p.dloss.ptr<T>();
    for (std::int64_t row = 0; row < rows.count; ++row) {
      T* out = dlogits.ptr<T>() + row * rows.classes;
      std::int64_t label;
      if (!rows.counts(row, label)) {
        std::fill(out, out + rows.classes, T{0});
        continue;
      }
      double factor = scale * static_cast<double>(given[p.params.reduction == LossReduction::none ? row : 0]);
      const double total = rows.load(row, label);
      if (p.params.focal_gamma != 0) {
        // d/dlog p of −(1−p)^g·log p is −((1−p)^g − g·p·(1−p)^(g−1)·log p): a multiple of cross-entropy's −1.
        const double log_p = rows.log_p[static_cast<std::size_t>(label)];
        const Modulator m(p.params.focal_gamma, -std::expm1(log_p));
        factor *= m.value + m.slope * std::exp(log_p) * log_p;
      }
      for (std::int64_t j = 0; j < rows.classes; ++j) {
        const auto i = static_cast<std::size_t>(j);
        out[j] = static_cast<T>(factor * (std::exp(rows.log_p[i]) * total - rows.q[i]));
      }
    }
  });
}

void reference_binary_cross_entropy_forward(const BinaryCrossEntropyProblem& p) {
  const BinaryCrossEntropyParams& params = p.params;
  const ConstView &logits = p.logits, &target = p.target;
  const OptionalView& pos_weight = p.pos_weight;
  const View& loss = p.out;
  by_scalar(logits.dtype, [&]<class T>(T) {
    const std::int64_t count = logits.numel(), classes = pos_weight ? pos_weight->numel() : 1;
    const T *z = logits.ptr<T>(), *y = target.ptr<T>();
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double value = BinaryTerm(params, z[i], y[i], weight_at(pos_weight, i % classes)).loss;
      sum += value;
      if (params.reduction == LossReduction::none) loss.ptr<T>()[i] = static_cast<T>(value);
    }
    store_reduced<T>(params.reduction, sum, element_denominator(params.reduction, count), loss);
  });
}

void reference_binary_cross_entropy_backward(const BinaryCrossEntropyProblem& p) {
  const BinaryCrossEntropyParams& params = p.params;
  const ConstView &logits = p.logits, &target = p.target;
  const OptionalView& pos_weight = p.pos_weight;
  const ConstView& dloss = p.dloss;
  const View& dlogits = p.out;
  by_scalar(logits.dtype, [&]<class T>(T) {
    const std::int64_t count = logits.numel(), classes = pos_weight ? pos_weight->numel() : 1;
    const T *z = logits.ptr<T>(), *y = target.ptr<T>(), *given = dloss.ptr<T>();
    T* out = dlogits.ptr<T>();
    const double scale = 1 / element_denominator(params.reduction, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const double slope = BinaryTerm(params, z[i], y[i], weight_at(pos_weight, i % classes)).slope;
      out[i] =
          static_cast<T>(scale * static_cast<double>(given[params.reduction == LossReduction::none ? i : 0]) * slope);
    }
  });
}

void reference_squared_error_forward(const SquaredErrorProblem& p) {
  const LossReduction reduction = p.reduction;
  const ConstView &x = p.x, &target = p.target;
  const View& loss = p.out;
  by_scalar(x.dtype, [&]<class T>(T) {
    const std::int64_t count = x.numel();
    const T *a = x.ptr<T>(), *b = target.ptr<T>();
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      sum += difference * difference;
      if (reduction == LossReduction::none) loss.ptr<T>()[i] = static_cast<T>(difference * difference);
    }
    store_reduced<T>(reduction, sum, element_denominator(reduction, count), loss);
  });
}

void reference_squared_error_backward(const SquaredErrorProblem& p) {
  const LossReduction reduction = p.reduction;
  const ConstView &x = p.x, &target = p.target, &dloss = p.dloss;
  const View& dx = p.out;
  by_scalar(x.dtype, [&]<class T>(T) {
    const std::int64_t count = x.numel();
    const T *a = x.ptr<T>(), *b = target.ptr<T>(), *given = dloss.ptr<T>();
    T* out = dx.ptr<T>();
    const double scale = 2 / element_denominator(reduction, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const double dy = static_cast<double>(given[reduction == LossReduction::none ? i : 0]);
      out[i] = static_cast<T>(scale * dy * (static_cast<double>(a[i]) - static_cast<double>(b[i])));
    }
  });
}

const char* reference_declines(const CrossEntropyProblem& p) { return needs_cpu(p.logits); }
const char* reference_declines(const BinaryCrossEntropyProblem& p) { return needs_cpu(p.logits); }
const char* reference_declines(const SquaredErrorProblem& p) { return needs_cpu(p.x); }

constexpr Implementation<CrossEntropyProblem> kCrossEntropyForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::cross_entropy),
    {"only", reference_declines, reference_cross_entropy_forward},
};
constexpr Implementation<CrossEntropyProblem> kCrossEntropyBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::cross_entropy),
    {"only", reference_declines, reference_cross_entropy_backward},
};
constexpr Implementation<BinaryCrossEntropyProblem> kBinaryForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::binary_cross_entropy),
    {"only", reference_declines, reference_binary_cross_entropy_forward},
};
constexpr Implementation<BinaryCrossEntropyProblem> kBinaryBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::binary_cross_entropy),
    {"only", reference_declines, reference_binary_cross_entropy_backward},
};
constexpr Implementation<SquaredErrorProblem> kSquaredForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::squared_error),
    {"only", reference_declines, reference_squared_error_forward},
};
constexpr Implementation<SquaredErrorProblem> kSquaredBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::squared_error),
    {"only", reference_declines, reference_squared_error_backward},
};

}  // namespace

void cross_entropy_forward(const CrossEntropyParams& params, ConstView logits, ConstView target,
                           OptionalView class_weights, View loss) {
  dispatch<CrossEntropyProblem>("cross_entropy_forward", kCrossEntropyForward,
                                {Pass::forward, params, logits, target, class_weights, {}, loss});
}

void cross_entropy_backward(const CrossEntropyParams& params, ConstView logits, ConstView target,
                            OptionalView class_weights, ConstView dloss, View dlogits) {
  dispatch<CrossEntropyProblem>("cross_entropy_backward", kCrossEntropyBackward,
                                {Pass::backward, params, logits, target, class_weights, dloss, dlogits});
}

void binary_cross_entropy_forward(const BinaryCrossEntropyParams& params, ConstView logits, ConstView target,
                                  OptionalView pos_weight, View loss) {
  dispatch<BinaryCrossEntropyProblem>("binary_cross_entropy_forward", kBinaryForward,
                                      {Pass::forward, params, logits, target, pos_weight, {}, loss});
}

void binary_cross_entropy_backward(const BinaryCrossEntropyParams& params, ConstView logits, ConstView target,
                                   OptionalView pos_weight, ConstView dloss, View dlogits) {
  dispatch<BinaryCrossEntropyProblem>("binary_cross_entropy_backward", kBinaryBackward,
                                      {Pass::backward, params, logits, target, pos_weight, dloss, dlogits});
}

void squared_error_forward(LossReduction reduction, ConstView x, ConstView target, View loss) {
  dispatch<SquaredErrorProblem>("squared_error_forward", kSquaredForward,
                                {Pass::forward, reduction, x, target, {}, loss});
}

void squared_error_backward(LossReduction reduction, ConstView x, ConstView target, ConstView dloss, View dx) {
  dispatch<SquaredErrorProblem>("squared_error_backward", kSquaredBackward,
                                {Pass::backward, reduction, x, target, dloss, dx});
}

}  // namespace fovea::kernels
