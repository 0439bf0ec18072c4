// Results of whole networks that reference data hold: comparing tensors, and activations of which only a sample and a
// checksum are stored (shared/golden/README.md says which).
#pragma once

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "catch.h"
#include "core/io/safetensors.h"
#include "models/trace.h"
#include "models/weights/formula.h"

namespace fovea {

/// {0, 1, n−2, n−1}, all where there are at most 4.
inline std::vector<std::int64_t> ends(std::int64_t n) {
  if (n > 4) return {0, 1, n - 2, n - 1};
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

struct Sampled {
  std::vector<float> values;
  double largest = 0, mean = 0, deviation = 0, probe = 0;
};

inline Sampled sample(const Tensor& t) {
  const bool vector = t.rank() == 2;
  const std::int64_t h = vector ? 1 : t.dim(1), w = vector ? 1 : t.dim(2), c = t.dim(-1);
  const float* p = t.data<float>();
  Sampled s;
  for (const std::int64_t y : ends(h)) {
    for (const std::int64_t x : ends(w)) {
      const std::int64_t count = std::min<std::int64_t>(c, 64);
      for (std::int64_t k = 0; k < count; ++k) s.values.push_back(p[(y * w + x) * c + (c > 64 ? k * c / 64 : k)]);
    }
  }
  double sum = 0, squares = 0;
  for (std::int64_t j = 0; j < t.numel(); ++j) {
    const double v = p[j];
    s.largest = std::max(s.largest, std::abs(v));
    sum += v;
    squares += v * v;
    s.probe += v * (2 * weights::formula_uniform("probe", static_cast<std::uint64_t>(j)) - 1);
  }
  const auto n = static_cast<double>(t.numel());
  s.mean = sum / n;
  s.deviation = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  return s;
}

inline double greatest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  REQUIRE(x.size() == y.size());
  double most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    if (!(d <= most)) most = d;  // NaN counts
  }
  return most;
}

/// At the tolerances of the README; `wanted` lists names and checksums.
inline void check_activations(const models::Trace& trace, const nlohmann::json& wanted, const Safetensors& golden,
                              const std::string& what) {
  std::map<std::string, Tensor> activations(trace.activations.begin(), trace.activations.end());
  for (const nlohmann::json& act : wanted) {
    const std::string name = act["name"].get<std::string>();
    INFO(what << " " << name);
    REQUIRE(activations.contains(name));
    const Sampled ours = sample(activations[name]);
    const std::vector<float> theirs = golden.find("act/" + name).to_vector<float>();
    REQUIRE(ours.values.size() == theirs.size());
    double most = 0;
    for (std::size_t i = 0; i < theirs.size(); ++i)
      most = std::max(most, std::abs(static_cast<double>(ours.values[i]) - static_cast<double>(theirs[i])));
    CHECK(most <= 2e-4 * ours.largest);
    const auto n = static_cast<double>(activations[name].numel());
    CHECK(std::abs(ours.probe - act["probe"].get<double>()) <= 1e-4 * ours.deviation * std::sqrt(n));
  }
}

}  // namespace fovea
