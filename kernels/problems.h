// What implementations see of one call, family by family: operands whose shapes, element types and devices are checked,
// and params whose padding rule is resolved. Conv2dProblem stands in conv2d.h. Operands are never empty: the entry
// points in kernels/<family>.cc answer empty batches themselves.
#pragma once

#include <array>
#include <span>
#include <string>

#include "core/rng.h"
#include "core/view.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/pictures.h"
#include "kernels/pool2d.h"
#include "kernels/quantize.h"

namespace fovea::kernels {

enum class Pass : std::uint8_t { forward, backward };

// ---- pool2d.h
struct Pool2dProblem {
  Pass pass = Pass::forward;
  Pool2dParams params;              ///< padding has explicit sides; the last window may reach beyond them (ceil_mode)
  Shape x_shape;                    ///< [N,H,W,C]
  Shape y_shape;                    ///< [N,Ho,Wo,C]
  ConstView in;                     ///< forward: x; backward: dy
  std::optional<ConstView> argmax;  ///< backward of max: i32, always there
  View out;                         ///< forward: y; backward: dx
  std::optional<View> argmax_out;   ///< forward of max: i32, where wanted
  std::string to_string() const;
};

/// Global average pooling is Ho = Wo = 1.
struct AveragePoolProblem {
  Pass pass = Pass::forward;
  Shape x_shape;  ///< [N,H,W,C]
  Shape y_shape;  ///< [N,Ho,Wo,C]
  ConstView in;   ///< forward: x; backward: dy. Global pooling's y is [N,C]: use y_shape
  View out;       ///< forward: y; backward: dx
  std::string to_string() const;
};

// ---- dense.h
struct MatmulProblem {
  ConstView a, b;
  bool transpose_a = false, transpose_b = false;
  View c;  ///< [M,N]
  bool accumulate = false;
  std::int64_t m() const { return c.shape[0]; }
  std::int64_t n() const { return c.shape[1]; }
  std::int64_t k() const { return a.shape[transpose_a ? 0 : 1]; }
  std::string to_string() const;
};

struct DenseProblem {
  enum class Direction : std::uint8_t { forward, backward_data, backward_weights };
  Direction direction = Direction::forward;
  ConstView x, w, y;  ///< [M,K], [K,N], [M,N]; that which is written has its shape here and its memory in `out`
  OptionalView bias;
  View out;  ///< y, dx or dw
  std::optional<View> dbias;
  ActivationParams activation{Activation::none};
  std::int64_t m() const { return x.shape[0]; }
  std::int64_t k() const { return w.shape[0]; }
  std::int64_t n() const { return w.shape[1]; }
  std::string to_string() const;
};

// ---- norm.h
struct BatchNormProblem {
  Pass pass = Pass::forward;
  bool training = false;  ///< statistics of the batch: forward writes them to mean_out and variance_out
  BatchNormParams params;
  ConstView x;                  ///< [..., C]
  OptionalView gamma, beta;     ///< [C]
  ConstView mean, variance;     ///< [C]; without data when forward computes them
  View y;                       ///< forward
  View mean_out, variance_out;  ///< forward of training
  ConstView dy;                 ///< backward
  std::optional<View> dx, dgamma, dbeta;
  std::int64_t channels() const { return x.shape.dim(-1); }
  std::int64_t rows() const { return x.numel() / channels(); }
  std::string to_string() const;
};

/// Batch norm of a batch in parts: kernels/norm.h says what each step does.
struct BatchPartsProblem {
  enum class Step { moments, statistics, gradient };
  Step step = Step::moments;
  std::int64_t rows = 0;
  double epsilon = 0;
  ConstView mean, variance, sums;
  View mean_out, variance_out, sums_out;  ///< of moments and statistics
  ConstView x;                            ///< of the gradient
  OptionalView gamma;
  View dx;
  /// An operand that is there in every step.
  ConstView like() const { return step == Step::statistics ? ConstView(mean_out) : mean; }
  std::int64_t channels() const { return like().numel(); }
  std::string to_string() const;
};

/// Layer norm: every row of the last axis is a group.
struct LayerNormProblem {
  Pass pass = Pass::forward;
  double epsilon = 1e-5;
  ConstView x;  ///< [..., C]
  OptionalView gamma, beta;
  View y, mean_out, inv_std_out;  ///< forward
  ConstView dy, mean, inv_std;    ///< backward
  View dx;
  std::optional<View> dgamma, dbeta;
  std::int64_t channels() const { return x.shape.dim(-1); }
  std::int64_t rows() const { return x.numel() / channels(); }
  std::string to_string() const;
};

struct GroupNormProblem : LayerNormProblem {  ///< x [N,H,W,C], mean and inv_std [N,groups]
  int groups = 1;
  std::string to_string() const;
};

// ---- activation.h
struct ActivationProblem {
  Pass pass = Pass::forward;
  ActivationParams params;
  ConstView x, y, dy;  ///< backward: x has no data where the derivative is told from y, and the other way round
  View out;            ///< y or dx
  std::string to_string() const;
};

// ---- elementwise.h
struct BinaryProblem {
  Binary kind = Binary::add;
  ConstView a, b;
  View y;
  std::string to_string() const;
};

struct ReduceToProblem {
  ConstView x;
  View y;
  std::string to_string() const;
};

struct AffineProblem {
  double scale = 1, shift = 0;
  ConstView x;
  View y;
  std::string to_string() const;
};

/// Forward copies parts[i] into their place in `whole`; backward copies out of it. Extents are seen as [outer,
/// axis·inner].
struct ConcatProblem {
  Pass pass = Pass::forward;
  std::int64_t outer = 1, inner = 1;  ///< products of the extents before and behind the axis
  int axis = 0;
  std::span<const ConstView> parts_in;  ///< forward
  View whole_out;                       ///< forward
  ConstView whole_in;                   ///< backward
  std::span<const View> parts_out;      ///< backward
  std::string to_string() const;
};

struct ReduceProblem {
  Pass pass = Pass::forward;
  Reduction kind = Reduction::sum;
  std::array<bool, Shape::kMaxRank> reduced{};  ///< which axes of the full shape are summed
  ConstView in;                                 ///< forward: full shape; backward: without the reduced axes
  View out;
  const Shape& full() const { return pass == Pass::forward ? in.shape : out.shape; }
  std::string to_string() const;
};

struct ReduceMaxBackwardProblem {
  std::array<bool, Shape::kMaxRank> reduced{};  ///< which axes of x the maximum was taken over
  ConstView x, y, dy;                           ///< y and dy without the reduced axes
  View dx;
  std::string to_string() const;
};

struct SoftmaxProblem {
  Pass pass = Pass::forward;
  bool log = false;
  ConstView x;      ///< forward
  ConstView y, dy;  ///< backward
  View out;
  std::int64_t classes() const { return out.shape.dim(-1); }
  std::int64_t rows() const { return out.numel() / classes(); }
  std::string to_string() const;
};

// ---- loss.h
struct CrossEntropyProblem {
  Pass pass = Pass::forward;
  CrossEntropyParams params;
  ConstView logits, target;
  OptionalView class_weights;
  ConstView dloss;  ///< backward
  View out;         ///< loss or dlogits
  std::string to_string() const;
};

struct BinaryCrossEntropyProblem {
  Pass pass = Pass::forward;
  BinaryCrossEntropyParams params;
  ConstView logits, target;
  OptionalView pos_weight;
  ConstView dloss;  ///< backward
  View out;         ///< loss or dlogits
  std::string to_string() const;
};

struct SquaredErrorProblem {
  Pass pass = Pass::forward;
  LossReduction reduction = LossReduction::mean;
  ConstView x, target;
  ConstView dloss;  ///< backward
  View out;         ///< loss or dx
  std::string to_string() const;
};

struct DropoutProblem {
  Pass pass = Pass::forward;
  double rate = 0;
  Rng rng{0};
  std::int64_t first = 0;  ///< the first element's place in the stream, forward
  ConstView in;            ///< x or dy
  ConstView mask;          ///< backward
  View out;                ///< y or dx
  View mask_out;           ///< forward
  std::string to_string() const;
};

struct ResizeProblem {
  Pass pass = Pass::forward;
  ResizeParams params;
  ConstView in;  ///< x or dy
  View out;      ///< y or dx
  const Shape& x_shape() const { return pass == Pass::forward ? in.shape : out.shape; }
  const Shape& y_shape() const { return pass == Pass::forward ? out.shape : in.shape; }
  std::string to_string() const;
};

// ---- quantize.h
struct FakeQuantizeProblem {
  Pass pass = Pass::forward;
  QuantizeRange range;
  ConstView x, scale;
  std::optional<View> y;           ///< forward
  ConstView dy;                    ///< backward, as the next
  std::optional<View> dx, dscale;  ///< dx may be dy
  std::string to_string() const;
};

// ---- optimizer.h: no tensor is empty, all are on one device
struct SgdProblem {
  std::span<const SgdUpdate> all;
  std::string to_string() const;
};

struct AdamProblem {
  std::span<const AdamUpdate> all;
  std::string to_string() const;
};

struct RmspropProblem {
  std::span<const RmspropUpdate> all;
  std::string to_string() const;
};

/// update_all.
struct UpdateProblem {
  std::span<const Update> all;
  std::string to_string() const;
};

/// sum_of_squares and all_finite; the answer goes to *result (1 or 0 for all_finite).
struct ScanProblem {
  ConstView x;
  double* result = nullptr;
  std::string to_string() const;
};

/// The same of many tensors, none empty, all on the GPU of the first.
struct ScanManyProblem {
  bool finite = false;  ///< all_finite instead of sum_of_squares
  std::span<const ConstView> x;
  double* results = nullptr;  ///< one for each
  std::string to_string() const;
};

// ---- pictures.h
struct ChangePicturesProblem {
  std::span<const PixelStep> steps;  ///< on the host
  int per_picture = 1;
  ConstView in;
  View out;
  std::string to_string() const;
};

struct PicturesToFloatsProblem {
  ConstView x, values;
  bool reversed = false;
  View y;
  std::string to_string() const;
};

struct MixPicturesProblem {
  const MixStep* step = nullptr;
  ConstView x;
  View y;
  std::string to_string() const;
};

}  // namespace fovea::kernels
