#include "layers/ops/op_support.h"

#include <algorithm>

namespace fovea::ops {

void check_operands(std::string_view op, Specs in, std::size_t low, std::size_t high) {
  if (in.size() < low || in.size() > high) {
    throw Error(ErrorKind::usage, op,
                low == high ? str("takes ", low, " operands, got ", in.size())
                            : str("takes ", low, " to ", high, " operands, got ", in.size()));
  }
  for (std::size_t i = 0; i < low; ++i) {
    if (in[i].absent)
      throw Error(ErrorKind::usage, op, str("operand ", i, " is undefined"), "assign the tensor before using it");
  }
}

namespace {

DType check_alike(std::string_view op, Specs in, bool half) {
  const TensorSpec* first = nullptr;
  for (const TensorSpec& spec : in) {
    if (spec.absent) continue;
    if (spec.dtype != DType::f32 && spec.dtype != DType::f64 && !(half && is_half(spec.dtype))) {
      throw Error(ErrorKind::usage, op,
                  str("computes in f32 or f64, operand ", spec.shape, " is ", to_string(spec.dtype)),
                  "convert it with tensor.to(DType::f32)");
    }
    if (first && first->dtype != spec.dtype) {
      throw Error(ErrorKind::usage, op,
                  str("operands are of different types: ", to_string(first->dtype), " and ", to_string(spec.dtype)),
                  "convert one of them with tensor.to(dtype), or the module with module.to(dtype)");
    }
    if (!first) first = &spec;
  }
  return first ? first->dtype : DType::f32;
}

}  // namespace

DType check_floating(std::string_view op, Specs in) { return check_alike(op, in, false); }
DType check_maps(std::string_view op, Specs in) { return check_alike(op, in, true); }

void check_parameters(std::string_view op, DType maps, Specs parameters) {
  const DType wanted = computing_dtype(maps);
  for (const TensorSpec& spec : parameters) {
    if (spec.absent || spec.dtype == wanted) continue;
    throw Error(ErrorKind::usage, op,
                str("with maps in ", to_string(maps), " parameters are ", to_string(wanted), ", one is ",
                    to_string(spec.dtype)),
                "convert one of them with tensor.to(dtype), or the module with module.to(dtype)");
  }
}

void check_rank(std::string_view op, std::string_view operand, const TensorSpec& spec, int rank,
                std::string_view layout) {
  if (spec.shape.rank() != rank) {
    throw Error(ErrorKind::shape, op,
                str("expects the ", operand, " as ", layout, " (", rank, " axes), got ", spec.shape, " (",
                    spec.shape.rank(), " axes)"));
  }
}

void check_vector(std::string_view op, std::string_view operand, const TensorSpec& spec, std::int64_t count,
                  std::string_view of) {
  if (spec.absent) return;
  if (spec.shape.rank() != 1 || spec.shape[0] != count) {
    throw Error(ErrorKind::shape, op,
                str("expects ", operand, " of ", count, " elements, one for each of the ", of, ", got ", spec.shape));
  }
}

Tensor& allocate_grad(BackwardContext& context, std::size_t i) {
  context.grad_in[i] = Tensor(context.in_spec[i], context.device);
  return context.grad_in[i];
}

std::optional<View> wanted_grad(BackwardContext& context, std::size_t i) {
  if (i >= context.needs.size() || !context.needs[i]) return std::nullopt;
  return allocate_grad(context, i).mutable_view();
}

Tensor reusable_grad(BackwardContext& context) {
  if (context.grad_out[0].unique()) return context.grad_out[0];
  return Tensor(context.out_spec[0], context.device);
}

std::int64_t row_count(const Shape& shape) {
  std::int64_t rows = 1;
  for (int i = 0; i + 1 < shape.rank(); ++i) rows *= shape[i];
  return rows;
}

int normal_axis(std::string_view op, std::int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    throw Error(ErrorKind::shape, op, str("axis ", axis, " does not exist in a tensor of ", rank, " axes"));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

std::vector<int> normal_axes(std::string_view op, std::span<const std::int64_t> axes, int rank) {
  std::vector<int> out;
  if (axes.empty()) {
    for (int i = 0; i < rank; ++i) out.push_back(i);
    return out;
  }
  for (const std::int64_t axis : axes) out.push_back(normal_axis(op, axis, rank));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    throw Error(ErrorKind::shape, op, "an axis is named twice");
  return out;
}

void FusedActivation::finish_forward(ForwardContext& context) const {
  if (!separate(context)) return;
  context.saved.push_back(context.out[0]);
  kernels::activation_forward(params, context.saved.back().view(), context.allocate().mutable_view());
}

Tensor FusedActivation::grad_before(BackwardContext& context) const {
  if (none()) return context.grad_out[0];
  Tensor grad = reusable_grad(context);
  const ConstView dy = context.grad_out[0].view();
  if (from_result()) {
    ConstView no_data;
    no_data.shape = context.out_spec[0].shape;
    no_data.dtype = context.out_spec[0].dtype;
    no_data.device = context.device;
    kernels::activation_backward(params, no_data, context.out[0].view(), dy, grad.mutable_view());
  } else {
    ConstView no_data = context.saved[0].view();
    no_data.data = nullptr;
    kernels::activation_backward(params, context.saved[0].view(), no_data, dy, grad.mutable_view());
  }
  return grad;
}

}  // namespace fovea::ops
