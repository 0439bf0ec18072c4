#include "models/weights/raw_tensor_internal.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace fovea::weights {
namespace {

/// Copies with `strides`, in bytes. The innermost axis runs in a plain loop; the others count like an odometer.
template <std::size_t kBytes>
void gather(const RawTensor& raw, std::uint8_t* to) {
  const int rank = raw.shape.rank();
  const std::int64_t inner = raw.shape[rank - 1];
  const std::int64_t step = raw.strides[static_cast<std::size_t>(rank - 1)];
  std::array<std::int64_t, Shape::kMaxRank> index{};
  std::int64_t offset = 0;
  for (;;) {
    const std::uint8_t* from = raw.data + offset * static_cast<std::int64_t>(kBytes);
    for (std::int64_t i = 0; i < inner; ++i, to += kBytes) {
      std::memcpy(to, from + i * step * static_cast<std::int64_t>(kBytes), kBytes);
    }
    int axis = rank - 2;
    for (; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      offset += raw.strides[a];
      if (++index[a] < raw.shape[axis]) break;
      offset -= raw.strides[a] * raw.shape[axis];
      index[a] = 0;
    }
    if (axis < 0) return;
  }
}

void copy_elements(const RawTensor& raw, std::uint8_t* to, std::size_t size) {
  if (raw.dense || raw.shape.rank() == 0) {
    std::memcpy(to, raw.data, static_cast<std::size_t>(raw.shape.numel()) * size);
    return;
  }
  switch (size) {
    case 1: return gather<1>(raw, to);
    case 2: return gather<2>(raw, to);
    case 4: return gather<4>(raw, to);
    default: return gather<8>(raw, to);
  }
}

}  // namespace

std::int64_t element_size(Element element) {
  switch (element) {
    case Element::f64:
    case Element::i64: return 8;
    case Element::f32:
    case Element::i32: return 4;
    case Element::f16:
    case Element::bf16:
    case Element::i16: return 2;
    case Element::u8:
    case Element::i8:
    case Element::boolean:
    case Element::untyped: return 1;
    case Element::unsupported: return 0;
  }
  return 0;
}

DType dtype_of_element(Element element) {
  switch (element) {
    case Element::f64: return DType::f64;
    case Element::f16: return DType::f16;
    case Element::bf16: return DType::bf16;
    case Element::u8:
    case Element::boolean:
    case Element::untyped: return DType::u8;
    case Element::i8: return DType::i8;
    case Element::i16:
    case Element::i32: return DType::i32;
    case Element::i64: return DType::i64;
    case Element::f32:
    case Element::unsupported: return DType::f32;
  }
  return DType::f32;
}

bool RawTensor::needs_copy() const {
  const auto size = static_cast<std::size_t>(element_size(element));
  return !dense || element == Element::i16 || (big_endian && size > 1) ||
         reinterpret_cast<std::uintptr_t>(data) % std::max<std::size_t>(size, 1) != 0;
}

Tensor transient_tensor(const Shape& shape, DType dtype) {
  const std::size_t bytes = static_cast<std::size_t>(shape.numel()) * dtype_size(dtype);
  if (bytes < (64u << 10)) return Tensor(shape, dtype);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) throw Error(ErrorKind::memory, "weights", str("the system has no ", bytes, " bytes left"));
  return Tensor::borrow(memory, shape, dtype,
                        std::shared_ptr<const void>(memory, [bytes](void* p) { ::munmap(p, bytes); }));
}

Tensor RawTensor::read(const std::shared_ptr<const void>& owner) const {
  const auto size = static_cast<std::size_t>(element_size(element));
  if (size == 0) throw Error(ErrorKind::usage, "RawTensor", "its element type has no counterpart");
  const DType dtype = dtype_of_element(element);
  if (shape.numel() == 0) return Tensor(shape, dtype);
  if (!needs_copy()) return Tensor::borrow(data, shape, dtype, owner);
  Tensor result = transient_tensor(shape, dtype);
  auto* to = static_cast<std::uint8_t*>(result.mutable_view().data);
  // i16 lies in the upper half of the i32 array while it is widened from the front.
  const auto count = static_cast<std::size_t>(shape.numel());
  std::uint8_t* raw = to + (result.nbytes() - count * size);
  copy_elements(*this, raw, size);
  if (big_endian) {
    for (std::size_t i = 0; i < count; ++i) std::reverse(raw + i * size, raw + (i + 1) * size);
  }
  if (element == Element::i16) {
    for (std::size_t i = 0; i < count; ++i) {
      std::int16_t narrow = 0;
      std::memcpy(&narrow, raw + i * size, size);
      const std::int32_t wide = narrow;
      std::memcpy(to + i * sizeof wide, &wide, sizeof wide);
    }
  }
  return result;
}

}  // namespace fovea::weights
