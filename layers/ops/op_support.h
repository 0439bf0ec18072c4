// What the ops in this folder share: operand checks with uniform texts, fused activations. Not for users of the
// library.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "core/graph/op.h"
#include "kernels/attributes.h"
#include "layers/ops/params.h"

namespace fovea::ops {

using Specs = std::span<const TensorSpec>;

/// Error{usage} unless `in` has between `low` and `high` operands, those up to `low` present.
void check_operands(std::string_view op, Specs in, std::size_t low, std::size_t high);
/// Error{usage} unless all present operands are of one type, f32 or f64, which is returned.
DType check_floating(std::string_view op, Specs in);
/// The same, or bf16 or f16, which kernels on GPUs take and those on the CPU refuse (kernels/check.cc): an op is told
/// shapes and types before it is told where.
DType check_maps(std::string_view op, Specs in);
/// Error{usage} unless all present operands are of what `maps` are computed in: biases, norms' parameters.
void check_parameters(std::string_view op, DType maps, Specs parameters);
/// Error{shape} unless the operand has this rank. `layout` names the axes: "NHWC".
void check_rank(std::string_view op, std::string_view operand, const TensorSpec& spec, int rank,
                std::string_view layout);
/// Error{shape} unless the operand is absent or a vector of `count`; `of` says what is counted: "result channels".
void check_vector(std::string_view op, std::string_view operand, const TensorSpec& spec, std::int64_t count,
                  std::string_view of);

/// A fresh tensor like operand i of a backward pass, put into grad_in[i].
Tensor& allocate_grad(BackwardContext& context, std::size_t i);
/// The same where that gradient is wanted; then its view.
std::optional<View> wanted_grad(BackwardContext& context, std::size_t i);
/// The gradient of result 0 as memory that may be overwritten: itself where nobody else holds it, otherwise a fresh
/// tensor.
Tensor reusable_grad(BackwardContext& context);

/// Product of all extents but the last; 1 row for rank 1.
std::int64_t row_count(const Shape& shape);
/// The same memory as a matrix [row_count, last extent].
template <class V>
V as_rows(V view) {
  view.shape = Shape{row_count(view.shape), view.shape.dim(-1)};
  return view;
}

using kernels::get_activation;
using kernels::get_double_in;
using kernels::get_padding;
using kernels::get_size;
using kernels::set_activation;
using kernels::set_padding;
using kernels::set_size;

/// Sorted, unique, non-negative axes; empty means all. Error{shape} when one is out of range or named twice.
std::vector<int> normal_axes(std::string_view op, std::span<const std::int64_t> axes, int rank);
int normal_axis(std::string_view op, std::int64_t axis, int rank);

// An activation fused behind a linear op. Where the derivative can be told from the result, backward reads the result;
// otherwise forward computes the operand of the activation apart and keeps it.
struct FusedActivation {
  ActivationParams params = kNoActivation;

  bool none() const { return params.kind == Activation::none; }
  bool from_result() const { return kernels::derivative_from_result(params.kind); }
  /// What the kernel is to apply itself.
  ActivationParams in_kernel(const ForwardContext& context) const { return separate(context) ? kNoActivation : params; }
  /// Call it after the kernel, with what the kernel wrote in out[0].
  void finish_forward(ForwardContext& context) const;
  std::uint32_t kept_outputs() const { return !none() && from_result() ? 1u : 0u; }
  /// d(loss)/d(operand of the activation).
  Tensor grad_before(BackwardContext& context) const;

 private:
  /// A half operand is rounded when it is kept: then it always is, so that blocks that are computed again see the same.
  bool separate(const ForwardContext& context) const {
    return !from_result() && (context.recording || is_half(context.out_spec[0].dtype));
  }
};

}  // namespace fovea::ops
