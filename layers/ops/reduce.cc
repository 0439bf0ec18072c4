#include "layers/ops/reduce.h"

#include "core/autograd/tape.h"
#include "kernels/elementwise.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;
using kernels::Reduction;

class ReduceOp final : public Op {
 public:
  ReduceOp(Reduction kind, std::vector<std::int64_t> axes, bool keep_axes)
      : kind_(kind), axes_(std::move(axes)), keep_axes_(keep_axes) {}

  std::string_view type() const override {
    return kind_ == Reduction::sum ? "sum" : kind_ == Reduction::mean ? "mean" : "max";
  }
  Attributes attributes() const override {
    Attributes a;
    a.set("axes", Attribute(axes_));
    a.set("keep_axes", Attribute(keep_axes_));
    return a;
  }
  static OpPtr make(Reduction kind, const Attributes& a) {
    return std::make_shared<ReduceOp>(kind, a.get_ints("axes"), a.get_bool("keep_axes"));
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_floating(type(), in);
    const Shape& x = in[0].shape;
    std::int64_t count = 1;
    for (const int axis : normal_axes(type(), axes_, x.rank())) count *= x[axis];
    if (kind_ != Reduction::sum && count == 0) {
      throw Error(ErrorKind::shape, type(), str("there is no ", type(), " over no elements: ", x));
    }
    return {{reduced(x, keep_axes_), dtype}};
  }

  void forward(ForwardContext& context) const override {
    const Shape& x = context.in[0].shape();
    kernels::reduce(kind_, normal_axes(type(), axes_, x.rank()), context.in[0].view(),
                    dropped(context.allocate().mutable_view(), x));
  }

  void backward(BackwardContext& context) const override {
    const Shape& x = context.in_spec[0].shape;
    const auto axes = normal_axes(type(), axes_, x.rank());
    const ConstView dy = dropped(context.grad_out[0].view(), x);
    View dx = allocate_grad(context, 0).mutable_view();
    if (kind_ == Reduction::max) {
      kernels::reduce_max_backward(axes, context.in[0].view(), dropped(context.out[0].view(), x), dy, dx);
    } else {
      kernels::reduce_backward(kind_, axes, dy, dx);
    }
  }

  Keep keep() const override {
    const std::uint32_t bit = kind_ == Reduction::max ? 1u : 0u;
    return {bit, bit};
  }

 private:
  Shape reduced(const Shape& x, bool keep_axes) const {
    std::vector<char> gone(static_cast<std::size_t>(x.rank()), 0);
    for (const int axis : normal_axes(type(), axes_, x.rank())) gone[static_cast<std::size_t>(axis)] = 1;
    std::vector<std::int64_t> dims;
    for (int i = 0; i < x.rank(); ++i) {
      if (!gone[static_cast<std::size_t>(i)]) {
        dims.push_back(x[i]);
      } else if (keep_axes) {
        dims.push_back(1);
      }
    }
    return Shape(std::span<const std::int64_t>(dims));
  }
  /// Kernels drop the axes; kept ones are a matter of the shape only.
  template <class V>
  V dropped(V view, const Shape& x) const {
    view.shape = reduced(x, false);
    return view;
  }

  Reduction kind_;
  std::vector<std::int64_t> axes_;
  bool keep_axes_;
};

class SoftmaxOp final : public Op {
 public:
  explicit SoftmaxOp(bool log) : log_(log) {}
  std::string_view type() const override { return log_ ? "log_softmax" : "softmax"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_floating(type(), in);
    if (in[0].shape.rank() < 1) throw Error(ErrorKind::shape, type(), "a scalar has no classes");
    return {{in[0].shape, dtype}};
  }
  void forward(ForwardContext& context) const override {
    (log_ ? kernels::log_softmax_forward : kernels::softmax_forward)(context.in[0].view(),
                                                                     context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    (log_ ? kernels::log_softmax_backward : kernels::softmax_backward)(
        context.out[0].view(), context.grad_out[0].view(), allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 1}; }

 private:
  bool log_;
};

class DropoutOp final : public Op {
 public:
  explicit DropoutOp(double rate) : rate_(rate) {
    if (!(rate >= 0 && rate < 1)) throw Error(ErrorKind::usage, type(), str("rate must lie in [0, 1), got ", rate));
  }
  std::string_view type() const override { return "dropout"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("rate", Attribute(rate_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    return {{in[0].shape, check_maps(type(), in)}};
  }
  void forward(ForwardContext& context) const override {
    if (!drops(context.training)) {
      context.out[0] = context.in[0].view_as(context.in[0].shape());
      return;
    }
    Tensor& y = context.allocate();
    Tensor mask(y.shape(), DType::u8, y.device());
    const std::int64_t each = y.rank() > 0 && y.dim(0) > 0 ? y.numel() / y.dim(0) : 0;
    kernels::dropout_forward(rate_, context.rng, context.in[0].view(), y.mutable_view(), mask.mutable_view(),
                             context.first_example * each);
    if (context.recording) context.saved.push_back(std::move(mask));
  }
  void backward(BackwardContext& context) const override {
    if (!drops(context.training)) {
      context.grad_in[0] = context.grad_out[0];
      return;
    }
    kernels::dropout_backward(rate_, context.saved[0].view(), context.grad_out[0].view(),
                              allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 0}; }

 private:
  bool drops(bool training) const { return training && rate_ > 0; }
  double rate_;
};

}  // namespace

OpPtr ops::make_sum(const Attributes& a) { return ReduceOp::make(Reduction::sum, a); }
OpPtr ops::make_mean(const Attributes& a) { return ReduceOp::make(Reduction::mean, a); }
OpPtr ops::make_max(const Attributes& a) { return ReduceOp::make(Reduction::max, a); }
OpPtr ops::make_softmax(const Attributes&) { return std::make_shared<SoftmaxOp>(false); }
OpPtr ops::make_log_softmax(const Attributes&) { return std::make_shared<SoftmaxOp>(true); }
OpPtr ops::make_dropout(const Attributes& a) { return std::make_shared<DropoutOp>(a.get_double("rate")); }

Tensor sum(const Tensor& x, const std::vector<std::int64_t>& axes, bool keep_axes) {
  return run_op1(std::make_shared<ReduceOp>(Reduction::sum, axes, keep_axes), {x});
}
Tensor mean(const Tensor& x, const std::vector<std::int64_t>& axes, bool keep_axes) {
  return run_op1(std::make_shared<ReduceOp>(Reduction::mean, axes, keep_axes), {x});
}
Tensor max(const Tensor& x, const std::vector<std::int64_t>& axes, bool keep_axes) {
  return run_op1(std::make_shared<ReduceOp>(Reduction::max, axes, keep_axes), {x});
}
Tensor softmax(const Tensor& x) { return run_op1(std::make_shared<SoftmaxOp>(false), {x}); }
Tensor log_softmax(const Tensor& x) { return run_op1(std::make_shared<SoftmaxOp>(true), {x}); }
Tensor dropout(const Tensor& x, double rate) { return run_op1(std::make_shared<DropoutOp>(rate), {x}); }

}  // namespace fovea
