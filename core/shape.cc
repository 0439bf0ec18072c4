#include "core/shape.h"

#include "core/error.h"

namespace fovea {

std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* where) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || product > (std::int64_t{1} << 62)) {
    throw Error(ErrorKind::memory, where, str("size ", a, "×", b, " is beyond what can be addressed"));
  }
  return product;
}

Shape::Shape(std::span<const std::int64_t> dims) {
  if (dims.size() > kMaxRank) {
    throw Error(ErrorKind::shape, "shape", str("at most ", kMaxRank, " extents are supported, got ", dims.size()));
  }
  rank_ = static_cast<int>(dims.size());
  bool empty = false;
  for (int i = 0; i < rank_; ++i) {
    const std::int64_t extent = dims[static_cast<std::size_t>(i)];
    if (extent < 0) throw Error(ErrorKind::shape, "shape", str("extent ", i, " is negative: ", extent));
    dims_[static_cast<std::size_t>(i)] = extent;
    if (extent == 0) empty = true;
  }
  if (empty) {
    numel_ = 0;
    return;
  }
  for (int i = 0; i < rank_; ++i) numel_ = checked_mul(numel_, dims_[static_cast<std::size_t>(i)], "shape");
}

std::int64_t Shape::dim(int axis) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  if (a < 0 || a >= rank_) {
    throw Error(ErrorKind::shape, "shape", str("axis ", axis, " is out of range for ", to_string()));
  }
  return dims_[static_cast<std::size_t>(a)];
}

Shape Shape::with_dim(int axis, std::int64_t extent) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  dim(axis);  // checks the range
  std::array<std::int64_t, kMaxRank> dims = dims_;
  dims[static_cast<std::size_t>(a)] = extent;
  return Shape(std::span<const std::int64_t>(dims.data(), static_cast<std::size_t>(rank_)));
}

std::string Shape::to_string() const {
  if (rank_ == 0) return "scalar";
  std::string text;
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += "×";
    text += std::to_string(dims_[static_cast<std::size_t>(i)]);
  }
  return text;
}

}  // namespace fovea
