// Numbers as they lie in a file, and the dense tensor they make: a view where they lie dense, aligned and
// little-endian.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace fovea::weights {

/// Element types of files. `untyped` is a storage counted in bytes; `unsupported` is complex, quantized and the like.
enum class Element : std::uint8_t { f32, f64, f16, bf16, u8, i8, i16, i32, i64, boolean, untyped, unsupported };

/// Bytes of an element in the file; 0 for unsupported.
std::int64_t element_size(Element element);
/// What it becomes here: i16 is widened to i32, a boolean is a u8. f32 for what read() refuses.
DType dtype_of_element(Element element);

struct RawTensor {
  Shape shape;
  Element element = Element::f32;
  std::uint8_t* data = nullptr;  ///< the first element; the caller has checked that all of them are there
  bool dense = true;             ///< row-major without gaps; otherwise `strides` (in elements) say where values are
  std::array<std::int64_t, Shape::kMaxRank> strides{};
  bool big_endian = false;

  /// Whether read() takes memory of its own.
  bool needs_copy() const;
  Tensor read(const std::shared_ptr<const void>& owner) const;
};

/// Memory for what is needed only until it is copied into a network: it goes back to the system at once, while the
/// allocator of tensors would keep a block of each size, which together can be as large as the file.
Tensor transient_tensor(const Shape& shape, DType dtype);

}  // namespace fovea::weights
