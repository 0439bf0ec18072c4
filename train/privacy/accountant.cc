#include "train/privacy/accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace fovea {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void require(bool good, std::string_view what, std::string_view hint = {}) {
  if (!good) throw Error(ErrorKind::usage, "privacy accountant", what, hint);
}

/// Opacus' orders (1.1 to 10.9, 12 to 63) and some above, where the bound is tightest for very small ε.
const std::vector<double>& orders() {
  static const std::vector<double> list = [] {
    std::vector<double> v;
    for (int i = 1; i < 100; ++i) v.push_back(1 + i / 10.0);
    for (int i = 12; i < 64; ++i) v.push_back(i);
    for (const double large : {80.0, 96.0, 128.0, 192.0, 256.0, 512.0}) v.push_back(large);
    return v;
  }();
  return list;
}

double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == -kInfinity ? a : a + std::log1p(std::exp(b - a));
}

/// log of the standard normal's distribution function; erfc() underflows below -37.
double log_normal_cdf(double x) {
  if (x > -30) return std::log(0.5 * std::erfc(-x / std::sqrt(2.0)));
  const double s = 1 / (x * x);
  return -0.5 * x * x - std::log(-x) - 0.5 * std::log(2 * 3.14159265358979323846) +
         std::log1p(-s * (1 - 3 * s * (1 - 5 * s)));
}

/// log E[((1 − q) + q·μ₁/μ₀)^α] over μ₀ = N(0, σ²), with μ₁ = N(1, σ²): the binomial formula is a finite sum.
double log_moment_integer(double q, double sigma, int order) {
  double sum = -kInfinity, log_choose = 0;
  for (int k = 0; k <= order; ++k) {
    sum = log_add(sum, log_choose + k * std::log(q) + (order - k) * std::log1p(-q) +
                           (static_cast<double>(k) * k - k) / (2 * sigma * sigma));
    log_choose += std::log(static_cast<double>(order - k)) - std::log(k + 1.0);
  }
  return sum;
}

/// The same for any order: below z₀, where (1 − q)·μ₀ = q·μ₁, the binomial series in q·μ₁/((1 − q)·μ₀) converges, above
/// it that of the inverse. Terms fall like i^-(α+2), with signs that alternate beyond α.
double log_moment_fractional(double q, double sigma, double order) {
  const double variance = sigma * sigma, log_q = std::log(q), log_p = std::log1p(-q);
  const double z0 = variance * (log_p - log_q) + 0.5;
  double positive = -kInfinity, negative = -kInfinity;
  double log_choose = 0;  // of |order over i|
  bool minus = false;
  for (int i = 0; i < 1000000; ++i) {
    const double j = order - i;
    const double below = log_choose + i * log_q + j * log_p + (static_cast<double>(i) * i - i) / (2 * variance) +
                         log_normal_cdf((z0 - i) / sigma);
    const double above =
        log_choose + j * log_q + i * log_p + (j * j - j) / (2 * variance) + log_normal_cdf((j - z0) / sigma);
    double& sum = minus ? negative : positive;
    sum = log_add(sum, log_add(below, above));
    if (i > order && std::max(below, above) < positive - 34) break;  // below the last bit
    log_choose += std::log(std::abs(j)) - std::log(i + 1.0);
    if (j < 0) minus = !minus;
  }
  return negative == -kInfinity ? positive : positive + std::log1p(-std::exp(negative - positive));
}

}  // namespace

double renyi_divergence(double q, double noise, double order) {
  require(q >= 0 && q <= 1, str("the sampling rate is ", q), "a probability: expected batch size over pictures");
  require(noise >= 0 && std::isfinite(noise), str("the noise is ", noise), "at least 0");
  require(order > 1 && std::isfinite(order), str("the order is ", order), "above 1");
  if (q == 0) return 0;
  if (noise == 0) return kInfinity;
  if (q == 1) return order / (2 * noise * noise);
  const bool whole = order == std::floor(order) && order < 1 << 20;
  const double log_moment =
      whole ? log_moment_integer(q, noise, static_cast<int>(order)) : log_moment_fractional(q, noise, order);
  return std::max(0.0, log_moment / (order - 1));
}

void RdpAccountant::add(double sampling_rate, double noise, std::int64_t steps) {
  require(steps >= 0, str("the number of steps is ", steps));
  if (parts_.empty() || parts_.back().sampling_rate != sampling_rate || parts_.back().noise != noise) {
    Part part{sampling_rate, noise, 0, {}};
    for (const double order : orders()) part.divergences.push_back(renyi_divergence(sampling_rate, noise, order));
    parts_.push_back(std::move(part));
  }
  parts_.back().steps += steps;
  steps_ += steps;
}

PrivacySpent RdpAccountant::spent(double delta) const {
  require(delta > 0 && delta < 1, str("delta is ", delta), "in (0, 1), and well below 1/(number of pictures)");
  if (steps_ == 0) return {};
  PrivacySpent best{kInfinity, 0};
  for (std::size_t i = 0; i < orders().size(); ++i) {
    const double order = orders()[i];
    double sum = 0;
    for (const Part& part : parts_) {
      if (part.steps > 0) sum += static_cast<double>(part.steps) * part.divergences[i];
    }
    const double epsilon = sum + std::log1p(-1 / order) - (std::log(delta) + std::log(order)) / (order - 1);
    if (epsilon < best.epsilon) best = {epsilon, order};
  }
  best.epsilon = std::max(0.0, best.epsilon);
  return best;
}

double noise_for_epsilon(double epsilon, double delta, double sampling_rate, std::int64_t steps) {
  require(epsilon > 0 && std::isfinite(epsilon), str("epsilon is ", epsilon), "above 0; 1 to 10 are usual");
  require(steps > 0, str("the number of steps is ", steps));
  const auto enough = [&](double noise) {
    RdpAccountant accountant;
    accountant.add(sampling_rate, noise, steps);
    return accountant.spent(delta).epsilon <= epsilon;
  };
  double low = 0, high = 1;
  while (!enough(high)) {
    low = high;
    high *= 2;
    require(high <= 10000, str("no noise keeps ", steps, " steps at rate ", sampling_rate, " within epsilon ", epsilon),
            "fewer epochs, smaller batches, or a larger epsilon");
  }
  // Below a noise of about 0.1 the series take very long, and ε is in the thousands: nothing is protected there.
  low = std::max(low, 0.1);
  while (high - low > 0.001 * low) {
    const double middle = (low + high) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace fovea
