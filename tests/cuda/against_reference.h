// Calls on a GPU (or on its test double) against the same calls on the CPU by the reference kernels in double.
// Results must lie within c·ε·m, where m is the same sum with absolute values: what rounding errors scale with.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "both.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/activation.h"
#include "kernels/registry.h"
#ifdef FOVEA_CUDA_DOUBLE
#include "library_doubles.h"
#endif

namespace fovea::test {

/// The double sums in double and rounds once; a GPU sums in the element type, in blocks, whose errors grow with √K
/// while Σ|a·b| grows with K.
#ifdef FOVEA_CUDA_DOUBLE
inline constexpr double kC = 1;
#else
inline constexpr double kC = 4;
#endif

inline double epsilon(DType dtype) { return dtype == DType::f64 ? 0x1p-52 : 0x1p-23; }

/// Uniform in [-1, 1), on the CPU.
inline Tensor random_tensor(const Shape& shape, DType dtype, Rng& rng) {
  Tensor t(shape, dtype);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const double value = rng.uniform(-1, 1);
    if (dtype == DType::f64) {
      t.mutable_data<double>()[i] = value;
    } else {
      t.mutable_data<float>()[i] = static_cast<float>(value);
    }
  }
  return t;
}

inline Tensor absolute(const Tensor& t) {
  Tensor result = t.clone();
  double* values = result.mutable_data<double>();
  for (std::int64_t i = 0; i < t.numel(); ++i) values[i] = std::fabs(values[i]);
  return result;
}

/// Result memory full of NaN, on the GPU.
inline Tensor poisoned(const Shape& shape, DType dtype, Device device = gpu()) {
  return Tensor::full(shape, std::numeric_limits<double>::quiet_NaN(), dtype).to(device);
}

/// Rows behind one row of NaN: memory that is aligned to its elements only, as a slice of a batch is.
inline Tensor misaligned(const Tensor& t, Device device = gpu()) {
  Shape shape = t.shape();
  Tensor whole(Shape{t.numel() + 1}, t.dtype());
  whole.fill(std::numeric_limits<double>::quiet_NaN());
  whole.slice(1, t.numel() + 1).copy_from(t.view_as(Shape{t.numel()}));
  return whole.to(device).slice(1, t.numel() + 1).view_as(shape);
}

/// Empty where every element of `result` is within (c·ε)·magnitude of `expected`; otherwise what differs.
inline std::string difference(const Tensor& result, const Tensor& expected, const Tensor& magnitude, double c) {
  const std::vector<double> got = result.to(kCpu).to_vector<double>(), want = expected.to_vector<double>(),
                            scale = magnitude.to_vector<double>();
  std::size_t wrong = 0, first = 0;
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double allowed = c * epsilon(result.dtype()) * scale[i] + std::numeric_limits<float>::min();
    const double error = std::fabs(got[i] - want[i]);
    if (error <= allowed) continue;  // false for NaN
    if (wrong++ == 0) first = i;
    worst = std::fmax(worst, error / allowed * c);
  }
  if (wrong == 0) return "";
  return str(wrong, " of ", want.size(), " elements differ; first [", first, "] = ", got[first], ", expected ",
             want[first], "; worst needs c = ", worst);
}

/// What the rounding errors of an activation's result scale with: the derivative of every activation here is at
/// most 1.2 (silu's and gelu's overshoot 1), and GPUs evaluate exp and tanh within 4 units in the last place of the
/// result.
inline Tensor behind_activation(const Tensor& linear_scale, const Tensor& result) {
  Tensor scale = linear_scale.clone();
  double* values = scale.mutable_data<double>();
  const double* y = result.data<double>();
  for (std::int64_t i = 0; i < scale.numel(); ++i) values[i] = 1.2 * values[i] + 4 * std::fabs(y[i]);
  return scale;
}

inline constexpr kernels::Activation kActivations[] = {
    kernels::Activation::none,       kernels::Activation::relu,         kernels::Activation::relu6,
    kernels::Activation::leaky_relu, kernels::Activation::sigmoid,      kernels::Activation::silu,
    kernels::Activation::hard_swish, kernels::Activation::hard_sigmoid, kernels::Activation::gelu,
    kernels::Activation::gelu_tanh,  kernels::Activation::tanh};

template <class T, std::size_t n>
const T& pick(Rng& rng, const T (&from)[n]) {
  return from[rng.below(n)];
}

#ifdef FOVEA_CUDA_DOUBLE
/// Makes the library calls, allocations and launches of `call` fail one after the other: each failure must be an Error
/// (or be got over: then `correct` says so), leave no memory or handle behind, and not harm the next call.
inline void survives_failures(const std::function<void()>& call, const std::function<std::string()>& correct,
                              const std::vector<std::string>& kinds) {
  namespace d = cuda_double;
  call();
  REQUIRE(correct().empty());
  for (const std::string& kind : kinds) {
    int errors = 0;
    // An allocation is tried a second time when memory was tidied up: only one that fails for good is an error.
    const bool for_good = kind == "cudaMallocAsync";
    for (int after = 0;; ++after) {
      INFO(kind << " fails after " << after);
      const std::int64_t live = d::live_allocations();
      d::fail(kind, after, for_good ? 1 << 30 : 1);
      bool threw = false;
      try {
        call();
      } catch (const Error& e) {
        threw = true;
        CHECK((e.kind() == ErrorKind::device || e.kind() == ErrorKind::memory));
      }
      bool pending = false;  // the call made fewer calls of this kind: the failure that was ordered is still to come
      for (int i = 0; i <= after; ++i) pending = pending || d::fails_now(kind.c_str());
      d::stop_failing();
      if (!threw) REQUIRE(correct().empty());
      CHECK(d::live_allocations() <= live);  // where memory runs out, kept weights are let go
      errors += threw;
      call();
      REQUIRE(correct().empty());
      if (for_good ? !threw : pending) break;
    }
    INFO(kind);
    CHECK(errors > 0);
  }
}
#endif

}  // namespace fovea::test
