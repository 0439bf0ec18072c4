// Entry points of pooling: shapes, checks, and the lists of implementations.
#include "kernels/pool2d.h"

#include <algorithm>
#include <limits>

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/pool2d.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

template <class Problem>
const char* reference_declines(const Problem& p) {
  return needs_cpu(p.out);
}
void reference_pool_forward(const Pool2dProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::pool2d_forward<decltype(t)>(p); });
}
void reference_pool_backward(const Pool2dProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::pool2d_backward<decltype(t)>(p); });
}
void reference_average_forward(const AveragePoolProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::average_pool_forward<decltype(t)>(p); });
}
void reference_average_backward(const AveragePoolProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::average_pool_backward<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<Pool2dProblem> kPoolForward[] = {
    {"simd", simd::declines, simd::pool2d},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::pool2d_forward),
    {"reference", reference_declines, reference_pool_forward},
};
constexpr Implementation<Pool2dProblem> kPoolBackward[] = {
    {"simd", simd::declines, simd::pool2d},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::pool2d_backward),
    {"reference", reference_declines, reference_pool_backward},
};
// Global and adaptive average pooling.
constexpr Implementation<AveragePoolProblem> kAverageForward[] = {
    {"simd", simd::declines, simd::global_average_pool},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::average_pool_forward),
    {"reference", reference_declines, reference_average_forward},
};
constexpr Implementation<AveragePoolProblem> kAverageBackward[] = {
    {"simd", simd::declines, simd::global_average_pool},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::average_pool_backward),
    {"reference", reference_declines, reference_average_backward},
};

void check_image(std::string_view op, const char* name, const Shape& x) {
  check_rank(op, name, x, 4, "(NHWC)");
  if (x[1] < 1 || x[2] < 1)
    throw Error(ErrorKind::shape, op, str("an image needs at least one pixel, ", name, " is NHWC ", x));
}

/// One axis: how many windows there are.
std::int64_t windows(std::string_view op, const char* what, std::int64_t in, int before, int after, int window,
                     int stride, bool ceil_mode, const Shape& x) {
  if (before < 0 || after < 0 || before >= window || after >= window) {
    throw Error(ErrorKind::usage, op,
                str("padding must be at least 0 and smaller than the window, got ", before, " and ", after,
                    " for a window of ", what, " ", window));
  }
  const std::int64_t free = in + before + after - window;
  if (free < 0) {
    throw Error(ErrorKind::shape, op,
                str("a window of ", what, " ", window, " does not fit into the padded input of ", what, " ",
                    in + before + after, " (NHWC ", x, ")"));
  }
  std::int64_t count = (ceil_mode ? (free + stride - 1) / stride : free / stride) + 1;
  if (ceil_mode && (count - 1) * stride >= in + before) --count;  // it would start behind the image
  return count;
}

/// The params with padding resolved; TensorFlow's 'same' never counts its padding.
Pool2dParams resolved(std::string_view op, const Pool2dParams& params, const Shape& x) {
  if (params.window.h < 1 || params.window.w < 1 || params.stride.h < 1 || params.stride.w < 1) {
    throw Error(ErrorKind::usage, op,
                str("window and stride must be at least 1, got ", params.window.h, "×", params.window.w, " and ",
                    params.stride.h, "×", params.stride.w));
  }
  // Arg-maxima are cells of the window counted in 32 bits.
  if (static_cast<std::int64_t>(params.window.h) * params.window.w > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorKind::usage, op,
                str("a window of ", params.window.h, "×", params.window.w, " cells is too large"));
  }
  check_image(op, "input", x);
  Pool2dParams r = params;
  r.padding = resolve_padding(params.padding, x[1], x[2], params.window.h, params.window.w, params.stride, {1, 1});
  if (params.padding.rule == Padding::Rule::tf_same) r.count_include_pad = false;
  return r;
}

Shape shape_of(std::string_view op, const Pool2dParams& r, const Shape& x) {
  return {x[0], windows(op, "height", x[1], r.padding.top, r.padding.bottom, r.window.h, r.stride.h, r.ceil_mode, x),
          windows(op, "width", x[2], r.padding.left, r.padding.right, r.window.w, r.stride.w, r.ceil_mode, x), x[3]};
}

/// What users call it, for errors.
std::string_view name_of(const Pool2dParams& params) {
  return params.kind == PoolKind::max ? "max_pool2d" : "avg_pool2d";
}

AveragePoolProblem average_problem(std::string_view op, Pass pass, const Operand& x, const Operand& y, bool global) {
  check_maps(op, {x, y});
  const Shape& xs = x.view->shape;
  const Shape& ys = y.view->shape;
  check_image(op, x.name, xs);
  AveragePoolProblem p;
  p.pass = pass;
  p.x_shape = xs;
  if (global) {
    check_shape(op, y, Shape{xs[0], xs[3]});
    p.y_shape = Shape{xs[0], 1, 1, xs[3]};
  } else {
    check_image(op, y.name, ys);
    if (ys[0] != xs[0] || ys[3] != xs[3]) {
      throw Error(ErrorKind::shape, op,
                  str("batch and channels of input and result must agree, have NHWC ", xs, " and ", ys));
    }
    p.y_shape = ys;
  }
  return p;
}

}  // namespace

Pool2dParams resolve_pool2d(const Pool2dParams& params, const Shape& x) { return resolved(name_of(params), params, x); }

Shape pool2d_shape(const Pool2dParams& params, const Shape& x) {
  return shape_of(name_of(params), resolved(name_of(params), params, x), x);
}

void pool2d_forward(const Pool2dParams& params, ConstView x, View y, std::optional<View> argmax) {
  const std::string_view kOp = name_of(params);
  check_maps(kOp, {{"input", x}, {"result", y}});
  Pool2dProblem p;
  p.pass = Pass::forward;
  p.params = resolved(kOp, params, x.shape);
  p.x_shape = x.shape;
  p.y_shape = shape_of(kOp, p.params, x.shape);
  check_shape(kOp, {"result", y}, p.y_shape);
  if (argmax) {
    if (params.kind != PoolKind::max) throw Error(ErrorKind::usage, kOp, "average pooling has no arg-maxima");
    check_dtype(kOp, {"argmax", argmax}, DType::i32, x);
    check_shape(kOp, {"argmax", argmax}, p.y_shape);
  }
  p.in = x;
  p.out = y;
  p.argmax_out = argmax;
  if (y.numel() == 0) return;
  dispatch<Pool2dProblem>("pool2d_forward", kPoolForward, p);
}

void pool2d_backward(const Pool2dParams& params, ConstView dy, std::optional<ConstView> argmax, View dx) {
  constexpr const char* kOp = "pool2d_backward";
  check_maps(kOp, {{"result gradient", dy}, {"input gradient", dx}});
  Pool2dProblem p;
  p.pass = Pass::backward;
  p.params = resolved(kOp, params, dx.shape);
  p.x_shape = dx.shape;
  p.y_shape = shape_of(kOp, p.params, dx.shape);
  check_shape(kOp, {"result gradient", dy}, p.y_shape);
  if (params.kind == PoolKind::max) {
    if (!argmax) throw Error(ErrorKind::usage, kOp, "max pooling needs the arg-maxima of its forward pass");
    check_dtype(kOp, {"argmax", argmax}, DType::i32, dy);
    check_shape(kOp, {"argmax", argmax}, p.y_shape);
    p.argmax = argmax;
  }
  p.in = dy;
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<Pool2dProblem>("pool2d_backward", kPoolBackward, p);
}

void global_average_pool_forward(ConstView x, View y) {
  AveragePoolProblem p = average_problem("global_average_pool", Pass::forward, {"input", x}, {"result", y}, true);
  p.in = x;
  p.out = y;
  if (y.numel() == 0) return;
  dispatch<AveragePoolProblem>("global_average_pool_forward", kAverageForward, p);
}

void global_average_pool_backward(ConstView dy, View dx) {
  AveragePoolProblem p = average_problem("global_average_pool_backward", Pass::backward, {"input gradient", dx},
                                         {"result gradient", dy}, true);
  p.in = dy;
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<AveragePoolProblem>("global_average_pool_backward", kAverageBackward, p);
}

void adaptive_average_pool_forward(ConstView x, View y) {
  AveragePoolProblem p = average_problem("adaptive_average_pool", Pass::forward, {"input", x}, {"result", y}, false);
  p.in = x;
  p.out = y;
  if (y.numel() == 0) return;
  dispatch<AveragePoolProblem>("adaptive_average_pool_forward", kAverageForward, p);
}

void adaptive_average_pool_backward(ConstView dy, View dx) {
  AveragePoolProblem p = average_problem("adaptive_average_pool_backward", Pass::backward, {"input gradient", dx},
                                         {"result gradient", dy}, false);
  p.in = dy;
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<AveragePoolProblem>("adaptive_average_pool_backward", kAverageBackward, p);
}

}  // namespace fovea::kernels
