#include <algorithm>

#include "kernels/check_internal.h"

namespace fovea::kernels {

namespace {

void check_alike(std::string_view op, std::initializer_list<Operand> operands, bool half_on_gpu) {
  const Operand* first = nullptr;
  for (const Operand& o : operands) {
    if (!o.view) continue;
    const DType dtype = o.view->dtype;
    if (half_on_gpu && is_half(dtype)) {
      if (o.view->device.type != DeviceType::cuda) {
        throw Error(ErrorKind::usage, op,
                    str("computes in f32 or f64 on ", o.view->device, ", ", o.name, " is ", to_string(dtype)),
                    "only GPUs compute on bf16 and f16; convert it with tensor.to(DType::f32)");
      }
    } else if (dtype != DType::f32 && dtype != DType::f64) {
      throw Error(ErrorKind::usage, op, str("computes in f32 or f64, ", o.name, " is ", to_string(dtype)),
                  "convert it with tensor.to(dtype)");
    }
    if (!first) {
      first = &o;
      continue;
    }
    if (dtype != first->view->dtype) {
      throw Error(ErrorKind::usage, op,
                  str("operands must have one element type, ", first->name, " is ", to_string(first->view->dtype),
                      " and ", o.name, " is ", to_string(dtype)),
                  "convert one with tensor.to(dtype)");
    }
    if (o.view->device != first->view->device) {
      throw Error(ErrorKind::device, op,
                  str("operands must be on one device, ", first->name, " is on ", first->view->device, " and ", o.name,
                      " on ", o.view->device),
                  "copy one with tensor.to(device)");
    }
  }
}

}  // namespace

void check_floating(std::string_view op, std::initializer_list<Operand> operands) { check_alike(op, operands, false); }
void check_maps(std::string_view op, std::initializer_list<Operand> maps) { check_alike(op, maps, true); }

void check_parameters(std::string_view op, const Operand& map, std::initializer_list<Operand> parameters) {
  for (const Operand& o : parameters) {
    if (map.view && o.view) check_dtype(op, o, computing_dtype(map.view->dtype), *map.view);
  }
}

void check_shape(std::string_view op, const Operand& operand, const Shape& wanted) {
  if (!operand.view || operand.view->shape == wanted) return;
  throw Error(ErrorKind::shape, op, str(operand.name, " expects ", wanted, ", has ", operand.view->shape));
}

void check_dtype(std::string_view op, const Operand& operand, DType wanted, const ConstView& like) {
  if (!operand.view) return;
  if (operand.view->dtype != wanted) {
    throw Error(
        ErrorKind::usage, op,
        str(operand.name, " expects element type ", to_string(wanted), ", has ", to_string(operand.view->dtype)));
  }
  if (operand.view->device != like.device) {
    throw Error(ErrorKind::device, op,
                str("operands must be on one device, the others are on ", like.device, " and ", operand.name, " on ",
                    operand.view->device));
  }
}

void check_rank(std::string_view op, std::string_view name, const Shape& shape, int rank, const char* axes) {
  if (shape.rank() == rank) return;
  throw Error(ErrorKind::shape, op, str(name, " expects ", rank, " axes ", axes, ", has ", shape));
}

void fill_zero(const View& view) {
  if (view.numel() > 0) {
    backend(view.device)
        .zero(view.data, static_cast<std::size_t>(view.numel()) * dtype_size(view.dtype), view.device.index);
  }
}

}  // namespace fovea::kernels
