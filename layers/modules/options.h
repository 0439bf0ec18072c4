// Option types that let people write 3 for 3×3 and 1 for one row of zeros on every side.
#pragma once

#include "layers/ops/params.h"

namespace fovea {

/// A height and a width: `3`, `{3, 5}` or a Size2.
struct Extent {
  Size2 size;
  Extent(int both) : size{both, both} {}
  Extent(int h, int w) : size{h, w} {}
  Extent(Size2 both) : size(both) {}
  operator Size2() const { return size; }
};

/// Zeros around an image: `1` on every side, or a Padding with its rule.
struct PaddingOption {
  Padding padding;
  PaddingOption(int all) : padding(Padding::same_both(all)) {}
  PaddingOption(const Padding& rule) : padding(rule) {}
  operator Padding() const { return padding; }
};

}  // namespace fovea
