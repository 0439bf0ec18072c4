// The public gradient checker: compares the gradients of any function of tensors with central differences.
//
//   const Tensor x = …, w = …;
//   const GradCheckReport report =
//       check_gradients([](const std::vector<Tensor>& in) { return my_op(in[0], in[1]); }, {x, w});
//   if (!report.ok) puts(report.text.c_str());
//
// How it works. Operands are copied to f64 and everything runs on the reference path (ForceImplementation "reference").
// The function's result y is reduced to the number L = Σ r·y with fixed random r in ±[0.5, 1.5], which no error in one
// element of y can hide from. The tape gives dL/dx for every element; (L(x+h) − L(x−h))/2h should be the same. An
// element passes if |analytic − numeric| ≤ absolute + relative·max(|analytic|, |numeric|); NaN never passes. While the
// function and its backward pass run, fresh tensors are NaN first, so a kernel that accumulates into its result or
// leaves elements out fails too.
//
// What to mind: keep operands farther than `step` from kinks (ReLU at 0) and ties (max pooling); with h = 1e-5 the
// differences are good to about 1e-9 for values of order 1, which is what the default tolerances leave room for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/module.h"

namespace fovea {

struct GradCheckOptions {
  double step = 1e-5;  ///< h, times max(1, |x|)
  double relative = 1e-6;
  double absolute = 1e-7;
  /// At most so many elements of each tensor are compared, spread evenly; 0: all.
  std::int64_t max_elements = 0;
  /// Indices of floating operands that are constants (targets, running statistics). Integer operands always are.
  std::vector<int> constants = {};
  /// Run inside a TrainingMode (batch statistics, dropout with one fixed mask; running statistics are not updated).
  bool training = false;
  std::uint64_t seed = 1;
  /// Names of the operands, for the report; default "operand 0", …
  std::vector<std::string> names = {};
};

struct GradCheckReport {
  bool ok = false;
  std::int64_t checked = 0;  ///< elements compared
  /// The largest |analytic − numeric| / (absolute + relative·max(|analytic|, |numeric|)): at most 1 when ok.
  double worst_ratio = 0;
  std::string worst;  ///< the element that it belongs to: "weight[0, 2, 1, 0]: analytic 0.5, numeric 0.25"
  std::string text;   ///< one line for people: the verdict, the figures and the worst element
  explicit operator bool() const { return ok; }
};

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

/// Checks d(result)/d(operand) of every floating operand that is no constant. The result may have any shape.
/// Error{usage} if the function's result depends on none of them.
FOVEA_API GradCheckReport check_gradients(const TensorFunction& function, const std::vector<Tensor>& operands,
                                          const GradCheckOptions& options = {});

/// Checks a module's gradients with respect to its input and to every parameter that is not frozen. The module's
/// tensors are converted to f64 for the check and get their values, types and gradients back afterwards; names in the
/// report are theirs ("x" for the input).
FOVEA_API GradCheckReport check_module_gradients(Module& module, const Tensor& x, const GradCheckOptions& options = {});

}  // namespace fovea
