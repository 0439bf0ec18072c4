// Gradient clipping and the search for NaN and Inf.
#include "train/gradients.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "kernels/optimizer.h"

namespace fovea {
namespace {

template <class T>
void clamp_in_place(T* x, std::int64_t count, double limit) {
  const T low = static_cast<T>(-limit), high = static_cast<T>(limit);
  parallel_for(count, 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x[i] = x[i] > high ? high : x[i] < low ? low : x[i];
  });
}

template <class F>
void for_each_gradient(const std::vector<NamedTensor>& parameters, F&& f) {
  for (const NamedTensor& p : parameters) {
    Tensor grad = p.tensor.grad();
    if (grad.defined() && grad.numel() > 0) f(p, grad);
  }
}

}  // namespace

double gradient_norm(const std::vector<NamedTensor>& parameters) {
  double sum = 0;
  for_each_gradient(parameters, [&](const NamedTensor&, Tensor& grad) { sum += kernels::sum_of_squares(grad.view()); });
  return std::sqrt(sum);
}

double clip_gradients_by_norm(const std::vector<NamedTensor>& parameters, double max_norm) {
  if (!(max_norm > 0))
    throw Error(ErrorKind::usage, "gradient clipping", str("the largest norm is ", max_norm), "it must be positive");
  const double norm = gradient_norm(parameters);
  // PyTorch multiplies by min(1, max_norm/(norm + 1e-6)).
  const double factor = max_norm / (norm + 1e-6);
  if (std::isfinite(norm) && factor < 1) scale_gradients(parameters, factor);
  return norm;
}

void clip_gradients_by_value(const std::vector<NamedTensor>& parameters, double limit) {
  if (!(limit > 0))
    throw Error(ErrorKind::usage, "gradient clipping", str("the largest value is ", limit), "it must be positive");
  for_each_gradient(parameters, [&](const NamedTensor&, Tensor& grad) {
    if (grad.dtype() == DType::f64) {
      clamp_in_place(grad.mutable_data<double>(), grad.numel(), limit);
    } else {
      clamp_in_place(grad.mutable_data<float>(), grad.numel(), limit);
    }
  });
}

void scale_gradients(const std::vector<NamedTensor>& parameters, double factor) {
  for_each_gradient(parameters,
                    [&](const NamedTensor&, Tensor& grad) { kernels::scale_in_place(factor, grad.mutable_view()); });
}

std::string first_bad_gradient(const std::vector<NamedTensor>& parameters) {
  std::string bad;
  for_each_gradient(parameters, [&](const NamedTensor& p, Tensor& grad) {
    if (bad.empty() && !kernels::all_finite(grad.view())) bad = "gradient of " + p.name;
  });
  return bad;
}

std::string first_bad_tensor(const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& t : tensors) {
    const DType type = t.tensor.dtype();
    if ((type == DType::f32 || type == DType::f64) && t.tensor.numel() > 0 && !kernels::all_finite(t.tensor.view())) {
      return (t.is_buffer ? "buffer " : "parameter ") + t.name;
    }
  }
  return {};
}

}  // namespace fovea
