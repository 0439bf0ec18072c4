// Entry points of convolution and batch norm trained as one: checks, empty batches, and which part takes a problem.
#include "kernels/conv_norm.h"

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/conv_norm.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels {
namespace {

constexpr const char* kName = "conv_norm";

void check_element(const ConstView& view, const char* name) {
  if (view.device.type != DeviceType::cpu)
    throw Error(ErrorKind::device, kName, str(name, " is on ", view.device, ", expected the CPU"));
  if (view.dtype == DType::f32 || (view.dtype == DType::bf16 && simd::has_bf16())) return;
  throw Error(ErrorKind::usage, kName,
              str(name, " is ", to_string(view.dtype), ", expected f32", simd::has_bf16() ? " or bf16" : ""));
}

void check_channels(const ConstView& view, const char* name, std::int64_t channels) {
  check_dtype(kName, {name, view}, DType::f32, view);
  check_shape(kName, {name, view}, Shape{channels});
}

void check_input(const NormalizedView& in) {
  check_element(in.x, "input");
  if (in.mean.has_value() != in.scale.has_value() || in.mean.has_value() != in.beta.has_value())
    throw Error(ErrorKind::usage, kName, "mean, scale and beta of the input are given together or not at all");
  if (!conv_norm_takes(in.activation.kind))
    throw Error(ErrorKind::usage, kName, str(to_string(in.activation.kind), " cannot be left to the next layer"));
  if (!in.mean) {
    if (in.activation.kind != Activation::none)
      throw Error(ErrorKind::usage, kName, "an activation of the input needs its normalisation");
    return;
  }
  const std::int64_t channels = in.x.shape.dim(-1);
  check_channels(*in.mean, "mean", channels);
  check_channels(*in.scale, "scale", channels);
  check_channels(*in.beta, "beta", channels);
}

Conv2dParams resolved(const Conv2dParams& params, const Shape& x, const Shape& w) {
  Conv2dParams out = params;
  out.padding = resolve_padding(params.padding, x[1], x[2], w[0], w[1], params.stride, params.dilation);
  return out;
}

void zero(const std::optional<View>& view) {
  if (view) fill_zero(*view);
}

}  // namespace

bool conv_norm_takes_bf16() { return simd::has_bf16(); }
bool conv_norm_takes(Activation activation) { return simd::normalizes(activation); }

bool conv_norm_reads_normalized(const Conv2dParams& params, const Shape& x, const Shape& w) {
  const Conv2dParams p = resolved(params, x, w);
  return !simd::pointwise_norm_declines(p, x, w) || !simd::depthwise_norm_declines(p, x, w);
}

void conv_norm_forward(const Conv2dParams& params, const NormalizedView& in, ConstView w, View y,
                       std::optional<View> mean, std::optional<View> variance) {
  check_input(in);
  check_element(y, "result");
  check_dtype(kName, {"weights", w}, DType::f32, in.x);
  check_shape(kName, {"result", y}, conv2d_shape(params, in.x.shape, w.shape));
  if (mean.has_value() != variance.has_value())
    throw Error(ErrorKind::usage, kName, "mean and variance of the result are wanted together or not at all");
  if (mean) {
    check_channels(*mean, "mean of the result", w.shape[3]);
    check_channels(*variance, "variance of the result", w.shape[3]);
  }
  if (y.numel() == 0) {
    zero(mean);
    return zero(variance);
  }
  const simd::ConvNormForward job{resolved(params, in.x.shape, w.shape), in, w, y, mean, variance};
  if (!simd::pointwise_norm_declines(job.params, in.x.shape, w.shape)) return simd::pointwise_norm_forward(job);
  if (!simd::depthwise_norm_declines(job.params, in.x.shape, w.shape)) return simd::depthwise_norm_forward(job);
  simd::any_norm_forward(job);
}

void conv_norm_backward(const Conv2dParams& params, const NormalizedView& in, ConstView w, const NormGradient& dy,
                        std::optional<View> dw, std::optional<View> dx, std::optional<View> dscale,
                        std::optional<View> dbeta) {
  check_input(in);
  check_element(dy.g, "gradient");
  const Shape y_shape = conv2d_shape(params, in.x.shape, w.shape);
  const std::int64_t channels = w.shape[3];
  check_shape(kName, {"gradient", dy.g}, y_shape);
  check_channels(dy.a, "a", channels);
  if (dy.b.has_value() != dy.mean.has_value() || dy.b.has_value() != dy.c.has_value())
    throw Error(ErrorKind::usage, kName, "b, c and the mean of a gradient are given together or not at all");
  if (dy.b) {
    check_shape(kName, {"result", dy.y}, y_shape);
    check_dtype(kName, {"result", dy.y}, dy.g.dtype, dy.g);
    check_channels(*dy.b, "b", channels);
    check_channels(*dy.mean, "mean", channels);
    check_channels(*dy.c, "c", channels);
  }
  if (dw) {
    check_dtype(kName, {"gradient of the weights", dw}, DType::f32, in.x);
    check_shape(kName, {"gradient of the weights", dw}, w.shape);
  }
  if (dx) {
    check_dtype(kName, {"gradient of the input", dx}, in.x.dtype, in.x);
    check_shape(kName, {"gradient of the input", dx}, in.x.shape);
    if (in.mean && (!dscale || !dbeta))
      throw Error(ErrorKind::usage, kName, "the gradient of a normalised input comes with those of scale and beta");
  }
  if (dscale) check_channels(*dscale, "gradient of scale", in.x.shape[3]);
  if (dbeta) check_channels(*dbeta, "gradient of beta", in.x.shape[3]);
  if (dy.g.numel() == 0) {
    zero(dw);
    zero(dx);
    zero(dscale);
    return zero(dbeta);
  }
  const simd::ConvNormBackward job{resolved(params, in.x.shape, w.shape), in, w, dy, dw, dx, dscale, dbeta};
  if (dx && in.x.dtype != dy.g.dtype) return simd::any_norm_backward(job);
  if (!simd::pointwise_norm_declines(job.params, in.x.shape, w.shape)) return simd::pointwise_norm_backward(job);
  if (!simd::depthwise_norm_declines(job.params, in.x.shape, w.shape)) return simd::depthwise_norm_backward(job);
  simd::any_norm_backward(job);
}

void normalize_forward(const NormalizedView& in, OptionalView residual, View y) {
  check_input(in);
  check_element(y, "result");
  check_shape(kName, {"result", y}, in.x.shape);
  if (residual) {
    check_shape(kName, {"residual", residual}, in.x.shape);
    check_dtype(kName, {"residual", residual}, in.x.dtype, in.x);
  }
  if (y.numel() == 0) return;
  simd::normalize(in, residual, y);
}

void normalize_backward(const NormalizedView& in, OptionalView result, View g, View dscale, View dbeta) {
  check_input(in);
  if (!in.mean) throw Error(ErrorKind::usage, kName, "the input is not normalised");
  const std::int64_t channels = in.x.shape.dim(-1);
  check_shape(kName, {"gradient", g}, in.x.shape);
  check_dtype(kName, {"gradient", g}, in.x.dtype, in.x);
  if (result) {
    check_shape(kName, {"result", result}, in.x.shape);
    check_dtype(kName, {"result", result}, in.x.dtype, in.x);
  }
  check_channels(dscale, "gradient of scale", channels);
  check_channels(dbeta, "gradient of beta", channels);
  if (g.numel() == 0) {
    fill_zero(dscale);
    return fill_zero(dbeta);
  }
  simd::normalize_gradient(in, result, g, dscale, dbeta);
}

}  // namespace fovea::kernels
