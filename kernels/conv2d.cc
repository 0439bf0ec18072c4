// Entry points of convolution and transposed convolution: shapes, checks, and the lists of implementations.
#include "kernels/conv2d.h"

#include <algorithm>

#include "kernels/check_internal.h"
#include "kernels/cpu/onednn/adapter.h"
#include "kernels/cpu/simd/conv2d_direct.h"
#include "kernels/cpu/simd/conv2d_winograd.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/elementwise.h"
#include "kernels/reference/conv2d.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

using Direction = Conv2dProblem::Direction;

const char* reference_declines(const Conv2dProblem& p) { return needs_cpu(p.out); }
void reference_forward(const Conv2dProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::conv2d_forward<decltype(t)>(p); });
}
void reference_backward_data(const Conv2dProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::conv2d_backward_data<decltype(t)>(p); });
}
void reference_backward_weights(const Conv2dProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::conv2d_backward_weights<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<Conv2dProblem> kForward[] = {
    {"simd:depthwise", simd::depthwise_declines, simd::depthwise_conv2d},
    {"simd:winograd", simd::conv2d_winograd_declines, simd::conv2d_winograd_forward},
    {"simd:direct", simd::conv2d_direct_declines, simd::conv2d_direct_forward},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::conv2d_declines, onednn::conv2d_run},
#endif
    FOVEA_CUDA_ENTRY("cuda:depthwise", cuda::depthwise_declines, cuda::depthwise),
    FOVEA_CUDA_ENTRY("cuda:gemm", cuda::pointwise_declines, cuda::pointwise),
    FOVEA_CUDA_ENTRY("cuda:cudnn", cuda::cudnn_declines, cuda::cudnn_conv2d),
    FOVEA_CUDA_ENTRY("cuda:direct", cuda::direct_declines, cuda::direct_conv2d),
    {"reference", reference_declines, reference_forward},
};
constexpr Implementation<Conv2dProblem> kBackwardData[] = {
    {"simd:depthwise", simd::depthwise_declines, simd::depthwise_conv2d},
    {"simd:winograd", simd::conv2d_winograd_declines, simd::conv2d_winograd_backward_data},
    {"simd:direct", simd::conv2d_direct_declines, simd::conv2d_direct_backward_data},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::conv2d_declines, onednn::conv2d_run},
#endif
    FOVEA_CUDA_ENTRY("cuda:depthwise", cuda::depthwise_declines, cuda::depthwise),
    FOVEA_CUDA_ENTRY("cuda:gemm", cuda::pointwise_declines, cuda::pointwise),
    FOVEA_CUDA_ENTRY("cuda:cudnn", cuda::cudnn_declines, cuda::cudnn_conv2d),
    FOVEA_CUDA_ENTRY("cuda:direct", cuda::direct_declines, cuda::direct_conv2d),
    {"reference", reference_declines, reference_backward_data},
};
constexpr Implementation<Conv2dProblem> kBackwardWeights[] = {
    {"simd:depthwise", simd::depthwise_declines, simd::depthwise_conv2d},
    {"simd:winograd", simd::conv2d_winograd_declines, simd::conv2d_winograd_backward_weights},
    {"simd:direct", simd::conv2d_direct_declines, simd::conv2d_direct_backward_weights},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::conv2d_declines, onednn::conv2d_run},
#endif
    FOVEA_CUDA_ENTRY("cuda:depthwise", cuda::depthwise_declines, cuda::depthwise),
    FOVEA_CUDA_ENTRY("cuda:gemm", cuda::pointwise_declines, cuda::pointwise),
    FOVEA_CUDA_ENTRY("cuda:cudnn", cuda::cudnn_declines, cuda::cudnn_conv2d),
    FOVEA_CUDA_ENTRY("cuda:direct", cuda::direct_declines, cuda::direct_conv2d),
    {"reference", reference_declines, reference_backward_weights},
};

std::string text(Size2 s) { return str(s.h, "×", s.w); }

/// Extent of the dilated kernel.
std::int64_t span_of(std::int64_t k, int dilation) { return (k - 1) * dilation + 1; }

void check_params(std::string_view op, Size2 stride, Size2 dilation, const Padding& padding, int groups) {
  if (stride.h < 1 || stride.w < 1)
    throw Error(ErrorKind::usage, op, str("stride must be at least 1, got ", text(stride)));
  if (dilation.h < 1 || dilation.w < 1)
    throw Error(ErrorKind::usage, op, str("dilation must be at least 1, got ", text(dilation)));
  if (groups < 1) throw Error(ErrorKind::usage, op, str("groups must be at least 1, got ", groups));
  if (std::min({padding.top, padding.bottom, padding.left, padding.right}) < 0) {
    throw Error(ErrorKind::usage, op,
                str("padding must not be negative, got top ", padding.top, ", bottom ", padding.bottom, ", left ",
                    padding.left, ", right ", padding.right));
  }
}

void check_image_and_weights(std::string_view op, const Shape& x, const Shape& w) {
  check_rank(op, "input", x, 4, "(NHWC)");
  check_rank(op, "weights", w, 4, "(HWIO: kernel height, kernel width, input channels per group, output channels)");
  if (x[1] < 1 || x[2] < 1 || x[3] < 1) {
    throw Error(ErrorKind::shape, op, str("an image needs at least one pixel and one channel, input is NHWC ", x));
  }
  if (w.numel() == 0) throw Error(ErrorKind::shape, op, str("weights are empty: HWIO ", w));
}

std::int64_t result_extent(std::string_view op, const char* what, std::int64_t in, int before, int after,
                           std::int64_t k, int stride, int dilation, const Shape& x) {
  const std::int64_t padded = in + before + after, span = span_of(k, dilation);
  if (span > padded) {
    throw Error(ErrorKind::shape, op,
                str("a window of ", what, " ", span, " does not fit into the padded input of ", what, " ", padded,
                    " (NHWC ", x, ")"),
                "pad the input, make it larger, or use a smaller kernel or dilation");
  }
  return (padded - span) / stride + 1;
}

Shape result_shape(std::string_view op, const Conv2dParams& params, const Shape& x, const Shape& w) {
  check_params(op, params.stride, params.dilation, params.padding, params.groups);
  check_image_and_weights(op, x, w);
  const std::int64_t groups = params.groups;
  if (x[3] % groups != 0 || w[3] % groups != 0) {
    throw Error(ErrorKind::shape, op,
                str("channels must divide into ", groups, " groups, input has ", x[3], " and the result ", w[3],
                    " (NHWC ", x, ", HWIO ", w, ")"));
  }
  if (w[2] != x[3] / groups) {
    throw Error(ErrorKind::shape, op,
                str("weights expect ", w[2] * groups, " input channels, input has ", x[3], " (NHWC ", x, ", HWIO ", w,
                    groups > 1 ? str(", ", groups, " groups") : std::string(), ")"));
  }
  const Padding p = resolve_padding(params.padding, x[1], x[2], w[0], w[1], params.stride, params.dilation);
  return {x[0], result_extent(op, "height", x[1], p.top, p.bottom, w[0], params.stride.h, params.dilation.h, x),
          result_extent(op, "width", x[2], p.left, p.right, w[1], params.stride.w, params.dilation.w, x), w[3]};
}

/// Checks all operands and resolves the padding. x, w and y are what the names say in every direction.
Conv2dProblem make_problem(std::string_view op, Direction direction, const Conv2dParams& params, const Operand& x,
                           const Operand& w, const Operand& bias, const Operand& y) {
  check_maps(op, {x, w, y});
  check_parameters(op, x, {bias});
  const Shape expected = result_shape(op, params, x.view->shape, w.view->shape);
  check_shape(op, y, expected);
  check_shape(op, bias, Shape{expected[3]});
  Conv2dProblem p;
  p.direction = direction;
  p.params = params;
  p.params.padding = resolve_padding(params.padding, x.view->shape[1], x.view->shape[2], w.view->shape[0],
                                     w.view->shape[1], params.stride, params.dilation);
  p.x = *x.view;
  p.w = *w.view;
  p.y = *y.view;
  return p;
}

}  // namespace

Padding resolve_padding(const Padding& padding, std::int64_t h, std::int64_t w, std::int64_t kh, std::int64_t kw,
                        Size2 stride, Size2 dilation) {
  if (padding.rule == Padding::Rule::explicit_sides) return padding;
  const auto total = [](std::int64_t in, std::int64_t k, int s, int d) {
    const std::int64_t out = (in + s - 1) / s;
    return static_cast<int>(std::max<std::int64_t>(0, (out - 1) * s + span_of(k, d) - in));
  };
  const int rows = total(h, kh, stride.h, dilation.h), columns = total(w, kw, stride.w, dilation.w);
  return Padding::sides(rows / 2, rows - rows / 2, columns / 2, columns - columns / 2);
}

Shape conv2d_shape(const Conv2dParams& params, const Shape& x, const Shape& w) {
  return result_shape("conv2d", params, x, w);
}

void conv2d_forward(const Conv2dParams& params, ConstView x, ConstView w, OptionalView bias, View y,
                    ActivationParams act) {
  Conv2dProblem p =
      make_problem("conv2d", Direction::forward, params, {"input", x}, {"weights", w}, {"bias", bias}, {"result", y});
  check_activation("conv2d", act);
  p.bias = bias;
  p.out = y;
  p.activation = act;
  if (y.numel() == 0) return;
  dispatch<Conv2dProblem>("conv2d_forward", kForward, p);
}

void conv2d_backward_data(const Conv2dParams& params, ConstView dy, ConstView w, View dx) {
  Conv2dProblem p = make_problem("conv2d_backward_data", Direction::backward_data, params, {"input gradient", dx},
                                 {"weights", w}, {"bias", OptionalView()}, {"result gradient", dy});
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<Conv2dProblem>("conv2d_backward_data", kBackwardData, p);
}

void conv2d_backward_weights(const Conv2dParams& params, ConstView x, ConstView dy, View dw,
                             std::optional<View> dbias) {
  Conv2dProblem p = make_problem("conv2d_backward_weights", Direction::backward_weights, params, {"input", x},
                                 {"weight gradient", dw}, {"bias gradient", dbias}, {"result gradient", dy});
  p.out = dw;
  p.dbias = dbias;
  if (x.numel() == 0) {  // no sample, no gradient
    fill_zero(dw);
    if (dbias) fill_zero(*dbias);
    return;
  }
  dispatch<Conv2dProblem>("conv2d_backward_weights", kBackwardWeights, p);
}

// ---- transposed convolution: each direction is one of the convolution that reads the result and writes the input

namespace {

/// The mirrored convolution (its input is our result), with padding resolved for the result's size.
Conv2dParams mirrored(const ConvTranspose2dParams& params, const Shape& y, const Shape& w) {
  return {params.stride, resolve_padding(params.padding, y[1], y[2], w[0], w[1], params.stride, params.dilation),
          params.dilation, params.groups};
}

Shape transposed_shape(std::string_view op, const ConvTranspose2dParams& params, const Shape& x, const Shape& w) {
  check_params(op, params.stride, params.dilation, params.padding, params.groups);
  check_image_and_weights(op, x, w);
  if (x[3] % params.groups != 0 || w[3] != x[3]) {
    throw Error(ErrorKind::shape, op,
                str("weights expect ", w[3], " input channels, input has ", x[3], " in ", params.groups,
                    " groups (NHWC ", x, ", weights ", w, ")"),
                "weights are [kernel height, kernel width, output channels / groups, input channels]");
  }
  const auto check_extra = [&](int extra, int stride) {
    if (extra < 0 || extra >= stride) {
      throw Error(ErrorKind::usage, op,
                  str("output padding must be at least 0 and below the stride ", stride, ", got ", extra));
    }
  };
  const Size2 extra = params.output_padding;
  if (params.padding.rule == Padding::Rule::tf_same) {
    if (extra != Size2{0, 0})
      throw Error(ErrorKind::usage, op, "padding tf_same fixes the result's size: output padding must be 0");
    return {x[0], checked_mul(x[1], params.stride.h, "conv_transpose2d"),
            checked_mul(x[2], params.stride.w, "conv_transpose2d"), w[2] * params.groups};
  }
  check_extra(extra.h, params.stride.h);
  check_extra(extra.w, params.stride.w);
  const Padding& p = params.padding;
  const std::int64_t ho = (x[1] - 1) * params.stride.h - p.top - p.bottom + span_of(w[0], params.dilation.h) + extra.h;
  const std::int64_t wo = (x[2] - 1) * params.stride.w - p.left - p.right + span_of(w[1], params.dilation.w) + extra.w;
  if (ho < 1 || wo < 1) {
    throw Error(ErrorKind::shape, op,
                str("padding leaves a result of ", ho, "×", wo, " for input NHWC ", x, " and weights ", w));
  }
  return {x[0], ho, wo, w[2] * params.groups};
}

/// Checks and builds the mirrored convolution's problem: its x is our y and the other way round.
Conv2dProblem make_transposed(std::string_view op, Direction direction, const ConvTranspose2dParams& params,
                              const Operand& x, const Operand& w, const Operand& bias, const Operand& y) {
  check_floating(op, {x, w, bias, y});
  const Shape expected = transposed_shape(op, params, x.view->shape, w.view->shape);
  check_shape(op, y, expected);
  check_shape(op, bias, Shape{expected[3]});
  Conv2dProblem p;
  p.direction = direction;
  p.params = mirrored(params, expected, w.view->shape);
  p.x = *y.view;
  p.w = *w.view;
  p.y = *x.view;
  return p;
}

}  // namespace

Shape conv_transpose2d_shape(const ConvTranspose2dParams& params, const Shape& x, const Shape& w) {
  return transposed_shape("conv_transpose2d", params, x, w);
}

void conv_transpose2d_forward(const ConvTranspose2dParams& params, ConstView x, ConstView w, OptionalView bias,
                              View y) {
  Conv2dProblem p = make_transposed("conv_transpose2d", Direction::backward_data, params, {"input", x}, {"weights", w},
                                    {"bias", bias}, {"result", y});
  p.out = y;
  if (y.numel() == 0) return;
  dispatch<Conv2dProblem>("conv_transpose2d_forward", kBackwardData, p);
  if (bias) binary(Binary::add, y, *bias, y);
}

void conv_transpose2d_backward_data(const ConvTranspose2dParams& params, ConstView dy, ConstView w, View dx) {
  Conv2dProblem p =
      make_transposed("conv_transpose2d_backward_data", Direction::forward, params, {"input gradient", dx},
                      {"weights", w}, {"bias", OptionalView()}, {"result gradient", dy});
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<Conv2dProblem>("conv_transpose2d_backward_data", kForward, p);
}

void conv_transpose2d_backward_weights(const ConvTranspose2dParams& params, ConstView x, ConstView dy, View dw,
                                       std::optional<View> dbias) {
  Conv2dProblem p =
      make_transposed("conv_transpose2d_backward_weights", Direction::backward_weights, params, {"input", x},
                      {"weight gradient", dw}, {"bias gradient", dbias}, {"result gradient", dy});
  p.out = dw;
  if (dbias) {
    constexpr int kAllButChannels[] = {0, 1, 2};
    reduce(Reduction::sum, kAllButChannels, dy, *dbias);
  }
  if (x.numel() == 0) {
    fill_zero(dw);
    return;
  }
  dispatch<Conv2dProblem>("conv_transpose2d_backward_weights", kBackwardWeights, p);
}

}  // namespace fovea::kernels
