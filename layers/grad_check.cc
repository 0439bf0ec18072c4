#include "layers/grad_check.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/poison.h"
#include "kernels/registry.h"

namespace fovea {
namespace {

/// "w[0, 2, 1]" for a flat index.
std::string element_name(const std::string& tensor, const Shape& shape, std::int64_t flat) {
  std::vector<std::int64_t> at(static_cast<std::size_t>(shape.rank()));
  for (int i = shape.rank() - 1; i >= 0; --i) {
    at[static_cast<std::size_t>(i)] = flat % shape[i];
    flat /= shape[i];
  }
  std::string out = tensor + "[";
  for (std::size_t i = 0; i < at.size(); ++i) out += str(i == 0 ? "" : ", ", at[i]);
  return out + "]";
}

struct Checked {
  std::string name;
  Tensor tensor;  // f64, requires_grad
};

/// What both entry points do: `run` computes the result from the current values of `tensors`.
GradCheckReport check(const std::function<Tensor()>& run, std::vector<Checked> tensors,
                      const GradCheckOptions& options) {
  const kernels::ForceImplementation reference("reference");
  const auto forward = [&] {
    const PoisonAllocations poison;
    // A mode of its own per pass: the same dropout masks every time.
    std::optional<TrainingMode> training;
    std::optional<InferenceMode> inference;
    if (options.training) {
      training.emplace(TrainingMode::Options{options.seed, 0, false});
    } else {
      inference.emplace();
    }
    return run();
  };

  Tensor weights;
  std::vector<std::vector<double>> analytic;
  {
    Tape tape;
    const Tensor y = forward();
    weights = Tensor(y.shape(), DType::f64, y.device());
    Rng rng(options.seed, "grad_check");
    double* r = weights.mutable_data<double>();
    for (std::int64_t i = 0; i < weights.numel(); ++i) r[i] = rng.uniform(0.5, 1.5) * (rng.chance(0.5) ? 1 : -1);
    const PoisonAllocations poison;
    tape.backward(y, weights);
  }
  analytic.reserve(tensors.size());
  for (Checked& t : tensors) {
    // No gradient is a gradient of zero.
    analytic.push_back(t.tensor.grad().defined()
                           ? t.tensor.grad().to_vector<double>()
                           : std::vector<double>(static_cast<std::size_t>(t.tensor.numel()), 0.0));
  }

  const NoGrad no_grad;
  const auto evaluate = [&](std::vector<double>& y) { y = forward().to_vector<double>(); };
  const std::vector<double> r = weights.to_vector<double>();
  std::vector<double> above, below;
  GradCheckReport report;
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    Tensor& tensor = tensors[k].tensor;
    const std::int64_t count = tensor.numel();
    const std::int64_t compared = options.max_elements > 0 ? std::min(count, options.max_elements) : count;
    for (std::int64_t j = 0; j < compared; ++j) {
      const std::int64_t i = j * count / compared;
      const double x = tensor.data<double>()[i], h = options.step * std::max(1.0, std::fabs(x));
      const auto set = [&](double value) { tensor.mutable_data<double>()[i] = value; };
      const double x_above = x + h, x_below = x - h;
      set(x_above);
      evaluate(above);
      set(x_below);
      evaluate(below);
      set(x);
      // Differences before the sum: most results do not depend on this element, and their rounding would drown the
      // rest.
      double numeric = 0;
      for (std::size_t e = 0; e < r.size(); ++e) numeric += r[e] * (above[e] - below[e]);
      numeric /= x_above - x_below;
      const double exact = analytic[k][static_cast<std::size_t>(i)];
      const double allowed = options.absolute + options.relative * std::max(std::fabs(exact), std::fabs(numeric));
      double ratio = std::fabs(exact - numeric) / allowed;
      if (!(ratio < 1e300)) ratio = 1e300;  // NaN and infinity
      if (ratio > report.worst_ratio || report.worst.empty()) {
        report.worst_ratio = std::max(ratio, report.worst_ratio);
        report.worst =
            str(element_name(tensors[k].name, tensor.shape(), i), ": analytic ", exact, ", numeric ", numeric);
      }
      ++report.checked;
    }
  }
  report.ok = report.worst_ratio <= 1;
  report.text = str(report.ok ? "gradients agree: " : "gradients DISAGREE: ", report.checked, " elements, worst ",
                    report.worst_ratio, " of what is allowed", report.worst.empty() ? "" : " at ", report.worst);
  return report;
}

}  // namespace

GradCheckReport check_gradients(const TensorFunction& function, const std::vector<Tensor>& operands,
                                const GradCheckOptions& options) {
  std::vector<Tensor> copies;
  std::vector<Checked> tensors;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const Tensor& t = operands[i];
    if (!t.defined() || !is_floating(t.dtype())) {
      copies.push_back(t);
      continue;
    }
    copies.push_back(t.dtype() == DType::f64 ? t.clone() : t.to(DType::f64));
    const bool constant =
        std::find(options.constants.begin(), options.constants.end(), static_cast<int>(i)) != options.constants.end();
    if (constant) continue;
    copies.back().set_requires_grad();
    tensors.push_back({i < options.names.size() ? options.names[i] : str("operand ", i), copies.back()});
  }
  return check([&] { return function(copies); }, std::move(tensors), options);
}

GradCheckReport check_module_gradients(Module& module, const Tensor& x, const GradCheckOptions& options) {
  // The module's own tensors are exchanged for f64 copies by Module::to and put back by values, because to() replaces
  // tensors.
  struct Restore {
    Module& module;
    std::vector<NamedTensor> before;
    DType dtype;
    ~Restore() {
      module.to(dtype);
      std::vector<NamedTensor> now = module.named_tensors();
      for (std::size_t i = 0; i < now.size(); ++i) {
        now[i].tensor.copy_from(before[i].tensor);
        now[i].tensor.set_grad(before[i].tensor.grad());
      }
    }
  };
  std::vector<NamedTensor> before = module.named_tensors();
  DType dtype = DType::f32;
  for (NamedTensor& t : before) {
    dtype = t.tensor.dtype();
    const Tensor grad = t.tensor.grad();
    t.tensor = t.tensor.clone();
    t.tensor.set_grad(grad);
  }
  const Restore restore{module, std::move(before), dtype};
  module.to(DType::f64);
  module.zero_grad();
  Tensor input = x.dtype() == DType::f64 ? x.clone() : x.to(DType::f64);
  input.set_requires_grad();
  std::vector<Checked> tensors{{"x", input}};
  for (const NamedTensor& t : module.parameters(true)) tensors.push_back({t.name, t.tensor});
  return check([&] { return module(input); }, std::move(tensors), options);
}

}  // namespace fovea
