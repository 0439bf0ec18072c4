// Operands for tests of layers: seeded, and where asked for away from kinks and ties.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"
#include "core/threads/parallel.h"

namespace fovea::test {

/// For sweeps of tiny problems: a second thread costs more than it brings, and far more on a busy machine.
struct OneThread {
  int before = num_threads();
  OneThread() { set_num_threads(1); }
  ~OneThread() { set_num_threads(before); }
};

/// Uniform in [low, high), f64.
inline Tensor random(const Shape& shape, std::string_view name, double low = -1, double high = 1) {
  Rng rng(7, name);
  Tensor t(shape, DType::f64);
  double* out = t.mutable_data<double>();
  for (std::int64_t i = 0; i < t.numel(); ++i) out[i] = rng.uniform(low, high);
  return t;
}

/// Uniform in [-5, 8), at least 0.05 from each kink of any activation (-3, 0, 3, 6).
inline Tensor off_kinks(const Shape& shape, std::string_view name) {
  Tensor t = random(shape, name, -5, 8);
  double* out = t.mutable_data<double>();
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    for (const double kink : {-3.0, 0.0, 3.0, 6.0}) {
      if (std::fabs(out[i] - kink) < 0.05) out[i] = kink + (out[i] < kink ? -0.05 : 0.05);
    }
  }
  return t;
}

/// Values 0.01 apart in random order: no ties.
inline Tensor distinct(const Shape& shape, std::string_view name) {
  Tensor t(shape, DType::f64);
  double* out = t.mutable_data<double>();
  const std::int64_t count = t.numel();
  for (std::int64_t i = 0; i < count; ++i) out[i] = 0.01 * static_cast<double>(i - count / 2);
  Rng rng(7, name);
  for (std::int64_t i = count - 1; i > 0; --i) std::swap(out[i], out[rng.below(static_cast<std::uint64_t>(i + 1))]);
  return t;
}

/// Class indices below `classes`.
inline Tensor labels(const Shape& shape, std::int64_t classes, std::string_view name) {
  Rng rng(7, name);
  Tensor t(shape, DType::i64);
  std::int64_t* out = t.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < t.numel(); ++i)
    out[i] = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(classes)));
  return t;
}

/// The largest |a − b| divided by the largest |b| (or 1e-30), infinite for NaN or unlike shapes.
inline double relative_difference(const Tensor& a, const Tensor& b) {
  if (a.numel() != b.numel()) return INFINITY;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double difference = 0, largest = 1e-30;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::fabs(x[i] - y[i]);
    if (!(d < INFINITY)) return INFINITY;
    difference = std::max(difference, d);
    largest = std::max(largest, std::fabs(y[i]));
  }
  return difference / largest;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && a.to_vector<double>() == b.to_vector<double>();
}

}  // namespace fovea::test
