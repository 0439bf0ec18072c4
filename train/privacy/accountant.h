// How much privacy a series of noisy steps has cost: Rényi differential privacy of the Gaussian mechanism on Poisson
// samples, and what that means as (ε, δ).
//
// Two data sets are neighbours when one has a picture that the other has not. A training run is (ε, δ)-private when no
// event is more than e^ε times as probable, δ aside, on one as on the other: whoever sees the model learns hardly more
// about a picture than if it had not been there.
#pragma once

#include <cstdint>
#include <vector>

#include "core/export.h"

namespace fovea {

/// Rényi divergence of order `order` of one step: Gaussian noise of standard deviation noise · (largest norm) on the
/// sum over a sample that each picture joins with probability sampling_rate (Mironov, Talwar and Zhang 2019, "Rényi
/// differential privacy of the sampled Gaussian mechanism": equation 30 for integer orders, section 3.3 for others).
/// Error{usage} unless 0 ≤ sampling_rate ≤ 1, noise ≥ 0 and order > 1. Infinite without noise.
FOVEA_API double renyi_divergence(double sampling_rate, double noise, double order);

struct PrivacySpent {
  double epsilon = 0;
  double order = 0;  ///< at which the bound is tightest; 0 before the first step
};

/// Adds up steps. Divergences of one order add; ε is the least over 157 orders of the bound of Canonne, Kamath and
/// Steinke 2020 (proposition 12), ε = r + log(1 − 1/α) − (log δ + log α)/(α − 1), as in Opacus, TensorFlow Privacy and
/// dp-accounting.
class FOVEA_API RdpAccountant {
 public:
  /// Error{usage} as renyi_divergence(); steps at least 0.
  void add(double sampling_rate, double noise, std::int64_t steps = 1);
  /// Error{usage} unless 0 < delta < 1.
  PrivacySpent spent(double delta) const;
  std::int64_t steps() const { return steps_; }

 private:
  struct Part {
    double sampling_rate, noise;
    std::int64_t steps;
    std::vector<double> divergences;  // of one step, by order
  };
  std::vector<Part> parts_;
  std::int64_t steps_ = 0;
};

/// The least noise, to 0.1 %, with which so many steps stay within epsilon at delta. Error{usage} for values out of
/// range, or where even a noise of 10 000 is too little.
FOVEA_API double noise_for_epsilon(double epsilon, double delta, double sampling_rate, std::int64_t steps);

}  // namespace fovea
