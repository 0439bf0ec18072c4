// Runs a kernel on the GPU (or its test double) in f32 and f64 and on the CPU by the reference in double, and compares.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "catch.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/devices.h"
#include "kernels/registry.h"

#ifdef FOVEA_CUDA_DOUBLE
#include "cuda_double.h"
#endif

/// At the start of every test: on a machine without a GPU it is skipped, never passed.
#define FOVEA_NEEDS_GPU()                                                            \
  do {                                                                               \
    if (!fovea::why_no_gpu().empty()) FOVEA_SKIP("no GPU: " << fovea::why_no_gpu()); \
  } while (false)

#define FOVEA_NEEDS_TWO_GPUS()                                            \
  do {                                                                    \
    if (fovea::devices().size() < 3) FOVEA_SKIP("there are no two GPUs"); \
  } while (false)

namespace fovea::test {

inline Tensor random_tensor(const Shape& shape, Rng& rng, double low = -1, double high = 1) {
  Tensor t(shape, DType::f64);
  double* values = t.mutable_data<double>();
  // Values that f32 holds, so that both precisions see the same.
  for (std::int64_t i = 0; i < t.numel(); ++i) values[i] = static_cast<float>(rng.uniform(low, high));
  return t;
}

/// The largest difference as a share of the largest expected value; infinite where one is NaN and the other is not.
inline double difference(const Tensor& result, const Tensor& expected) {
  const std::vector<double> a = result.to(kCpu).to_vector<double>(), b = expected.to_vector<double>();
  double worst = 0, greatest = 1e-30;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (std::isfinite(b[i])) greatest = std::fmax(greatest, std::fabs(b[i]));
    if (std::isnan(a[i]) != std::isnan(b[i]) || std::isinf(a[i]) != std::isinf(b[i]))
      return std::numeric_limits<double>::infinity();
    if (std::isfinite(b[i])) worst = std::fmax(worst, std::fabs(a[i] - b[i]));
  }
  return worst / greatest;
}

using Tensors = std::vector<Tensor>;

/// call(in, out): the same kernel call for all. Floating operands of `in` are f64 on the CPU; `state` says which
/// outputs are read too (optimizer state) and hold these values first, others hold NaN.
/// @param f32 what rounding allows in f32, as a share of the largest result
template <class Call>
void agree(const Tensors& in, const std::vector<TensorSpec>& out, Call&& call, double f32 = 1e-6, double f64 = 1e-13,
           const Tensors& state = {}) {
  const Device device = gpu();
  const auto made = [&](DType dtype, Device where) {
    Tensors tensors;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const DType type = is_floating(out[i].dtype) ? dtype : out[i].dtype;
      Tensor t = i < state.size() ? state[i].to(type).clone()
                                  : Tensor::full(out[i].shape, is_floating(type) ? std::nan("") : 111, type);
      tensors.push_back(t.to(where));
    }
    return tensors;
  };
  Tensors expected = made(DType::f64, kCpu);
  {
    const kernels::ForceImplementation force("reference", true);
    call(in, expected);
  }
  for (const DType dtype : {DType::f32, DType::f64}) {
    INFO("in " << to_string(dtype));
    Tensors there;
    for (const Tensor& t : in)
      there.push_back(!t.defined() ? t : (is_floating(t.dtype()) ? t.to(dtype) : t).to(device));
    Tensors results = made(dtype, device);
    {
      const kernels::ForceImplementation force("cuda", true);
      call(there, results);
    }
    synchronize(device);
    for (std::size_t i = 0; i < results.size(); ++i) {
      INFO("result " << i << " " << results[i].to_string());
      CHECK(difference(results[i], expected[i]) <= (dtype == DType::f32 ? f32 : f64));
    }
  }
}

}  // namespace fovea::test
