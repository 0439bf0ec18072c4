// What depthwise kernels in intrinsics share: where the kernel's rows begin, and a row of results in tiles. For files
// compiled with flags of their own, hence internal linkage: see tests/structure/isa_symbols.sh.
#pragma once

#include "kernels/cpu/simd/loops.h"

namespace fovea::kernels::simd {
namespace {

inline constexpr int kTile = 7;

/// Rows of channels from c on; a row outside the image is `outside` again and again.
template <int kSize, class Row, class Block, class T>
FOVEA_INLINE inline void set_rows(const Row& p, long c, const T* outside, Block& b) {
  for (int r = 0; r < kSize; ++r) {
    b.x[r] = p.in[r] ? p.in[r] + c : outside;
    b.next[r] = p.in[r] ? p.in_pitch : 0;
  }
}

/// A tile: results of a block, of which the first begins at input `column`, to `out`.
template <class Block, class T>
using Pixels = void (*)(const Block&, long column, T* out);

/// All results of a row, by tiles of seven (inside the image, or at its edge), three and one.
template <int kSize, int kStep, class Row, class Block, class T>
FOVEA_INLINE inline void each_tile(const Row& p, const Block& b, Pixels<Block, T> inner, Pixels<Block, T> edge,
                                   Pixels<Block, T> few, Pixels<Block, T> one) {
  const auto tile = [&](Pixels<Block, T> pixels, long j) { pixels(b, p.first + j * kStep, b.out + j * p.out_pitch); };
  long j = 0;
  if (p.count >= kTile) {
    for (; j < p.count; j += kTile) {
      // The last tile may do again what the one before it did.
      const long at = j < p.count - kTile ? j : p.count - kTile, column = p.first + at * kStep;
      tile(column >= 0 && column + (kTile - 1) * kStep + kSize <= p.width ? inner : edge, at);
    }
    return;
  }
  for (; j + 3 <= p.count; j += 3) tile(few, j);
  for (; j < p.count; ++j) tile(one, j);
}

}  // namespace
}  // namespace fovea::kernels::simd
