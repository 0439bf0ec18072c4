// Batch norm of a batch in parts on several GPUs: moments to be added up, and back.
#include <cmath>

#include "kernels/check_internal.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"

namespace fovea::kernels::cuda {
namespace {

template <class T>
void run_moments(const BatchPartsProblem& p) {
  const std::int64_t channels = p.channels();
  const auto rows = static_cast<double>(p.rows);
  const T *const mean = p.mean.ptr<T>(), *const variance = p.variance.ptr<T>();
  double* const sums = p.sums_out.ptr<double>();
  for_each(
      "batch_moments", channels,
      [=] FOVEA_LAMBDA(std::int64_t c) {
        const double m = rows > 0 ? static_cast<double>(mean[c]) : 0,
                     v = rows > 0 ? static_cast<double>(variance[c]) : 0;
        sums[c] = rows * m;
        sums[channels + c] = rows * (v + m * m);
        if (c == 0) sums[2 * channels] = rows;
      },
      p.mean.device.index);
}

template <class T>
void run_statistics(const BatchPartsProblem& p) {
  const std::int64_t channels = p.channels();
  const double* const sums = p.sums.ptr<double>();
  T *const mean = p.mean_out.ptr<T>(), *const variance = p.variance_out.ptr<T>();
  for_each(
      "batch_statistics", channels,
      [=] FOVEA_LAMBDA(std::int64_t c) {
        const double rows = sums[2 * channels], m = sums[c] / rows, v = sums[channels + c] / rows - m * m;
        mean[c] = static_cast<T>(m);
        variance[c] = static_cast<T>(v < 0 ? 0.0 : v);
      },
      p.mean_out.device.index);
}

template <class S>
void run_gradient(const BatchPartsProblem& p) {
  using T = Computing<S>;
  const std::int64_t channels = p.channels();
  const T inverse_rows = static_cast<T>(1 / static_cast<double>(p.rows)), epsilon = static_cast<T>(p.epsilon);
  const Read<S> x(p.x);
  const T *const gamma = optional_ptr<T>(p.gamma), *const mean = p.mean.ptr<T>(), *const variance = p.variance.ptr<T>(),
                 *const sums = p.sums.ptr<T>();
  S* const dx = p.dx.ptr<S>();
  for_each(
      "batch_norm_parts_backward", p.x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const std::int64_t c = Divided(i, channels).rest;
        const T inv_std = T(1) / std::sqrt(variance[c] + epsilon), scale = gamma ? gamma[c] : T(1);
        const T through = scale * inv_std * inverse_rows * (sums[channels + c] + (x[i] - mean[c]) * inv_std * sums[c]);
        dx[i] = narrowed<S>(widened(dx[i]) - through);
      },
      p.mean.device.index);
}

}  // namespace

void batch_parts(const BatchPartsProblem& p) {
  if (p.step == BatchPartsProblem::Step::gradient)
    return by_storage(p.x.dtype, [&](auto t) { run_gradient<decltype(t)>(p); });
  by_scalar(p.like().dtype, [&](auto t) {
    using T = decltype(t);
    p.step == BatchPartsProblem::Step::moments ? run_moments<T>(p) : run_statistics<T>(p);
  });
}

}  // namespace fovea::kernels::cuda
