// Comparison of fast implementations with the reference run in double. Results must lie within c·ε·m of it, where ε =
// 2⁻²³ and m is what the rounding errors of a sum scale with: Σ|x·w| for convolutions, the like elsewhere; each test
// states its c. Operands of the fast run lie between margins of NaN: a kernel that reads a neighbour and multiplies it
// by zero gives NaN, one that writes past its result changes the margin. Results are filled with NaN before the run, so
// that no element may be left out.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/view.h"
#include "kernels/registry.h"
#include "kernels/simd_targets.h"

namespace fovea::agreement {

inline constexpr double kEpsilon = 0x1p-23;

/// Elements of type T between margins.
template <class T>
class Guarded {
 public:
  /// @param misalign elements by which the first lies behind a 64-byte boundary, as in a slice along the batch
  explicit Guarded(const Shape& shape, std::int64_t misalign = 0) : shape_(shape) {
    block_.assign(static_cast<std::size_t>(shape.numel()) + 2 * kMargin + 64 / sizeof(T), canary());
    const auto address = reinterpret_cast<std::uintptr_t>(block_.data());
    const std::uintptr_t to_boundary = (64 - address % 64) % 64 / sizeof(T);
    first_ = to_boundary + kMargin + static_cast<std::size_t>(misalign);
    poison();
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return block_.data() + first_; }
  const T* data() const { return block_.data() + first_; }
  std::int64_t size() const { return shape_.numel(); }
  const Shape& shape() const { return shape_; }
  T& operator[](std::int64_t i) { return data()[i]; }
  T operator[](std::int64_t i) const { return data()[i]; }
  View view() { return {data(), shape_, dtype_of<T>, kCpu, 0, 0}; }
  ConstView cview() const { return {data(), shape_, dtype_of<T>, kCpu, 0, 0}; }
  operator ConstView() const { return cview(); }

  void poison() {
    for (std::int64_t i = 0; i < size(); ++i) data()[i] = canary();
  }
  void fill_uniform(Rng& rng, double low = -1, double high = 1) {
    for (std::int64_t i = 0; i < size(); ++i) data()[i] = static_cast<T>(rng.uniform(low, high));
  }
  /// False if something was written outside.
  bool margins_intact() const {
    for (std::size_t i = 0; i < block_.size(); ++i) {
      const bool inside = i >= first_ && i < first_ + static_cast<std::size_t>(size());
      if (!inside && !same_bits(block_[i], canary())) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kMargin = 64;
  static T canary() {
    if constexpr (std::is_floating_point_v<T>) {
      return std::numeric_limits<T>::quiet_NaN();
    } else {
      return static_cast<T>(0x7b);
    }
  }
  static bool same_bits(T a, T b) {
    if constexpr (std::is_same_v<T, float>) {
      return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
    } else if constexpr (std::is_same_v<T, double>) {
      return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
    } else {
      return a == b;
    }
  }

  Shape shape_;
  std::vector<T> block_;
  std::size_t first_ = 0;
};

using Floats = Guarded<float>;

/// Double copies for the reference.
struct Doubles {
  Shape shape;
  std::vector<double> values;

  explicit Doubles(const Shape& s, double value = 0) : shape(s), values(static_cast<std::size_t>(s.numel()), value) {}
  explicit Doubles(const Floats& from) : Doubles(from.shape()) {
    for (std::int64_t i = 0; i < from.size(); ++i) values[static_cast<std::size_t>(i)] = from[i];
  }
  Doubles absolute() const {
    Doubles result(shape);
    for (std::size_t i = 0; i < values.size(); ++i) result.values[i] = std::fabs(values[i]);
    return result;
  }
  double operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }
  double& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  View view() { return {values.data(), shape, DType::f64, kCpu, 0, 0}; }
  ConstView cview() const { return {values.data(), shape, DType::f64, kCpu, 0, 0}; }
  operator ConstView() const { return cview(); }
};

/// Empty where all results lie within c·ε·magnitude of what is expected; otherwise the first that does not, and how
/// many.
inline std::string difference(const Floats& result, const Doubles& expected, const Doubles& magnitude, double c) {
  std::int64_t wrong = 0, first = -1;
  double worst = 0;
  for (std::int64_t i = 0; i < result.size(); ++i) {
    const double error = std::fabs(result[i] - expected[i]);
    const double allowed = c * kEpsilon * magnitude[i] + std::numeric_limits<float>::min();
    if (error <= allowed) continue;  // false for NaN
    if (first < 0) first = i;
    ++wrong;
    worst = std::fmax(worst, error / allowed * c);
  }
  if (wrong == 0) return result.margins_intact() ? "" : "wrote outside the result";
  return str(wrong, " of ", result.size(), " elements differ; first [", first,
             "] = ", static_cast<double>(result[first]), ", expected ", expected[first], "; worst needs c = ", worst);
}

/// Counts how often an implementation ran, declined or is not in the list at all.
struct Tally {
  std::string prefix;
  int ran = 0, declined = 0, absent = 0;
  std::string last_reason;

  /// Runs `call` with implementations of this prefix only. False where none accepts.
  template <class Call>
  bool run(Call&& call) {
    const kernels::ForceImplementation force(prefix, true);
    try {
      call();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::usage ||
          std::string_view(e.what()).find("no implementation accepts") == std::string_view::npos)
        throw;
      const bool none = std::string_view(e.what()).find("none allowed") != std::string_view::npos;
      ++(none ? absent : declined);
      last_reason = e.what();
      return false;
    }
    ++ran;
    return true;
  }
  std::string summary() const {
    return str(prefix, ": ran ", ran, ", declined ", declined, ", not in the list ", absent, " ", last_reason);
  }
};

/// Runs the body once, or, for our vector kernels, once per instruction set of this CPU.
template <class Body>
void on_targets(std::string_view prefix, Body&& body) {
  if (prefix.starts_with("simd")) {
    test::for_each_target(body);
  } else {
    body();
  }
}

template <class T>
const T& pick(Rng& rng, std::span<const T> from) {
  return from[rng.below(from.size())];
}
template <class T, std::size_t n>
const T& pick(Rng& rng, const T (&from)[n]) {
  return from[rng.below(n)];
}

}  // namespace fovea::agreement

/// At the end of a sweep: skipped where no implementation of the prefix ran (this build has none, or it declines all of
/// these).
#define FOVEA_SKIP_UNLESS_RAN(...)            \
  do {                                        \
    std::string told;                         \
    bool any_ran = false;                     \
    for (const auto* each_ : {__VA_ARGS__}) { \
      any_ran = any_ran || each_->ran > 0;    \
      told += each_->summary() + "; ";        \
    }                                         \
    if (!any_ran) FOVEA_SKIP(told);           \
  } while (false)
