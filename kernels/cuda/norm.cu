// Batch, layer and group norm. Batch norm reads x twice forward and x and dy twice backward; sums go on in double from
// short runs (reduce-inl.h) of values shifted by the channel's first, so that a large mean costs no digits of the
// variance.
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/activation-inl.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"

namespace fovea::kernels::cuda {
namespace {

template <class S>
void run_batch_forward(const BatchNormProblem& p) {
  using T = Computing<S>;
  const std::int64_t rows = p.rows(), channels = p.channels();
  const int device = p.x.device.index;
  const Read<S> x(p.x);
  const T *const gamma = optional_ptr<T>(p.gamma), *const beta = optional_ptr<T>(p.beta);
  S* const y = p.y.ptr<S>();
  const T *mean = nullptr, *variance = nullptr;
  if (p.training) {
    T *const mean_out = p.mean_out.ptr<T>(), *const variance_out = p.variance_out.ptr<T>();
    reduce_columns<T, 2>(
        "batch_norm statistics", 1, rows, channels,
        [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t c, T(&terms)[2]) {
          const T d = x[row * channels + c] - x[c];
          terms[0] = d;
          terms[1] = d * d;
        },
        [=] FOVEA_LAMBDA(std::int64_t c, const double(&sums)[2]) {
          const double shifted = sums[0] / static_cast<double>(rows), square = sums[1] / static_cast<double>(rows);
          const double v = square - shifted * shifted;
          mean_out[c] = static_cast<T>(static_cast<double>(x[c]) + shifted);
          variance_out[c] = static_cast<T>(v < 0 ? 0.0 : v);
        },
        device);
    mean = mean_out;
    variance = variance_out;
  } else {
    mean = p.mean.ptr<T>();
    variance = p.variance.ptr<T>();
  }
  const Activation kind = p.params.activation.kind;
  const T alpha = static_cast<T>(p.params.activation.alpha), epsilon = static_cast<T>(p.params.epsilon);
  for_each_rows(
      "batch_norm", rows, channels,
      [=] FOVEA_LAMBDA(std::int64_t c, std::int64_t at, int count) {
        const T m = mean[c], inv_std = T(1) / std::sqrt(variance[c] + epsilon), scale = gamma ? gamma[c] : T(1),
                shift = beta ? beta[c] : T(0);
        T values[kRowsTogether];
        for (int k = 0; k < kRowsTogether; ++k) values[k] = k < count ? x[at + k * channels] : T(0);
        for (int k = 0; k < kRowsTogether; ++k) {
          const T normalised = (values[k] - m) * inv_std;
          if (k < count) y[at + k * channels] = narrowed<S>(activate(kind, alpha, scale * normalised + shift));
        }
      },
      device);
}

template <class S>
void run_batch_backward(const BatchNormProblem& p) {
  using T = Computing<S>;
  const std::int64_t rows = p.rows(), channels = p.channels();
  const int device = p.x.device.index;
  const Read<S> x(p.x), dy(p.dy);
  const T *const gamma = optional_ptr<T>(p.gamma), *const beta = optional_ptr<T>(p.beta);
  const T *const mean = p.mean.ptr<T>(), *const variance = p.variance.ptr<T>();
  T *const dgamma = optional_ptr<T>(p.dgamma), *const dbeta = optional_ptr<T>(p.dbeta);
  const Activation kind = p.params.activation.kind;
  const T alpha = static_cast<T>(p.params.activation.alpha), epsilon = static_cast<T>(p.params.epsilon);
  const bool training = p.training;
  // Σg and Σg·x̂ per channel, as means.
  const Scratch means(static_cast<std::size_t>(2 * channels) * sizeof(T), device);
  T *const mean_g = means.as<T>(), *const mean_gx = mean_g + channels;
  if (training || dgamma || dbeta) {
    reduce_columns<T, 2>(
        "batch_norm sums", 1, rows, channels,
        [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t c, T(&terms)[2]) {
          const std::int64_t i = row * channels + c;
          const T normalised = (x[i] - mean[c]) * (T(1) / std::sqrt(variance[c] + epsilon));
          const T g = dy[i] * derivative(kind, alpha, (gamma ? gamma[c] : T(1)) * normalised + (beta ? beta[c] : T(0)));
          terms[0] = g;
          terms[1] = g * normalised;
        },
        [=] FOVEA_LAMBDA(std::int64_t c, const double(&sums)[2]) {
          mean_g[c] = static_cast<T>(sums[0] / static_cast<double>(rows));
          mean_gx[c] = static_cast<T>(sums[1] / static_cast<double>(rows));
          if (dbeta) dbeta[c] = static_cast<T>(sums[0]);
          if (dgamma) dgamma[c] = static_cast<T>(sums[1]);
        },
        device);
  }
  if (!p.dx) return;
  S* const dx = p.dx->ptr<S>();  // may be dy: a thread reads its elements before it writes them
  for_each_rows(
      "batch_norm_backward", rows, channels,
      [=] FOVEA_LAMBDA(std::int64_t c, std::int64_t at, int count) {
        const T m = mean[c], inv_std = T(1) / std::sqrt(variance[c] + epsilon), scale = gamma ? gamma[c] : T(1),
                shift = beta ? beta[c] : T(0), by = scale * inv_std;
        const T g_mean = training ? mean_g[c] : T(0), gx_mean = training ? mean_gx[c] : T(0);
        T values[kRowsTogether], gradients[kRowsTogether];
        for (int k = 0; k < kRowsTogether; ++k) {
          values[k] = k < count ? x[at + k * channels] : T(0);
          gradients[k] = k < count ? dy[at + k * channels] : T(0);
        }
        for (int k = 0; k < kRowsTogether; ++k) {
          const T normalised = (values[k] - m) * inv_std;
          T g = gradients[k] * derivative(kind, alpha, scale * normalised + shift);
          if (training) g -= g_mean + normalised * gx_mean;
          if (k < count) dx[at + k * channels] = narrowed<S>(by * g);
        }
      },
      device);
}

/// Which elements share their statistics: `spans` runs of `length` elements, `stride` apart. Of layer norm one row
/// each, of group norm some channels of all pixels of a sample.
struct Groups {
  std::int64_t groups, spans, length, channels;

  FOVEA_HD std::int64_t count() const { return spans * length; }
  /// Flat index and channel of a group's k-th element.
  FOVEA_HD void at(std::int64_t group, std::int64_t k, std::int64_t& index, std::int64_t& channel) const {
    const Divided of_sample(group, groups), span(k, length);
    channel = of_sample.rest * length + span.rest;
    index = (of_sample.quotient * spans + span.quotient) * channels + channel;
  }
  /// The group of a row (pixel, or row of layer norm) and channel.
  FOVEA_HD std::int64_t of(std::int64_t row, std::int64_t channel) const {
    return divide(row, spans) * groups + divide(channel, length);
  }
};
Groups groups_of(const LayerNormProblem& p) { return {1, 1, p.channels(), p.channels()}; }
Groups groups_of(const GroupNormProblem& p) {
  return {p.groups, p.x.shape[1] * p.x.shape[2], p.channels() / p.groups, p.channels()};
}
std::int64_t group_count(const LayerNormProblem& p) { return p.rows(); }
std::int64_t group_count(const GroupNormProblem& p) { return p.x.shape[0] * p.groups; }

/// A block per group: its mean, then its variance about it, then the results.
template <class T>
struct GroupForward {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads];
    double mean, inv_std;
  };
  struct Thread {};
  Groups groups;
  double epsilon;
  const T *x, *gamma, *beta;
  T *y, *mean_out, *inv_std_out;

  FOVEA_HD int phases() const { return 2 * BlockTotal::kSteps + 5; }
  FOVEA_HD void phase(int p, std::int64_t group, int thread, Shared& s, Thread&) const {
    const std::int64_t count = groups.count();
    std::int64_t i, c;
    if (p == 0) {
      double sum = 0;
      for (std::int64_t k = thread; k < count; k += kThreads) {
        groups.at(group, k, i, c);
        sum += static_cast<double>(x[i]);
      }
      s.values[thread] = sum;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::sum>(p - 1, thread, s.values);
    } else if (p == BlockTotal::kSteps + 1) {
      if (thread == 0) s.mean = s.values[0] / static_cast<double>(count);
    } else if (p == BlockTotal::kSteps + 2) {
      double sum = 0;
      for (std::int64_t k = thread; k < count; k += kThreads) {
        groups.at(group, k, i, c);
        const double d = static_cast<double>(x[i]) - s.mean;
        sum += d * d;
      }
      s.values[thread] = sum;
    } else if (p <= 2 * BlockTotal::kSteps + 2) {
      BlockTotal::step<Combine::sum>(p - BlockTotal::kSteps - 3, thread, s.values);
    } else if (p == 2 * BlockTotal::kSteps + 3) {
      if (thread == 0) {
        s.inv_std = 1 / std::sqrt(s.values[0] / static_cast<double>(count) + epsilon);
        mean_out[group] = static_cast<T>(s.mean);
        inv_std_out[group] = static_cast<T>(s.inv_std);
      }
    } else {
      const T mean = static_cast<T>(s.mean), inv_std = static_cast<T>(s.inv_std);
      for (std::int64_t k = thread; k < count; k += kThreads) {
        groups.at(group, k, i, c);
        y[i] = (gamma ? gamma[c] : T(1)) * ((x[i] - mean) * inv_std) + (beta ? beta[c] : T(0));
      }
    }
  }
};

/// A block per group: the two sums of its gradients, then dx.
template <class T>
struct GroupBackward {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double sum[kThreads], dot[kThreads];
  };
  struct Thread {};
  Groups groups;
  const T *x, *dy, *gamma, *mean, *inv_std;
  T* dx;

  FOVEA_HD int phases() const { return BlockTotal::kSteps + 2; }
  FOVEA_HD void phase(int p, std::int64_t group, int thread, Shared& s, Thread&) const {
    const std::int64_t count = groups.count();
    std::int64_t i, c;
    const T m = mean[group], inv = inv_std[group];
    if (p == 0) {
      double sum = 0, dot = 0;
      for (std::int64_t k = thread; k < count; k += kThreads) {
        groups.at(group, k, i, c);
        const double g = static_cast<double>((gamma ? gamma[c] : T(1)) * dy[i]);
        sum += g;
        dot += g * static_cast<double>((x[i] - m) * inv);
      }
      s.sum[thread] = sum;
      s.dot[thread] = dot;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::sum>(p - 1, thread, s.sum);
      BlockTotal::step<Combine::sum>(p - 1, thread, s.dot);
    } else {
      const T sum = static_cast<T>(s.sum[0] / static_cast<double>(count)),
              dot = static_cast<T>(s.dot[0] / static_cast<double>(count));
      for (std::int64_t k = thread; k < count; k += kThreads) {
        groups.at(group, k, i, c);
        dx[i] = inv * ((gamma ? gamma[c] : T(1)) * dy[i] - sum - (x[i] - m) * inv * dot);
      }
    }
  }
};

template <class T, class Problem>
void run_group_forward(const Problem& p) {
  run_blocks(
      "group_norm", group_count(p),
      GroupForward<T>{groups_of(p), p.epsilon, p.x.template ptr<T>(), optional_ptr<T>(p.gamma), optional_ptr<T>(p.beta),
                      p.y.template ptr<T>(), p.mean_out.template ptr<T>(), p.inv_std_out.template ptr<T>()},
      p.x.device.index);
}

template <class T>
void parameter_gradients(const Groups& groups, std::int64_t rows, const T* x, const T* dy, const T* mean,
                         const T* inv_std, T* dgamma, T* dbeta, int device) {
  const std::int64_t channels = groups.channels;
  reduce_columns<T, 2>(
      "group_norm sums", 1, rows, channels,
      [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t c, T(&terms)[2]) {
        const std::int64_t i = row * channels + c, group = groups.of(row, c);
        terms[0] = dy[i];
        terms[1] = dy[i] * ((x[i] - mean[group]) * inv_std[group]);
      },
      [=] FOVEA_LAMBDA(std::int64_t c, const double(&sums)[2]) {
        if (dbeta) dbeta[c] = static_cast<T>(sums[0]);
        if (dgamma) dgamma[c] = static_cast<T>(sums[1]);
      },
      device);
}

template <class T, class Problem>
void run_group_backward(const Problem& p) {
  const Groups groups = groups_of(p);
  const int device = p.x.device.index;
  const T *const x = p.x.template ptr<T>(), *const dy = p.dy.template ptr<T>(), *const mean = p.mean.template ptr<T>(),
                 *const inv_std = p.inv_std.template ptr<T>();
  if (p.dgamma || p.dbeta) {  // before dx, which may be dy
    parameter_gradients<T>(groups, p.x.numel() / groups.channels, x, dy, mean, inv_std, optional_ptr<T>(p.dgamma),
                           optional_ptr<T>(p.dbeta), device);
  }
  run_blocks("group_norm_backward", group_count(p),
             GroupBackward<T>{groups, x, dy, optional_ptr<T>(p.gamma), mean, inv_std, p.dx.template ptr<T>()}, device);
}

}  // namespace

void batch_norm_forward(const BatchNormProblem& p) {
  by_storage(p.x.dtype, [&](auto t) { run_batch_forward<decltype(t)>(p); });
}
void batch_norm_backward(const BatchNormProblem& p) {
  by_storage(p.x.dtype, [&](auto t) { run_batch_backward<decltype(t)>(p); });
}
void layer_norm_forward(const LayerNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_group_forward<decltype(t)>(p); });
}
void layer_norm_backward(const LayerNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_group_backward<decltype(t)>(p); });
}
void group_norm_forward(const GroupNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_group_forward<decltype(t)>(p); });
}
void group_norm_backward(const GroupNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { run_group_backward<decltype(t)>(p); });
}

}  // namespace fovea::kernels::cuda
