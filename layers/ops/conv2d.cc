#include "layers/ops/conv2d.h"

#include "core/autograd/tape.h"
#include "layers/ops/conv_norm_internal.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

template <class Params>
void set_common(Attributes& to, const Params& params) {
  set_size(to, "stride", params.stride);
  set_padding(to, params.padding);
  set_size(to, "dilation", params.dilation);
  to.set("groups", params.groups);
}

template <class Params>
Params get_common(const Attributes& from) {
  Params params;
  params.stride = get_size(from, "stride", 1);
  params.padding = get_padding(from);
  params.dilation = get_size(from, "dilation", 1);
  params.groups = from.get_int_in("groups", 1, 1 << 20);
  return params;
}

template <class Params>
void check_params(std::string_view op, const Params& p) {
  if (p.stride.h < 1 || p.stride.w < 1 || p.dilation.h < 1 || p.dilation.w < 1 || p.groups < 1) {
    throw Error(ErrorKind::usage, op, "stride, dilation and groups must be at least 1");
  }
  if (p.padding.top < 0 || p.padding.bottom < 0 || p.padding.left < 0 || p.padding.right < 0) {
    throw Error(ErrorKind::usage, op, "padding must not be negative");
  }
}

class Conv2dOp final : public Op {
 public:
  Conv2dOp(const Conv2dParams& params, ActivationParams activation) : params_(params), activation_{activation} {
    check_params("conv2d", params);
  }

  std::string_view type() const override { return "conv2d"; }

  Attributes attributes() const override {
    Attributes a;
    set_common(a, params_);
    set_activation(a, activation_.params);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 3);
    const DType dtype = check_maps(type(), in.first(2));
    check_parameters(type(), dtype, in.subspan(2));
    check_rank(type(), "input", in[0], 4, "NHWC");
    check_rank(type(), "weights", in[1], 4, "HWIO");
    if (in.size() > 2) check_vector(type(), "bias", in[2], in[1].shape[3], "result channels");
    return {{kernels::conv2d_shape(params_, in[0].shape, in[1].shape), dtype}};
  }

  void forward(ForwardContext& context) const override {
    const OptionalView bias = context.in.size() > 2 ? optional_view(context.in[2]) : std::nullopt;
    kernels::conv2d_forward(params_, context.in[0].view(), context.in[1].view(), bias,
                            context.allocate().mutable_view(), activation_.in_kernel(context));
    activation_.finish_forward(context);
  }

  void backward(BackwardContext& context) const override {
    const Tensor dy = activation_.grad_before(context);
    if (const auto dx = wanted_grad(context, 0))
      kernels::conv2d_backward_data(params_, dy.view(), context.in[1].view(), *dx);
    const bool bias = context.needs.size() > 2 && context.needs[2];
    if (context.needs[1] || bias) {
      // The bias alone (frozen weights) still goes through the kernel that sums dy.
      Tensor unwanted;
      View dw = context.needs[1] ? *wanted_grad(context, 1)
                                 : (unwanted = Tensor(context.in_spec[1], context.device)).mutable_view();
      kernels::conv2d_backward_weights(params_, context.in[0].view(), dy.view(), dw, wanted_grad(context, 2));
    }
  }

  Keep keep() const override { return {0b011, activation_.kept_outputs()}; }

  std::int64_t macs(Specs in, Specs out) const override {
    const Shape& w = in[1].shape;
    return out[0].shape.numel() * w[0] * w[1] * w[2];
  }

 private:
  Conv2dParams params_;
  FusedActivation activation_;
};

class ConvTranspose2dOp final : public Op {
 public:
  explicit ConvTranspose2dOp(const ConvTranspose2dParams& params) : params_(params) {
    check_params("conv_transpose2d", params);
    if (params.output_padding.h < 0 || params.output_padding.w < 0) {
      throw Error(ErrorKind::usage, "conv_transpose2d", "output_padding must not be negative");
    }
  }

  std::string_view type() const override { return "conv_transpose2d"; }

  Attributes attributes() const override {
    Attributes a;
    set_common(a, params_);
    set_size(a, "output_padding", params_.output_padding);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 3);
    const DType dtype = check_floating(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    check_rank(type(), "weights", in[1], 4, "HWOI");
    const Shape y = kernels::conv_transpose2d_shape(params_, in[0].shape, in[1].shape);
    if (in.size() > 2) check_vector(type(), "bias", in[2], y[3], "result channels");
    return {{y, dtype}};
  }

  void forward(ForwardContext& context) const override {
    const OptionalView bias = context.in.size() > 2 ? optional_view(context.in[2]) : std::nullopt;
    kernels::conv_transpose2d_forward(params_, context.in[0].view(), context.in[1].view(), bias,
                                      context.allocate().mutable_view());
  }

  void backward(BackwardContext& context) const override {
    const ConstView dy = context.grad_out[0].view();
    if (const auto dx = wanted_grad(context, 0))
      kernels::conv_transpose2d_backward_data(params_, dy, context.in[1].view(), *dx);
    const bool bias = context.needs.size() > 2 && context.needs[2];
    if (context.needs[1] || bias) {
      Tensor unwanted;
      View dw = context.needs[1] ? *wanted_grad(context, 1)
                                 : (unwanted = Tensor(context.in_spec[1], context.device)).mutable_view();
      kernels::conv_transpose2d_backward_weights(params_, context.in[0].view(), dy, dw, wanted_grad(context, 2));
    }
  }

  Keep keep() const override { return {0b011, 0}; }

  std::int64_t macs(Specs in, Specs) const override {
    const Shape& w = in[1].shape;
    return in[0].shape.numel() * w[0] * w[1] * w[2];
  }

 private:
  ConvTranspose2dParams params_;
};

}  // namespace

Conv2dParams ops::get_conv2d(const Attributes& a) { return get_common<Conv2dParams>(a); }

OpPtr ops::make_conv2d(const Attributes& a) { return std::make_shared<Conv2dOp>(get_conv2d(a), get_activation(a)); }

OpPtr ops::make_conv_transpose2d(const Attributes& a) {
  auto params = get_common<ConvTranspose2dParams>(a);
  params.output_padding = get_size(a, "output_padding", 0);
  return std::make_shared<ConvTranspose2dOp>(params);
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const Conv2dParams& params,
              ActivationParams activation) {
  return run_op1(std::make_shared<Conv2dOp>(params, activation), {x, w, bias});
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvTranspose2dParams& params) {
  return run_op1(std::make_shared<ConvTranspose2dOp>(params), {x, w, bias});
}

}  // namespace fovea
