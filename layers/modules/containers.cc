#include "layers/modules/containers.h"

#include "core/autograd/modes.h"
#include "core/graph/op_list.h"
#include "layers/ops/arithmetic.h"
#include "layers/ops/shape_ops.h"

namespace fovea {

Sequential& Sequential::append(std::string name, ModulePtr module) {
  const std::size_t index = children().size();
  bool fused = false;
  if (const auto* act = dynamic_cast<const ActivationModule*>(module.get()); act && index > 0 && !fused_.back()) {
    const auto* before = dynamic_cast<const FusableModule*>(children().back().second.get());
    fused = before && before->fuses(act->params());
  }
  register_module(name.empty() ? std::to_string(index) : std::move(name), std::move(module));
  fused_.push_back(fused);
  return *this;
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (std::size_t i = 0; i < children().size(); ++i) {
    const auto& [name, module] = children()[i];
    if (i + 1 < children().size() && fused_[i + 1]) {
      const NameScope scope(name);
      const auto& act = static_cast<const ActivationModule&>(*children()[i + 1].second);
      y = static_cast<FusableModule&>(*module).forward_fused(y, act.params());
      ++i;
    } else {
      y = (*module)(y);
    }
  }
  return y;
}

Residual::Residual(ModulePtr body, ModulePtr projection, ActivationParams activation)
    : body_(std::move(body)), projection_(std::move(projection)), activation_(activation) {
  register_module("body", body_);
  if (projection_) register_module("projection", projection_);
}

Tensor Residual::forward(const Tensor& x) {
  const Tensor shortcut = projection_ ? (*projection_)(x) : x;
  return activation(add(shortcut, (*body_)(x)), activation_);
}

Branch& Branch::append(std::string name, ModulePtr module) {
  register_module(name.empty() ? std::to_string(children().size()) : std::move(name), std::move(module));
  return *this;
}

Tensor Branch::forward(const Tensor& x) {
  if (children().empty()) throw Error(ErrorKind::usage, "Branch", "there is no module to run");
  std::vector<Tensor> results;
  for (const auto& [name, module] : children()) results.push_back((*module)(x));
  if (join_ == Join::concat) return concat(results, -1);
  Tensor joined = results[0];
  for (std::size_t i = 1; i < results.size(); ++i) {
    joined = join_ == Join::sum ? fovea::add(joined, results[i]) : multiply(joined, results[i]);
  }
  return joined;
}

ConvBnAct::ConvBnAct(int in, int out, const ConvBnActOptions& o) {
  conv_ = register_module("conv", std::make_shared<Conv2d>(in, out,
                                                           Conv2dOptions{.kernel = o.kernel,
                                                                         .stride = o.stride,
                                                                         .padding = o.padding,
                                                                         .dilation = o.dilation,
                                                                         .groups = o.groups,
                                                                         .bias = o.bias,
                                                                         .weight_init = o.weight_init}));
  BatchNormOptions norm = o.norm;
  norm.activation = o.activation;
  bn_ = register_module("bn", std::make_shared<BatchNorm>(out, norm, o.scale));
}

Tensor ConvBnAct::forward(const Tensor& x) {
  if (!is_training() || !bn_->constant() || is_per_example()) return (*bn_)((*conv_)(x));
  const NameScope scope("conv");
  const auto [scaling, shift] = bn_->affine();
  const Tensor bias = conv_->bias();
  return conv2d(x, multiply(conv_->weight(), scaling),
                bias.defined() ? fovea::add(multiply(bias, scaling), shift) : shift, conv_->params(),
                bn_->options().activation);
}

}  // namespace fovea
