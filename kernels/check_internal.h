// Checks of operands at the boundary of a kernel: once, before anything is written. Internal to kernels/.
#pragma once

#include <initializer_list>
#include <string_view>

#include "core/view.h"
#include "kernels/activation.h"
#include "kernels/registry.h"

namespace fovea::kernels {

/// An operand and the name it has in error texts. Absent optional operands are skipped by every check.
struct Operand {
  const char* name;
  std::optional<ConstView> view;

  Operand(const char* n, const ConstView& v) : name(n), view(v) {}
  Operand(const char* n, const View& v) : name(n), view(ConstView(v)) {}
  Operand(const char* n, const OptionalView& v) : name(n), view(v) {}
  Operand(const char* n, const std::optional<View>& v) : name(n) {
    if (v) view = ConstView(*v);
  }
};

/// Error{usage} unless all are f32 or all are f64; Error{device} unless all are on one device.
void check_floating(std::string_view op, std::initializer_list<Operand> operands);
/// The same, but all may be bf16 or all f16 where they lie on a GPU: what kernels there read and write as such.
void check_maps(std::string_view op, std::initializer_list<Operand> maps);
/// Error{usage} unless all are of what `map` is computed in (f32 of half ones): biases, statistics, their gradients.
/// Error{device} unless all are where `map` is.
void check_parameters(std::string_view op, const Operand& map, std::initializer_list<Operand> parameters);
/// Error{shape}: "[op] name expects 1×2×3, has 4×5".
void check_shape(std::string_view op, const Operand& operand, const Shape& wanted);
/// Error{usage} unless the operand has this element type and the device of `like`.
void check_dtype(std::string_view op, const Operand& operand, DType wanted, const ConstView& like);
/// Error{shape}: "[op] x expects 4 axes (NHWC), has 2×3".
void check_rank(std::string_view op, std::string_view name, const Shape& shape, int rank, const char* axes);
/// Error{usage} for a leaky_relu with negative slope: its gradient is told from the sign of the result.
void check_activation(std::string_view op, const ActivationParams& params);
/// Sets every element to zero (+0 of any element type).
void fill_zero(const View& view);

/// For `declines` of CPU implementations.
inline const char* needs_cpu(const ConstView& view) {
  return view.device.type == DeviceType::cpu ? nullptr : detail::kNotOnCpu;
}
/// For `declines` of fast CPU implementations.
inline const char* needs_cpu_f32(const ConstView& view) {
  if (view.dtype != DType::f32) return "needs f32";
  return needs_cpu(view);
}

/// Calls fn(float{}) or fn(double{}).
template <class Fn>
void by_scalar(DType dtype, Fn&& fn) {
  if (dtype == DType::f64) {
    fn(double{});
  } else {
    fn(float{});
  }
}

}  // namespace fovea::kernels
