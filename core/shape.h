// The extents of a tensor, at most 8 of them, stored inline. Images and activations are NHWC.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/export.h"

namespace fovea {

class FOVEA_API Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}
  /// Throws Error{shape} for a negative extent, more than 8 extents, or a product beyond 2^62.
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  /// Extent of an axis; negative axes count from the end. Throws Error{shape} when out of range.
  std::int64_t dim(int axis) const;
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  /// Product of all extents; 1 for a scalar (rank 0).
  std::int64_t numel() const { return numel_; }
  std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  /// The same shape with one extent replaced; negative axes count from the end.
  Shape with_dim(int axis, std::int64_t extent) const;
  /// "2×224×224×3"; "scalar" for rank 0.
  std::string to_string() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::int64_t numel_ = 1;
  int rank_ = 0;
};

/// a·b, or Error{memory} when it would overflow: sizes from files are checked with this before anything is allocated.
FOVEA_API std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* where);

}  // namespace fovea
