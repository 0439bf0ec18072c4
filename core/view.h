// What kernels see: a shape, an element type and an address, not owned. Cheap to copy. View<const void>-like: ConstView
// reads, View writes. `typed<T>()` checks the element type once and gives an indexable view.
#pragma once

#include <cstdint>
#include <optional>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/export.h"
#include "core/shape.h"

namespace fovea {

/// A dense row-major array of T with up to 8 extents; v(n, h, w, c) and v[i] (flat).
template <class T>
class TypedView {
 public:
  TypedView(T* data, const Shape& shape) : data_(data), shape_(shape) {}

  T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t size() const { return shape_.numel(); }
  T& operator[](std::int64_t i) const { return data_[i]; }
  template <class... Index>
  T& operator()(Index... index) const {
    const std::int64_t at[] = {static_cast<std::int64_t>(index)...};
    std::int64_t flat = 0;
    for (std::size_t i = 0; i < sizeof...(index); ++i) flat = flat * shape_[static_cast<int>(i)] + at[i];
    return data_[flat];
  }
  T* begin() const { return data_; }
  T* end() const { return data_ + shape_.numel(); }

 private:
  T* data_;
  Shape shape_;
};

namespace detail {
[[noreturn]] FOVEA_API void wrong_dtype(DType wanted, DType have, const Shape& shape);
}

/// A tensor's memory as kernels read it.
struct ConstView {
  const void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device;
  /// Never reused; 0 for memory that is no tensor's. With `version` the key of packed-weight caches.
  std::uint64_t storage_id = 0;
  std::uint64_t version = 0;

  std::int64_t dim(int axis) const { return shape.dim(axis); }
  std::int64_t numel() const { return shape.numel(); }
  template <class T>
  TypedView<const T> typed() const {
    if (dtype != dtype_of<T>) detail::wrong_dtype(dtype_of<T>, dtype, shape);
    return {static_cast<const T*>(data), shape};
  }
  template <class T>
  const T* ptr() const {
    return typed<T>().data();
  }
};

/// A tensor's memory as kernels write it.
struct View {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device;
  std::uint64_t storage_id = 0;
  std::uint64_t version = 0;

  std::int64_t dim(int axis) const { return shape.dim(axis); }
  std::int64_t numel() const { return shape.numel(); }
  template <class T>
  TypedView<T> typed() const {
    if (dtype != dtype_of<T>) detail::wrong_dtype(dtype_of<T>, dtype, shape);
    return {static_cast<T*>(data), shape};
  }
  template <class T>
  T* ptr() const {
    return typed<T>().data();
  }
  operator ConstView() const { return {data, shape, dtype, device, storage_id, version}; }
};

/// An operand that may be absent (a bias).
using OptionalView = std::optional<ConstView>;

}  // namespace fovea
