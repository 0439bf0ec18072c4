#include "layers/ops/arithmetic.h"

#include "core/autograd/tape.h"
#include "kernels/elementwise.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;
using kernels::Binary;

class BinaryOp final : public Op {
 public:
  explicit BinaryOp(Binary kind) : kind_(kind) {}

  std::string_view type() const override {
    return kind_ == Binary::add ? "add" : kind_ == Binary::subtract ? "subtract" : "multiply";
  }
  Attributes attributes() const override { return {}; }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 2);
    const DType dtype = check_maps(type(), in);
    return {{kernels::broadcast_shape(type(), in[0].shape, in[1].shape), dtype}};
  }

  void forward(ForwardContext& context) const override {
    kernels::binary(kind_, context.in[0].view(), context.in[1].view(), context.allocate().mutable_view());
  }

  void backward(BackwardContext& context) const override {
    for (std::size_t i = 0; i < 2; ++i) {
      if (!context.needs[i]) continue;
      context.grad_in[i] = summed(context, i,
                                  i == 1 && kind_ == Binary::subtract ? negated(context)
                                  : kind_ == Binary::multiply         ? times(context, 1 - i)
                                                                      : context.grad_out[0]);
    }
  }

  Keep keep() const override { return {kind_ == Binary::multiply ? 0b11u : 0u, 0}; }

 private:
  static Tensor negated(const BackwardContext& context) {
    Tensor out(context.out_spec[0], context.device);
    kernels::affine(-1, 0, context.grad_out[0].view(), out.mutable_view());
    return out;
  }
  static Tensor times(const BackwardContext& context, std::size_t other) {
    Tensor out(context.out_spec[0], context.device);
    kernels::binary(Binary::multiply, context.grad_out[0].view(), context.in[other].view(), out.mutable_view());
    return out;
  }
  /// Sums over the axes along which operand i was spread.
  static Tensor summed(BackwardContext& context, std::size_t i, Tensor grad) {
    if (grad.shape() == context.in_spec[i].shape) return grad;
    Tensor out(context.in_spec[i], context.device);
    kernels::reduce_to(grad.view(), out.mutable_view());
    return out;
  }

  Binary kind_;
};

class AffineOp final : public Op {
 public:
  AffineOp(double scale, double shift) : scale_(scale), shift_(shift) {}

  std::string_view type() const override { return "affine"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("scale", Attribute(scale_));
    a.set("shift", Attribute(shift_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    return {{in[0].shape, check_maps(type(), in)}};
  }
  void forward(ForwardContext& context) const override {
    kernels::affine(scale_, shift_, context.in[0].view(), context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    kernels::affine(scale_, 0, context.grad_out[0].view(), allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 0}; }

 private:
  double scale_, shift_;
};

}  // namespace

OpPtr ops::make_add(const Attributes&) { return std::make_shared<BinaryOp>(Binary::add); }
OpPtr ops::make_subtract(const Attributes&) { return std::make_shared<BinaryOp>(Binary::subtract); }
OpPtr ops::make_multiply(const Attributes&) { return std::make_shared<BinaryOp>(Binary::multiply); }
OpPtr ops::make_affine(const Attributes& a) {
  return std::make_shared<AffineOp>(a.get_double("scale"), a.get_double("shift"));
}

Tensor add(const Tensor& a, const Tensor& b) { return run_op1(std::make_shared<BinaryOp>(Binary::add), {a, b}); }
Tensor subtract(const Tensor& a, const Tensor& b) {
  return run_op1(std::make_shared<BinaryOp>(Binary::subtract), {a, b});
}
Tensor multiply(const Tensor& a, const Tensor& b) {
  return run_op1(std::make_shared<BinaryOp>(Binary::multiply), {a, b});
}
Tensor affine(const Tensor& x, double scale, double shift) {
  return run_op1(std::make_shared<AffineOp>(scale, shift), {x});
}
Tensor scale(const Tensor& x, double factor) { return affine(x, factor, 0); }

}  // namespace fovea
