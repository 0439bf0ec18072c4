// Sums, products, concatenation, reductions, softmax, dropout and resize: the memory-bound rest. f32 or f64 unless said
// otherwise.
#pragma once

#include <span>

#include "core/rng.h"
#include "core/view.h"

namespace fovea::kernels {

enum class Binary : std::uint8_t { add, subtract, multiply };
/// NumPy broadcasting: y's shape is the broadcast of a's and b's. y may be a or b where shapes agree.
FOVEA_API Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b);
FOVEA_API void binary(Binary, ConstView a, ConstView b, View y);
/// Sums x over the axes along which `y` was broadcast to x's shape: the gradient of broadcasting.
FOVEA_API void reduce_to(ConstView x, View y);
/// y = scale·x + shift.
FOVEA_API void affine(double scale, double shift, ConstView x, View y);

/// Along `axis` (others agree); backward copies each part's gradient out.
FOVEA_API void concat_forward(int axis, std::span<const ConstView> x, View y);
FOVEA_API void concat_backward(int axis, ConstView dy, std::span<const View> dx);

enum class Reduction : std::uint8_t { sum, mean, max };
/// Over the listed axes (unique); y drops them. Sums are pairwise or in double. The mean or maximum of nothing is
/// Error{shape}.
FOVEA_API void reduce(Reduction, std::span<const int> axes, ConstView x, View y);
/// Of sum and mean: spreads dy.
FOVEA_API void reduce_backward(Reduction, std::span<const int> axes, ConstView dy, View dx);

/// Of max: dy is shared equally by the elements of x that equal the greatest, y.
FOVEA_API void reduce_max_backward(std::span<const int> axes, ConstView x, ConstView y, ConstView dy, View dx);

/// Over the last axis.
FOVEA_API void softmax_forward(ConstView x, View y);
FOVEA_API void softmax_backward(ConstView y, ConstView dy, View dx);
FOVEA_API void log_softmax_forward(ConstView x, View y);
FOVEA_API void log_softmax_backward(ConstView y, ConstView dy, View dx);

/// Keeps each element with probability 1−rate and scales it by 1/(1−rate). Element i's fate depends on (rng stream, i)
/// only, so that any thread count and device gives the same mask: element i is dropped where 32 bits are below
/// rate·2³², the lower (i even) or upper half of the stream's number i/2. The mask (u8, x's shape) serves backward.
/// Rate 1 drops all. `first` is the number of x's first element: of a batch in parts, each draws what is its own.
FOVEA_API void dropout_forward(double rate, Rng rng, ConstView x, View y, View mask, std::int64_t first = 0);
FOVEA_API void dropout_backward(double rate, ConstView mask, ConstView dy, View dx);

enum class ResizeFilter : std::uint8_t { nearest, bilinear, bicubic };
/// nearest: the pixel under the centre (PyTorch's "nearest-exact", Pillow). bicubic: a = −0.5 where antialias (Pillow,
/// PyTorch), −0.75 otherwise (PyTorch).
struct ResizeParams {
  ResizeFilter filter = ResizeFilter::bilinear;
  bool antialias = true;  ///< widens the filter when shrinking, as Pillow and PyTorch's antialias=True
  bool align_corners = false;
};
/// x [N,H,W,C] → y [N,Ho,Wo,C], separable.
FOVEA_API void resize_forward(const ResizeParams&, ConstView x, View y);
FOVEA_API void resize_backward(const ResizeParams&, ConstView dy, View dx);

}  // namespace fovea::kernels
