// Gradient clipping and the search for NaN and Inf.
#include "train/gradients.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "kernels/optimizer.h"

namespace fovea {
namespace {

template <class F>
void for_each_gradient(const std::vector<NamedTensor>& parameters, F&& f) {
  for (const NamedTensor& p : parameters) {
    Tensor grad = p.tensor.grad();
    if (grad.defined() && grad.numel() > 0) f(p, grad);
  }
}

/// Views of floating tensors, for the scans of many at once.
struct Scanned {
  std::vector<ConstView> views;
  std::vector<std::string> names;
  void add(std::string name, const Tensor& tensor) {
    views.push_back(tensor.view());
    names.push_back(std::move(name));
  }
  /// The name of the first that has a NaN or Inf, empty where none has.
  std::string first_bad() const {
    const std::vector<bool> finite = kernels::all_finite_of(views);
    const auto bad = std::find(finite.begin(), finite.end(), false);
    return bad == finite.end() ? std::string() : names[static_cast<std::size_t>(bad - finite.begin())];
  }
};

Scanned gradients_of(const std::vector<NamedTensor>& parameters) {
  Scanned scanned;
  for_each_gradient(parameters,
                    [&](const NamedTensor& p, Tensor& grad) { scanned.add("gradient of " + p.name, grad); });
  return scanned;
}

void update_gradients(const std::vector<NamedTensor>& parameters, kernels::UpdateKind kind, double a) {
  std::vector<kernels::Update> updates;
  for_each_gradient(parameters, [&](const NamedTensor&, Tensor& grad) {
    updates.push_back({kind, a, {}, grad.mutable_view()});
  });
  kernels::update_all(updates);
}

}  // namespace

double gradient_norm(const std::vector<NamedTensor>& parameters) {
  const std::vector<double> squares = kernels::sums_of_squares(gradients_of(parameters).views);
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
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
  update_gradients(parameters, kernels::UpdateKind::clamp, limit);
}

void scale_gradients(const std::vector<NamedTensor>& parameters, double factor) {
  update_gradients(parameters, kernels::UpdateKind::scale, factor);
}

std::string first_bad_gradient(const std::vector<NamedTensor>& parameters) {
  return gradients_of(parameters).first_bad();
}

std::string first_bad_tensor(const std::vector<NamedTensor>& tensors) {
  Scanned scanned;
  for (const NamedTensor& t : tensors) {
    const DType type = t.tensor.dtype();
    if ((type == DType::f32 || type == DType::f64) && t.tensor.numel() > 0)
      scanned.add((t.is_buffer ? "buffer " : "parameter ") + t.name, t.tensor);
  }
  return scanned.first_bad();
}

}  // namespace fovea
