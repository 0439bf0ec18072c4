// The privacy accountant against Opacus' numbers, and against its definition integrated numerically.
#include <cmath>

#include "catch.h"
#include "core/error.h"
#include "train/privacy/accountant.h"

using namespace fovea;

namespace {

/// log ∫ μ₀(z)·((1 − q) + q·e^((2z − 1)/2σ²))^α dz by the trapezoidal rule, whose error for such integrands falls
/// faster than any power of the step.
double integrated(double q, double sigma, double order) {
  const double low = -40 * sigma, high = order + 40 * sigma, step = sigma / 50;
  double largest = -1e300;
  const auto log_integrand = [&](double z) {
    const double ratio = (2 * z - 1) / (2 * sigma * sigma);
    // log((1 − q) + q·e^ratio) without overflow.
    const double a = std::log1p(-q), b = std::log(q) + ratio;
    const double mix = std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
    return -z * z / (2 * sigma * sigma) - std::log(sigma * std::sqrt(2 * 3.14159265358979323846)) + order * mix;
  };
  for (double z = low; z <= high; z += step) largest = std::max(largest, log_integrand(z));
  double sum = 0;
  for (double z = low; z <= high; z += step) sum += std::exp(log_integrand(z) - largest);
  return (largest + std::log(sum * step)) / (order - 1);
}

}  // namespace

TEST_CASE("accountant: divergences are the integral that defines them, for whole and broken orders") {
  for (const double q : {0.001, 0.01, 0.2, 0.7}) {
    for (const double sigma : {0.6, 1.0, 2.5, 8.0}) {
      for (const double order : {1.1, 1.5, 2.0, 2.5, 3.7, 8.0, 10.9, 32.0, 33.5}) {
        INFO("q " << q << ", noise " << sigma << ", order " << order);
        const double want = integrated(q, sigma, order);
        // The integral's own rounding is 1e-15 of a moment near 1.
        CHECK(renyi_divergence(q, sigma, order) == Approx(want).epsilon(1e-6).margin(1e-13));
      }
    }
  }
  CHECK(renyi_divergence(1, 2, 5) == Approx(5 / 8.0));  // the Gaussian mechanism
  CHECK(renyi_divergence(0, 2, 5) == 0);
  CHECK(std::isinf(renyi_divergence(0.1, 0, 5)));
}

TEST_CASE("accountant: epsilon is that of Opacus' RDPAccountant") {
  // tests/interop/opacus_epsilon.py, Opacus 1.6.0.
  struct {
    double rate, noise;
    std::int64_t steps;
    double delta, epsilon;
  } const cases[] = {{256.0 / 60000, 1.1, 14040, 1e-5, 2.594363354953112},
                     {0.01, 1.0, 1000, 1e-5, 2.1013652716430564},
                     {600.0 / 60000, 4.0, 10000, 1e-5, 1.0354900660362476},
                     {0.1, 0.7, 100, 1e-4, 14.306228308460406},
                     {1.0, 8.0, 50, 1e-6, 4.5435917573482305},
                     {0.004, 0.6, 2000, 1e-5, 5.408239625632232}};
  for (const auto& c : cases) {
    RdpAccountant accountant;
    accountant.add(c.rate, c.noise, c.steps);
    INFO("rate " << c.rate << ", noise " << c.noise << ", steps " << c.steps);
    // The same formula at the same orders: 1e-6 where 1 % was asked for.
    CHECK(accountant.spent(c.delta).epsilon == Approx(c.epsilon).epsilon(1e-6));
  }
}

TEST_CASE("accountant: steps add up, whatever their order, and noise is found for an epsilon") {
  RdpAccountant a, b;
  CHECK(a.spent(1e-5).epsilon == 0);
  a.add(0.01, 1, 300);
  a.add(0.02, 2, 100);
  for (int i = 0; i < 100; ++i) b.add(0.02, 2);
  for (int i = 0; i < 300; ++i) b.add(0.01, 1);
  CHECK(a.steps() == 400);
  CHECK(a.spent(1e-5).epsilon == Approx(b.spent(1e-5).epsilon).epsilon(1e-12));
  RdpAccountant first;
  first.add(0.01, 1, 300);
  CHECK(a.spent(1e-5).epsilon > first.spent(1e-5).epsilon);
  CHECK(a.spent(1e-5).epsilon < a.spent(1e-6).epsilon);

  for (const double epsilon : {0.5, 3.0, 8.0}) {
    const double noise = noise_for_epsilon(epsilon, 1e-5, 0.01, 2000);
    RdpAccountant within, beyond;
    within.add(0.01, noise, 2000);
    beyond.add(0.01, noise * 0.995, 2000);
    CHECK(within.spent(1e-5).epsilon <= epsilon);
    CHECK(beyond.spent(1e-5).epsilon > epsilon);
  }
  CHECK_THROWS_AS(a.spent(0), Error);
  CHECK_THROWS_AS(a.add(1.5, 1), Error);
  CHECK_THROWS_AS(a.add(0.5, -1), Error);
  CHECK_THROWS_AS(renyi_divergence(0.5, 1, 1), Error);
  CHECK_THROWS_AS(noise_for_epsilon(0, 1e-5, 0.01, 10), Error);
  CHECK_THROWS_AS(noise_for_epsilon(1e-9, 1e-12, 1, 1000000), Error);
}
