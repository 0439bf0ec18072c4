// 2-D convolution (cross-correlation, as in every framework) on NHWC with weights HWIO: forward and both gradients.
// Depthwise convolution is groups = C: weights [kh, kw, 1, C·multiplier], result channel c·multiplier + m from input
// channel c.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "core/view.h"
#include "kernels/activation.h"

namespace fovea::kernels {

struct Size2 {
  int h = 1;
  int w = 1;
  friend bool operator==(const Size2&, const Size2&) = default;
};

/// How an image is surrounded with zeros. Rules are kept as rules and resolved per input size, because TensorFlow's
/// 'same' pads (0,1) at stride 2 on even sizes and (1,1) on odd ones.
struct Padding {
  enum class Rule : std::uint8_t { explicit_sides, tf_same };
  Rule rule = Rule::explicit_sides;
  int top = 0, bottom = 0, left = 0, right = 0;

  static constexpr Padding valid() { return {}; }
  static constexpr Padding same_both(int all) { return {Rule::explicit_sides, all, all, all, all}; }
  static constexpr Padding symmetric(int h, int w) { return {Rule::explicit_sides, h, h, w, w}; }
  static constexpr Padding sides(int t, int b, int l, int r) { return {Rule::explicit_sides, t, b, l, r}; }
  /// Result size ceil(input/stride); the odd row or column of zeros goes to the bottom and right.
  static constexpr Padding tf_same() { return {Rule::tf_same, 0, 0, 0, 0}; }
  friend bool operator==(const Padding&, const Padding&) = default;
};

struct Conv2dParams {
  Size2 stride{1, 1};
  Padding padding{};
  Size2 dilation{1, 1};
  int groups = 1;
  friend bool operator==(const Conv2dParams&, const Conv2dParams&) = default;
};

/// The padding with its rule resolved for an input of h×w and a kernel of kh×kw.
FOVEA_API Padding resolve_padding(const Padding& padding, std::int64_t h, std::int64_t w, std::int64_t kh,
                                  std::int64_t kw, Size2 stride, Size2 dilation);
/// Result [N, Ho, Wo, Co] for input [N,H,W,Ci] and weights [kh,kw,Ci/groups,Co]; Ho = floor((H + top + bottom −
/// dilation·(kh−1) − 1)/stride) + 1. Error{shape} where channels, groups or sizes do not fit; a window larger than the
/// padded image is an error, an empty batch is not.
FOVEA_API Shape conv2d_shape(const Conv2dParams&, const Shape& x, const Shape& w);

/// y = act(conv(x, w) + bias). x [N,H,W,Ci], w [kh,kw,Ci/groups,Co], bias [Co]. f32 or f64. Shapes must agree with
/// conv2d_shape.
FOVEA_API void conv2d_forward(const Conv2dParams&, ConstView x, ConstView w, OptionalView bias, View y,
                              ActivationParams act = {Activation::none});
/// dx [N,H,W,Ci] from dy [N,Ho,Wo,Co].
FOVEA_API void conv2d_backward_data(const Conv2dParams&, ConstView dy, ConstView w, View dx);
/// dw [kh,kw,Ci/groups,Co], and dbias [Co] (sum of dy) where given.
FOVEA_API void conv2d_backward_weights(const Conv2dParams&, ConstView x, ConstView dy, View dw,
                                       std::optional<View> dbias);

/// Transposed convolution: the gradient of conv2d with respect to its input, as a forward op. x [N,H,W,Ci], w
/// [kh,kw,Co/groups,Ci] (Keras' Conv2DTranspose layout), y [N,Ho,Wo,Co] with Ho = (H−1)·stride − top − bottom +
/// dilation·(kh−1) + 1 + output_padding; with Padding::tf_same, Ho = H·stride.
struct ConvTranspose2dParams {
  Size2 stride{1, 1};
  Padding padding{};
  Size2 dilation{1, 1};
  Size2 output_padding{0, 0};
  int groups = 1;
  friend bool operator==(const ConvTranspose2dParams&, const ConvTranspose2dParams&) = default;
};
FOVEA_API Shape conv_transpose2d_shape(const ConvTranspose2dParams&, const Shape& x, const Shape& w);
FOVEA_API void conv_transpose2d_forward(const ConvTranspose2dParams&, ConstView x, ConstView w, OptionalView bias,
                                        View y);
FOVEA_API void conv_transpose2d_backward_data(const ConvTranspose2dParams&, ConstView dy, ConstView w, View dx);
FOVEA_API void conv_transpose2d_backward_weights(const ConvTranspose2dParams&, ConstView x, ConstView dy, View dw,
                                                 std::optional<View> dbias);

/// One call's operands, as implementations see them: shapes checked, padding resolved.
struct Conv2dProblem {
  enum class Direction : std::uint8_t { forward, backward_data, backward_weights };
  Direction direction = Direction::forward;
  Conv2dParams params;  ///< padding.rule is explicit_sides here
  ConstView x, w,
      y;  ///< forward: y is written; backward_data: x; backward_weights: w (cast by the implementation from `out`)
  OptionalView bias;
  View out;  ///< what this direction writes: y, dx or dw
  std::optional<View> dbias;
  ActivationParams activation{Activation::none};

  std::int64_t n() const { return x.shape[0]; }
  std::int64_t h() const { return x.shape[1]; }
  std::int64_t width() const { return x.shape[2]; }
  std::int64_t ci() const { return x.shape[3]; }
  std::int64_t kh() const { return w.shape[0]; }
  std::int64_t kw() const { return w.shape[1]; }
  std::int64_t co() const { return w.shape[3]; }
  std::int64_t ho() const { return y.shape[1]; }
  std::int64_t wo() const { return y.shape[2]; }
  /// groups = Ci (> 1 or 1×1 channels), one input channel per group.
  bool depthwise() const { return params.groups > 1 && params.groups == ci(); }
  FOVEA_API std::string to_string() const;
};

}  // namespace fovea::kernels
