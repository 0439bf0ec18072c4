#include "layers/ops/dense.h"

#include "core/autograd/tape.h"
#include "kernels/dense.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

class DenseOp final : public Op {
 public:
  explicit DenseOp(ActivationParams activation) : activation_{activation} {}

  std::string_view type() const override { return "dense"; }
  Attributes attributes() const override {
    Attributes a;
    set_activation(a, activation_.params);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 3);
    const DType dtype = check_maps(type(), in.first(2));
    check_parameters(type(), dtype, in.subspan(2));
    check_rank(type(), "weights", in[1], 2, "in,out");
    if (in[0].shape.rank() < 1) throw Error(ErrorKind::shape, type(), "a scalar has no features");
    if (in[0].shape.dim(-1) != in[1].shape[0]) {
      throw Error(ErrorKind::shape, type(),
                  str("weights ", in[1].shape, " expect ", in[1].shape[0], " features, input ", in[0].shape, " has ",
                      in[0].shape.dim(-1)),
                  in[0].shape.rank() == 4 ? "put a Flatten or a pooling layer before it" : "");
    }
    if (in.size() > 2) check_vector(type(), "bias", in[2], in[1].shape[1], "result features");
    return {{in[0].shape.with_dim(-1, in[1].shape[1]), dtype}};
  }

  void forward(ForwardContext& context) const override {
    const OptionalView bias = context.in.size() > 2 ? optional_view(context.in[2]) : std::nullopt;
    kernels::dense_forward(as_rows(context.in[0].view()), context.in[1].view(), bias,
                           as_rows(context.allocate().mutable_view()), activation_.in_kernel(context));
    activation_.finish_forward(context);
  }

  void backward(BackwardContext& context) const override {
    const Tensor grad = activation_.grad_before(context);
    const ConstView dy = as_rows(grad.view());
    if (const auto dx = wanted_grad(context, 0)) kernels::dense_backward_data(dy, context.in[1].view(), as_rows(*dx));
    const bool bias = context.needs.size() > 2 && context.needs[2];
    if (context.needs[1] || bias) {
      Tensor unwanted;
      View dw = context.needs[1] ? *wanted_grad(context, 1)
                                 : (unwanted = Tensor(context.in_spec[1], context.device)).mutable_view();
      kernels::dense_backward_weights(as_rows(context.in[0].view()), dy, dw, wanted_grad(context, 2));
    }
  }

  Keep keep() const override { return {0b011, activation_.kept_outputs()}; }
  std::int64_t macs(Specs in, Specs out) const override { return out[0].shape.numel() * in[1].shape[0]; }

 private:
  FusedActivation activation_;
};

class MatmulOp final : public Op {
 public:
  MatmulOp(bool transpose_a, bool transpose_b) : ta_(transpose_a), tb_(transpose_b) {}

  std::string_view type() const override { return "matmul"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("transpose_a", Attribute(ta_));
    a.set("transpose_b", Attribute(tb_));
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 2);
    const DType dtype = check_maps(type(), in);
    check_rank(type(), "left operand", in[0], 2, "matrix");
    check_rank(type(), "right operand", in[1], 2, "matrix");
    const std::int64_t inner_a = in[0].shape[ta_ ? 0 : 1], inner_b = in[1].shape[tb_ ? 1 : 0];
    if (inner_a != inner_b) {
      throw Error(ErrorKind::shape, type(),
                  str("inner extents differ: ", in[0].shape, ta_ ? " transposed" : "", " times ", in[1].shape,
                      tb_ ? " transposed" : ""));
    }
    return {{Shape{in[0].shape[ta_ ? 1 : 0], in[1].shape[tb_ ? 0 : 1]}, dtype}};
  }

  void forward(ForwardContext& context) const override {
    kernels::matmul(context.in[0].view(), ta_, context.in[1].view(), tb_, context.allocate().mutable_view());
  }

  void backward(BackwardContext& context) const override {
    const ConstView dc = context.grad_out[0].view();
    // c = A·B with A = op(a), B = op(b): dA = dc·Bᵀ, dB = Aᵀ·dc; a transposed operand takes the transpose of its
    // gradient.
    if (const auto da = wanted_grad(context, 0)) {
      const ConstView b = context.in[1].view();
      if (ta_) {
        kernels::matmul(b, tb_, dc, true, *da);
      } else {
        kernels::matmul(dc, false, b, !tb_, *da);
      }
    }
    if (const auto db = wanted_grad(context, 1)) {
      const ConstView a = context.in[0].view();
      if (tb_) {
        kernels::matmul(dc, true, a, ta_, *db);
      } else {
        kernels::matmul(a, !ta_, dc, false, *db);
      }
    }
  }

  Keep keep() const override { return {0b11, 0}; }
  std::int64_t macs(Specs in, Specs out) const override { return out[0].shape.numel() * in[0].shape[ta_ ? 0 : 1]; }

 private:
  bool ta_, tb_;
};

}  // namespace

OpPtr ops::make_dense(const Attributes& a) { return std::make_shared<DenseOp>(get_activation(a)); }
OpPtr ops::make_matmul(const Attributes& a) {
  return std::make_shared<MatmulOp>(a.get_bool("transpose_a"), a.get_bool("transpose_b"));
}

Tensor dense(const Tensor& x, const Tensor& w, const Tensor& bias, ActivationParams activation) {
  return run_op1(std::make_shared<DenseOp>(activation), {x, w, bias});
}

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  return run_op1(std::make_shared<MatmulOp>(transpose_a, transpose_b), {a, b});
}

}  // namespace fovea
