#include "layers/ops/activation.h"

#include "core/autograd/tape.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

class ActivationOp final : public Op {
 public:
  explicit ActivationOp(ActivationParams params) : params_(params) {
    if (params.kind == Activation::leaky_relu && !(params.alpha >= 0)) {
      // The derivative is told from the result's sign, which a negative slope would hide.
      throw Error(ErrorKind::usage, type(), str("the slope must not be negative, got ", params.alpha));
    }
  }

  std::string_view type() const override { return kernels::to_string(params_.kind); }
  Attributes attributes() const override {
    Attributes a;
    if (params_.kind == Activation::leaky_relu) a.set("alpha", Attribute(params_.alpha));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    return {{in[0].shape, check_maps(type(), in)}};
  }
  void forward(ForwardContext& context) const override {
    kernels::activation_forward(params_, context.in[0].view(), context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    const Tensor& kept = from_result() ? context.out[0] : context.in[0];
    const ConstView have = kept.view();
    ConstView absent = have;
    absent.data = nullptr;
    const ConstView dy = context.grad_out[0].view();
    Tensor dx = reusable_grad(context);
    kernels::activation_backward(params_, from_result() ? absent : have, from_result() ? have : absent, dy,
                                 dx.mutable_view());
    context.grad_in[0] = std::move(dx);
  }
  Keep keep() const override { return {from_result() ? 0u : 1u, from_result() ? 1u : 0u}; }

 private:
  bool from_result() const { return kernels::derivative_from_result(params_.kind); }
  ActivationParams params_;
};

OpPtr make(Activation kind) { return std::make_shared<ActivationOp>(ActivationParams{kind}); }

}  // namespace

OpPtr ops::make_relu(const Attributes&) { return make(Activation::relu); }
OpPtr ops::make_relu6(const Attributes&) { return make(Activation::relu6); }
OpPtr ops::make_leaky_relu(const Attributes& a) {
  return std::make_shared<ActivationOp>(ActivationParams{Activation::leaky_relu, get_double_in(a, "alpha", 0, 1e6)});
}
OpPtr ops::make_sigmoid(const Attributes&) { return make(Activation::sigmoid); }
OpPtr ops::make_silu(const Attributes&) { return make(Activation::silu); }
OpPtr ops::make_hard_swish(const Attributes&) { return make(Activation::hard_swish); }
OpPtr ops::make_hard_sigmoid(const Attributes&) { return make(Activation::hard_sigmoid); }
OpPtr ops::make_gelu(const Attributes&) { return make(Activation::gelu); }
OpPtr ops::make_gelu_tanh(const Attributes&) { return make(Activation::gelu_tanh); }
OpPtr ops::make_tanh(const Attributes&) { return make(Activation::tanh); }

Tensor activation(const Tensor& x, ActivationParams params) {
  if (params.kind == Activation::none) return x;
  return run_op1(std::make_shared<ActivationOp>(params), {x});
}

Tensor relu(const Tensor& x) { return activation(x, {Activation::relu}); }
Tensor relu6(const Tensor& x) { return activation(x, {Activation::relu6}); }
Tensor leaky_relu(const Tensor& x, double alpha) { return activation(x, {Activation::leaky_relu, alpha}); }
Tensor sigmoid(const Tensor& x) { return activation(x, {Activation::sigmoid}); }
Tensor silu(const Tensor& x) { return activation(x, {Activation::silu}); }
Tensor hard_swish(const Tensor& x) { return activation(x, {Activation::hard_swish}); }
Tensor hard_sigmoid(const Tensor& x) { return activation(x, {Activation::hard_sigmoid}); }
Tensor gelu(const Tensor& x, bool tanh_approximation) {
  return activation(x, {tanh_approximation ? Activation::gelu_tanh : Activation::gelu});
}
Tensor tanh(const Tensor& x) { return activation(x, {Activation::tanh}); }

}  // namespace fovea
