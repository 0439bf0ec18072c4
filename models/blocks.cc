#include "models/blocks.h"

#include <algorithm>

#include "layers/ops/arithmetic.h"
#include "layers/ops/pool2d.h"

namespace fovea::models {

int make_divisible(double value, int divisor) {
  const int rounded = std::max(divisor, static_cast<int>(value + divisor / 2.0) / divisor * divisor);
  return rounded < 0.9 * value ? rounded + divisor : rounded;
}

ConvBnAct conv_bn(int in, int out, const ConvOptions& o, const Conventions& c) {
  return ConvBnAct(in, out,
                   {.kernel = o.kernel,
                    .stride = o.stride,
                    .padding = o.padding.value_or(c.padding(o.kernel)),
                    .groups = o.groups,
                    .norm = c.norm,
                    .activation = o.activation,
                    .weight_init = init::pytorch::kaiming_normal(0, Initializer::Fan::out)});
}

SqueezeExcite::SqueezeExcite(int channels, int squeezed, const SqueezeExciteOptions& o) {
  reduce_ = register_module(
      "reduce", std::make_shared<Conv2d>(channels, squeezed, Conv2dOptions{.kernel = 1, .activation = o.activation}));
  expand_ = register_module(
      "expand", std::make_shared<Conv2d>(squeezed, channels, Conv2dOptions{.kernel = 1, .activation = o.gate}));
}

Tensor SqueezeExcite::forward(const Tensor& x) {
  return multiply(x, (*expand_)((*reduce_)(adaptive_average_pool(x, {1, 1}))));
}

InvertedResidual::InvertedResidual(const InvertedResidualOptions& o, const Conventions& c)
    : residual_(o.shortcut && o.stride == 1 && o.in == o.out) {
  const int inner = o.expand ? o.expanded : o.in;
  if (o.expand) {
    expand_ =
        register_module("expand", std::make_shared<ConvBnAct>(conv_bn(o.in, inner, {.activation = o.activation}, c)));
  }
  depthwise_ = register_module(
      "depthwise",
      std::make_shared<ConvBnAct>(conv_bn(
          inner, inner,
          {.kernel = o.kernel, .stride = o.stride, .groups = inner, .activation = o.activation, .padding = o.padding},
          c)));
  if (o.squeezed > 0) excite_ = register_module("se", std::make_shared<SqueezeExcite>(inner, o.squeezed, o.excite));
  project_ =
      register_module("project", std::make_shared<ConvBnAct>(conv_bn(inner, o.out, {.activation = kNoActivation}, c)));
}

Tensor InvertedResidual::forward(const Tensor& x) {
  Tensor y = expand_ ? (*expand_)(x) : x;
  y = (*depthwise_)(y);
  if (excite_) y = (*excite_)(y);
  y = (*project_)(y);
  return residual_ ? add(x, y) : y;
}

Tensor Rescale::forward(const Tensor& x) { return affine(x, scale_, offset_); }

ScaleChannels::ScaleChannels(const std::vector<float>& scales) {
  const Shape shape{static_cast<std::int64_t>(scales.size())};
  const bool meta = ParameterMode::current() == ParameterMode::Kind::meta;
  register_buffer("scale", meta ? Tensor(shape, DType::f32, kMeta) : Tensor::from(shape, scales));
}

Tensor ScaleChannels::forward(const Tensor& x) { return multiply(x, own_at(0)); }

void add_top(Sequential& net, int features, double dropout, const Options& o) {
  if (o.top == Top::none) return;
  net.add("pool", GlobalAveragePool());
  if (o.top == Top::pooled) return;
  if (dropout > 0) net.add("dropout", Dropout(dropout));
  net.add("classifier", Dense(features, o.classes));
}

Model stretching(Sequential net, int size, int channels) {
  Model model(std::move(net));
  model.preprocessing.width = model.preprocessing.height = size;
  model.preprocessing.channels = channels;
  model.preprocessing.rule = image::ResizeRule::stretch;
  return model;
}

}  // namespace fovea::models
