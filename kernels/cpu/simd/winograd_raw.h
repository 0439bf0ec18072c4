// The transforms of Winograd's F(2×2, 3×3) convolution on plain arrays, single-threaded; conv2d_winograd.cc says how
// they make a convolution.
//
// A tile is 2×2 results and the 4×4 values they read; its transform has 16 values (planes), each with its own matrix.
// Planes of a block of tiles: plane p of tile t begins at p·plane + t·pitch.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

constexpr int kWinogradPlanes = 16;

/// The tiles of a stack of NHWC images, numbered image by image and row by row.
struct TileGrid {
  float* data;  ///< written by the output transform only
  std::int64_t h, w, pitch, channels;
  std::int64_t tiles_y, tiles_x;
  std::int64_t y0, x0;  ///< pixel of tile (0, 0)'s first value: negative reaches into the padding
};

/// Which tiles, and where their planes lie.
struct TileBlock {
  std::int64_t begin, count;
  float* planes;
  std::int64_t plane, pitch;
};

/// planes = Bᵀ d B of the 4×4 values of each tile, zeros outside of the image. `zeros`: grid.channels of them.
void winograd_input(const TileGrid&, const TileBlock&, const float* zeros);

enum class TileFinish : std::uint8_t { none, relu, relu6 };
/// The 2×2 results Aᵀ m A + bias of each tile; those outside of the image are not written. `bias` may be null.
void winograd_output(const TileGrid&, const TileBlock&, const float* bias, TileFinish finish);

/// planes = A d Aᵀ of the 2×2 gradients of each tile, packed for outer_panels: panel of columns after panel, [tile]
/// [width] within. Block.pitch is not used. The gradients' sums are added to `sums` (channels) if given.
void winograd_gradient(const TileGrid&, const TileBlock&, float* sums);

/// 16 planes of n values from the 9 taps of n values: G g Gᵀ. `flipped`: the taps in reverse order.
void winograd_weights(const float* taps, std::int64_t n, bool flipped, float* planes);
/// The transpose of winograd_weights: 9 taps of n values, Gᵀ s G, from the sum of `parts` arrays of 16 planes.
void winograd_weights_gradient(const float* const* parts, int part_count, std::int64_t begin, std::int64_t end,
                               std::int64_t n, float* taps);

}  // namespace fovea::kernels::simd
