#include "layers/modules/simple.h"

#include "layers/modules/activation.h"
#include "layers/ops/reduce.h"

namespace fovea {
namespace {

Pool2dParams pool_params(kernels::PoolKind kind, Extent window, const Pool2dOptions& options) {
  Pool2dParams params;
  params.kind = kind;
  params.window = window;
  params.stride = options.stride.value_or(window);
  params.padding = options.padding;
  params.ceil_mode = options.ceil_mode;
  params.count_include_pad = options.count_include_pad;
  return params;
}

}  // namespace

MaxPool2d::MaxPool2d(Extent window, const Pool2dOptions& options)
    : params_(pool_params(kernels::PoolKind::max, window, options)) {}
AvgPool2d::AvgPool2d(Extent window, const Pool2dOptions& options)
    : params_(pool_params(kernels::PoolKind::average, window, options)) {}

Dropout::Dropout(double rate) : rate_(rate) {
  if (!(rate >= 0 && rate < 1)) throw Error(ErrorKind::usage, "Dropout", str("rate must lie in [0, 1), got ", rate));
}

Tensor Dropout::forward(const Tensor& x) { return dropout(x, rate_); }

std::string_view ActivationModule::kind() const {
  switch (params_.kind) {
    case Activation::none: return "Identity";
    case Activation::relu: return "ReLU";
    case Activation::relu6: return "ReLU6";
    case Activation::leaky_relu: return "LeakyReLU";
    case Activation::sigmoid: return "Sigmoid";
    case Activation::silu: return "SiLU";
    case Activation::hard_swish: return "HardSwish";
    case Activation::hard_sigmoid: return "HardSigmoid";
    case Activation::gelu:
    case Activation::gelu_tanh: return "GELU";
    case Activation::tanh: return "Tanh";
  }
  return "Activation";
}

}  // namespace fovea
