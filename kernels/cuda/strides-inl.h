// Where an element of a shape lies in a tensor that lacks or repeats some of its axes.
#pragma once

#include <array>

#include "core/shape.h"
#include "kernels/cuda/launch.h"

namespace fovea::kernels::cuda {

/// Neighbouring axes that walk alike are joined, so that the usual cases cost one or two divisions.
struct Strides {
  int rank = 0;
  std::int64_t extent[Shape::kMaxRank] = {};
  std::int64_t stride[Shape::kMaxRank] = {};

  /// @param part a shape that broadcasts to `whole` (aligned at the last axis)
  static Strides broadcast(const Shape& whole, const Shape& part) {
    std::array<std::int64_t, Shape::kMaxRank> full{};
    std::int64_t step = 1;
    for (int axis = part.rank() - 1; axis >= 0; --axis) {
      full[static_cast<std::size_t>(axis + whole.rank() - part.rank())] = part[axis] == 1 ? 0 : step;
      step *= part[axis];
    }
    return joined(whole, full);
  }
  /// @param lacking axes of `whole` that the other tensor lacks
  static Strides without(const Shape& whole, const std::array<bool, Shape::kMaxRank>& lacking) {
    std::array<std::int64_t, Shape::kMaxRank> full{};
    std::int64_t step = 1;
    for (int axis = whole.rank() - 1; axis >= 0; --axis) {
      if (lacking[static_cast<std::size_t>(axis)]) continue;
      full[static_cast<std::size_t>(axis)] = step;
      step *= whole[axis];
    }
    return joined(whole, full);
  }
  /// Elements of `part`, which has extent 1 in some axes of `whole`, inside `whole`.
  static Strides selected(const Shape& part, const Shape& whole) {
    std::array<std::int64_t, Shape::kMaxRank> full{};
    std::int64_t step = 1;
    for (int axis = whole.rank() - 1; axis >= 0; --axis) {
      full[static_cast<std::size_t>(axis)] = step;
      step *= whole[axis];
    }
    return joined(part, full);
  }

  FOVEA_HD std::int64_t offset(std::int64_t i) const {
    std::int64_t sum = 0;
    for (int a = rank - 1; a > 0; --a) {
      const Divided at(i, extent[a]);
      sum += at.rest * stride[a];
      i = at.quotient;
    }
    return rank > 0 ? sum + i * stride[0] : 0;
  }

 private:
  static Strides joined(const Shape& whole, const std::array<std::int64_t, Shape::kMaxRank>& full) {
    Strides s;
    for (int axis = 0; axis < whole.rank(); ++axis) {
      const std::int64_t step = full[static_cast<std::size_t>(axis)];
      if (whole[axis] == 1) continue;
      if (s.rank > 0 && s.stride[s.rank - 1] == step * whole[axis]) {
        s.extent[s.rank - 1] *= whole[axis];
        s.stride[s.rank - 1] = step;
      } else {
        s.extent[s.rank] = whole[axis];
        s.stride[s.rank++] = step;
      }
    }
    return s;
  }
};

}  // namespace fovea::kernels::cuda
