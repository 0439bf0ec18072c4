// Normalisations as their definitions read, sums in double. The oracle for every faster implementation.
// With x̂ = (x − mean)·inv_std, z = gamma·x̂ + beta and g = dy·act'(z):
//   dbeta = Σ g, dgamma = Σ g·x̂, and where the statistics are those of the same m values,
//   dx = inv_std·(gamma·g − mean(gamma·g) − x̂·mean(gamma·g·x̂)); with constant statistics dx = inv_std·gamma·g.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/problems.h"
#include "kernels/reference/activation.h"

namespace fovea::kernels::reference {

/// An optional per-channel operand; `absent` where it is not there.
template <class T>
std::vector<double> channel_values(const OptionalView& view, std::int64_t channels, double absent) {
  std::vector<double> values(static_cast<std::size_t>(channels), absent);
  if (view) {
    const T* from = view->ptr<T>();
    for (std::size_t c = 0; c < values.size(); ++c) values[c] = from[c];
  }
  return values;
}

template <class T>
void store(const std::vector<double>& values, const std::optional<View>& to) {
  if (!to) return;
  T* out = to->ptr<T>();
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = static_cast<T>(values[i]);
}

template <class T>
void batch_norm_forward(const BatchNormProblem& p) {
  const std::int64_t rows = p.rows(), channels = p.channels();
  const auto count = static_cast<std::size_t>(channels);
  const T* x = p.x.ptr<T>();
  std::vector<double> mean(count), variance(count);
  if (p.training) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < count; ++c) mean[c] += x[r * channels + static_cast<std::int64_t>(c)];
    }
    for (double& m : mean) m /= static_cast<double>(rows);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < count; ++c) {
        const double d = x[r * channels + static_cast<std::int64_t>(c)] - mean[c];
        variance[c] += d * d;
      }
    }
    for (double& v : variance) v /= static_cast<double>(rows);
    store<T>(mean, p.mean_out);
    store<T>(variance, p.variance_out);
  } else {
    mean = channel_values<T>(p.mean, channels, 0);
    variance = channel_values<T>(p.variance, channels, 1);
  }
  const std::vector<double> gamma = channel_values<T>(p.gamma, channels, 1),
                            beta = channel_values<T>(p.beta, channels, 0);
  std::vector<double> inv_std(count);
  for (std::size_t c = 0; c < count; ++c) inv_std[c] = 1 / std::sqrt(variance[c] + p.params.epsilon);
  T* y = p.y.ptr<T>();
  parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::size_t c = 0; c < count; ++c) {
        const std::int64_t i = r * channels + static_cast<std::int64_t>(c);
        y[i] = static_cast<T>(activate(p.params.activation, gamma[c] * ((x[i] - mean[c]) * inv_std[c]) + beta[c]));
      }
    }
  });
}

template <class T>
void batch_norm_backward(const BatchNormProblem& p) {
  const std::int64_t rows = p.rows(), channels = p.channels();
  const auto count = static_cast<std::size_t>(channels);
  const T *x = p.x.ptr<T>(), *dy = p.dy.ptr<T>();
  const std::vector<double> gamma = channel_values<T>(p.gamma, channels, 1),
                            beta = channel_values<T>(p.beta, channels, 0);
  const std::vector<double> mean = channel_values<T>(p.mean, channels, 0);
  std::vector<double> inv_std = channel_values<T>(p.variance, channels, 1);
  for (double& v : inv_std) v = 1 / std::sqrt(v + p.params.epsilon);
  const auto normalised = [&](std::int64_t i, std::size_t c) { return (x[i] - mean[c]) * inv_std[c]; };
  const auto through_activation = [&](std::int64_t i, std::size_t c) {
    return dy[i] * derivative(p.params.activation, gamma[c] * normalised(i, c) + beta[c]);
  };

  std::vector<double> dgamma(count), dbeta(count);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < count; ++c) {
      const std::int64_t i = r * channels + static_cast<std::int64_t>(c);
      const double g = through_activation(i, c);
      dbeta[c] += g;
      dgamma[c] += g * normalised(i, c);
    }
  }
  if (p.dx) {  // dx may be dy: every element is read before it is written
    T* dx = p.dx->ptr<T>();
    parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        for (std::size_t c = 0; c < count; ++c) {
          const std::int64_t i = r * channels + static_cast<std::int64_t>(c);
          double g = through_activation(i, c);
          if (p.training) g -= (dbeta[c] + normalised(i, c) * dgamma[c]) / static_cast<double>(rows);
          dx[i] = static_cast<T>(gamma[c] * inv_std[c] * g);
        }
      }
    });
  }
  store<T>(dgamma, p.dgamma);
  store<T>(dbeta, p.dbeta);
}

/// Where the elements of group k lie: `spans` runs of `length` elements, `stride` apart, whose first channel is
/// `channel`.
struct NormGroup {
  std::int64_t first, spans, length, stride, channel;
};

/// Layer norm: one row of the last axis.
inline NormGroup group_at(const LayerNormProblem& p, std::int64_t k) {
  return {k * p.channels(), 1, p.channels(), 0, 0};
}
inline std::int64_t group_count(const LayerNormProblem& p) { return p.rows(); }

/// Group norm: C/groups channels of all pixels of one sample.
inline NormGroup group_at(const GroupNormProblem& p, std::int64_t k) {
  const std::int64_t pixels = p.x.shape[1] * p.x.shape[2], channels = p.channels(), width = channels / p.groups;
  const std::int64_t n = k / p.groups, g = k % p.groups;
  return {n * pixels * channels + g * width, pixels, width, channels, g * width};
}
inline std::int64_t group_count(const GroupNormProblem& p) { return p.x.shape[0] * p.groups; }

/// Calls fn(element, channel) for the elements of a group.
template <class Fn>
void for_each(const NormGroup& g, Fn&& fn) {
  for (std::int64_t s = 0; s < g.spans; ++s) {
    for (std::int64_t c = 0; c < g.length; ++c) fn(g.first + s * g.stride + c, static_cast<std::size_t>(g.channel + c));
  }
}

/// Layer norm and group norm.
template <class T, class Problem>
void group_norm_forward(const Problem& p) {
  const T* x = p.x.template ptr<T>();
  T *y = p.y.template ptr<T>(), *mean_out = p.mean_out.template ptr<T>(),
    *inv_std_out = p.inv_std_out.template ptr<T>();
  const std::vector<double> gamma = channel_values<T>(p.gamma, p.channels(), 1),
                            beta = channel_values<T>(p.beta, p.channels(), 0);
  parallel_for(group_count(p), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const NormGroup group = group_at(p, k);
      const auto count = static_cast<double>(group.spans * group.length);
      double mean = 0, variance = 0;
      for_each(group, [&](std::int64_t i, std::size_t) { mean += x[i]; });
      mean /= count;
      for_each(group, [&](std::int64_t i, std::size_t) { variance += (x[i] - mean) * (x[i] - mean); });
      variance /= count;
      const double inv_std = 1 / std::sqrt(variance + p.epsilon);
      for_each(group, [&](std::int64_t i, std::size_t c) {
        y[i] = static_cast<T>(gamma[c] * ((x[i] - mean) * inv_std) + beta[c]);
      });
      mean_out[k] = static_cast<T>(mean);
      inv_std_out[k] = static_cast<T>(inv_std);
    }
  });
}

template <class T, class Problem>
void group_norm_backward(const Problem& p) {
  const T *x = p.x.template ptr<T>(), *dy = p.dy.template ptr<T>();
  const T *means = p.mean.template ptr<T>(), *inv_stds = p.inv_std.template ptr<T>();
  const auto channels = static_cast<std::size_t>(p.channels());
  const std::vector<double> gamma = channel_values<T>(p.gamma, p.channels(), 1);
  std::vector<double> dgamma(channels), dbeta(channels);
  for (std::int64_t k = 0; k < group_count(p); ++k) {  // before dx, which may be dy
    for_each(group_at(p, k), [&](std::int64_t i, std::size_t c) {
      dbeta[c] += dy[i];
      dgamma[c] += dy[i] * ((static_cast<double>(x[i]) - means[k]) * inv_stds[k]);
    });
  }
  T* dx = p.dx.template ptr<T>();
  parallel_for(group_count(p), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const NormGroup group = group_at(p, k);
      const auto count = static_cast<double>(group.spans * group.length);
      const double inv_std = inv_stds[k];
      const auto normalised = [&](std::int64_t i) { return (static_cast<double>(x[i]) - means[k]) * inv_std; };
      double sum = 0, sum_normalised = 0;
      for_each(group, [&](std::int64_t i, std::size_t c) {
        sum += gamma[c] * dy[i];
        sum_normalised += gamma[c] * dy[i] * normalised(i);
      });
      for_each(group, [&](std::int64_t i, std::size_t c) {
        dx[i] = static_cast<T>(inv_std * (gamma[c] * dy[i] - (sum + normalised(i) * sum_normalised) / count));
      });
    }
  });
  store<T>(dgamma, p.dgamma);
  store<T>(dbeta, p.dbeta);
}

/// The steps of batch norm whose batch lies in parts.
template <class T>
void batch_parts(const BatchPartsProblem& p) {
  const auto channels = static_cast<std::size_t>(p.channels());
  if (p.step == BatchPartsProblem::Step::moments) {
    const auto rows = static_cast<double>(p.rows);
    double* const sums = p.sums_out.ptr<double>();
    for (std::size_t c = 0; c < channels; ++c) {
      const double mean = p.rows > 0 ? p.mean.ptr<T>()[c] : 0, variance = p.rows > 0 ? p.variance.ptr<T>()[c] : 0;
      sums[c] = rows * mean;
      sums[channels + c] = rows * (variance + mean * mean);
    }
    sums[2 * channels] = rows;
    return;
  }
  if (p.step == BatchPartsProblem::Step::statistics) {
    // In double the difference loses nothing that f32 has.
    const double* const sums = p.sums.ptr<double>();
    const double rows = sums[2 * channels];
    for (std::size_t c = 0; c < channels; ++c) {
      const double mean = sums[c] / rows;
      p.mean_out.ptr<T>()[c] = static_cast<T>(mean);
      p.variance_out.ptr<T>()[c] = static_cast<T>(std::max(0.0, sums[channels + c] / rows - mean * mean));
    }
    return;
  }
  // dx += a·(x − mean) + b by channel.
  const T *const mean = p.mean.ptr<T>(), *const variance = p.variance.ptr<T>(), *const sums = p.sums.ptr<T>();
  const std::vector<double> gamma = channel_values<T>(p.gamma, p.channels(), 1);
  std::vector<T> a(channels), b(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const double inverse = 1 / std::sqrt(variance[c] + p.epsilon),
                 scale = gamma[c] * inverse / static_cast<double>(p.rows);
    a[c] = static_cast<T>(-scale * inverse * sums[c]);
    b[c] = static_cast<T>(-scale * sums[channels + c]);
  }
  const T* const x = p.x.ptr<T>();
  T* const dx = p.dx.ptr<T>();
  const std::int64_t width = p.channels();
  parallel_for(p.x.numel() / width, std::max<std::int64_t>(1, 16384 / width),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t r = begin; r < end; ++r) {
                   const T* const from = x + r * width;
                   T* const to = dx + r * width;
                   for (std::size_t c = 0; c < channels; ++c) to[c] += a[c] * (from[c] - mean[c]) + b[c];
                 }
               });
}

}  // namespace fovea::kernels::reference
