#include "layers/modules/conv2d.h"

#include <cmath>

namespace fovea {
namespace {

void check_channels(std::string_view kind, int in, int out, Size2 kernel, int groups) {
  if (in < 1 || out < 1 || kernel.h < 1 || kernel.w < 1 || groups < 1) {
    throw Error(ErrorKind::usage, kind,
                str("channels (", in, " to ", out, "), kernel (", kernel.h, "×", kernel.w, ") and groups (", groups,
                    ") must be at least 1"));
  }
  if (in % groups != 0 || out % groups != 0) {
    throw Error(ErrorKind::usage, kind, str(in, " and ", out, " channels do not divide into ", groups, " groups"));
  }
}

Initializer bias_start(const std::optional<Initializer>& wanted, std::int64_t fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return wanted.value_or(init::uniform(-bound, bound));
}

}  // namespace

Conv2d::Conv2d(int in, int out, const Conv2dOptions& options)
    : params_{options.stride, options.padding, options.dilation, options.groups},
      activation_(options.activation),
      bias_(options.bias) {
  const Size2 kernel = options.kernel;
  check_channels("Conv2d", in, out, kernel, options.groups);
  Initializer start = options.weight_init;
  start.groups = options.groups;
  register_parameter("weight", Shape{kernel.h, kernel.w, in / options.groups, out}, start);
  if (bias_) {
    register_parameter("bias", Shape{out},
                       bias_start(options.bias_init, std::int64_t{kernel.h} * kernel.w * (in / options.groups)),
                       ParameterRole::bias);
  }
}

bool Conv2d::fuses(const ActivationParams& activation) const {
  return activation_.kind == Activation::none && kernels::derivative_from_result(activation.kind);
}

Tensor Conv2d::forward_fused(const Tensor& x, ActivationParams activation) {
  return conv2d(x, weight(), bias(), params_, activation);
}

DepthwiseConv2d::DepthwiseConv2d(int channels, const DepthwiseConv2dOptions& o)
    : Conv2d(channels, channels * o.multiplier,
             {o.kernel, o.stride, o.padding, o.dilation, channels, o.bias, o.activation, o.weight_init, o.bias_init}) {}

ConvTranspose2d::ConvTranspose2d(int in, int out, const ConvTranspose2dOptions& options)
    : params_{options.stride, options.padding, options.dilation, options.output_padding, options.groups},
      bias_(options.bias) {
  const Size2 kernel = options.kernel;
  check_channels("ConvTranspose2d", in, out, kernel, options.groups);
  Initializer start = options.weight_init;
  register_parameter("weight", Shape{kernel.h, kernel.w, out / options.groups, in}, start);
  if (bias_) {
    register_parameter("bias", Shape{out},
                       bias_start(options.bias_init, std::int64_t{kernel.h} * kernel.w * (out / options.groups)),
                       ParameterRole::bias);
  }
}

Tensor ConvTranspose2d::forward(const Tensor& x) {
  return conv_transpose2d(x, own_at(0), bias_ ? own_at(1) : Tensor(), params_);
}

}  // namespace fovea
