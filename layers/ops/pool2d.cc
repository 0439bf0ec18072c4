#include "layers/ops/pool2d.h"

#include "core/autograd/tape.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;
using kernels::PoolKind;

class Pool2dOp final : public Op {
 public:
  explicit Pool2dOp(const Pool2dParams& params) : params_(params) {
    const Padding& p = params.padding;
    if (params.window.h < 1 || params.window.w < 1 || params.stride.h < 1 || params.stride.w < 1) {
      throw Error(ErrorKind::usage, type(), "window and stride must be at least 1");
    }
    if (p.top < 0 || p.bottom < 0 || p.left < 0 || p.right < 0)
      throw Error(ErrorKind::usage, type(), "padding must not be negative");
  }

  std::string_view type() const override { return params_.kind == PoolKind::max ? "max_pool2d" : "avg_pool2d"; }

  Attributes attributes() const override {
    Attributes a;
    set_size(a, "window", params_.window);
    set_size(a, "stride", params_.stride);
    set_padding(a, params_.padding);
    a.set("ceil_mode", Attribute(params_.ceil_mode));
    if (params_.kind == PoolKind::average) a.set("count_include_pad", Attribute(params_.count_include_pad));
    return a;
  }

  static OpPtr make(PoolKind kind, const Attributes& a) {
    Pool2dParams params;
    params.kind = kind;
    params.window = get_size(a, "window", 1);
    params.stride = get_size(a, "stride", 1);
    params.padding = get_padding(a);
    params.ceil_mode = a.get_bool("ceil_mode");
    if (kind == PoolKind::average) params.count_include_pad = a.get_bool("count_include_pad");
    return std::make_shared<Pool2dOp>(params);
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_maps(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    return {{kernels::pool2d_shape(params_, in[0].shape), dtype}};
  }

  void forward(ForwardContext& context) const override {
    Tensor& y = context.allocate();
    std::optional<View> argmax;
    if (params_.kind == PoolKind::max && context.recording) {
      context.saved.emplace_back(y.shape(), DType::i32, y.device());
      argmax = context.saved.back().mutable_view();
    }
    kernels::pool2d_forward(params_, context.in[0].view(), y.mutable_view(), argmax);
  }

  void backward(BackwardContext& context) const override {
    const OptionalView argmax = context.saved.empty() ? std::nullopt : OptionalView(context.saved[0].view());
    kernels::pool2d_backward(params_, context.grad_out[0].view(), argmax, allocate_grad(context, 0).mutable_view());
  }

  Keep keep() const override { return {0, 0}; }

 private:
  Pool2dParams params_;
};

class GlobalAveragePoolOp final : public Op {
 public:
  std::string_view type() const override { return "global_average_pool"; }
  Attributes attributes() const override { return {}; }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_maps(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    if (in[0].shape[1] * in[0].shape[2] == 0)
      throw Error(ErrorKind::shape, type(), str("an image without pixels has no mean: ", in[0].shape));
    return {{Shape{in[0].shape[0], in[0].shape[3]}, dtype}};
  }

  void forward(ForwardContext& context) const override {
    kernels::global_average_pool_forward(context.in[0].view(), context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    kernels::global_average_pool_backward(context.grad_out[0].view(), allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 0}; }
};

class AdaptiveAveragePoolOp final : public Op {
 public:
  explicit AdaptiveAveragePoolOp(Size2 size) : size_(size) {
    if (size.h < 1 || size.w < 1) throw Error(ErrorKind::usage, type(), "the result size must be at least 1×1");
  }
  std::string_view type() const override { return "adaptive_average_pool"; }
  Attributes attributes() const override {
    Attributes a;
    set_size(a, "size", size_);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_maps(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    const Shape& x = in[0].shape;
    if (x[1] * x[2] == 0) throw Error(ErrorKind::shape, type(), str("an image without pixels has no mean: ", x));
    return {{Shape{x[0], size_.h, size_.w, x[3]}, dtype}};
  }

  void forward(ForwardContext& context) const override {
    kernels::adaptive_average_pool_forward(context.in[0].view(), context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    kernels::adaptive_average_pool_backward(context.grad_out[0].view(), allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 0}; }

 private:
  Size2 size_;
};

}  // namespace

OpPtr ops::make_max_pool2d(const Attributes& a) { return Pool2dOp::make(PoolKind::max, a); }
OpPtr ops::make_avg_pool2d(const Attributes& a) { return Pool2dOp::make(PoolKind::average, a); }
OpPtr ops::make_global_average_pool(const Attributes&) { return std::make_shared<GlobalAveragePoolOp>(); }
OpPtr ops::make_adaptive_average_pool(const Attributes& a) {
  return std::make_shared<AdaptiveAveragePoolOp>(get_size(a, "size", 1));
}

Tensor max_pool2d(const Tensor& x, Pool2dParams params) {
  params.kind = PoolKind::max;
  return run_op1(std::make_shared<Pool2dOp>(params), {x});
}

Tensor avg_pool2d(const Tensor& x, Pool2dParams params) {
  params.kind = PoolKind::average;
  return run_op1(std::make_shared<Pool2dOp>(params), {x});
}

Tensor global_average_pool(const Tensor& x) { return run_op1(std::make_shared<GlobalAveragePoolOp>(), {x}); }
Tensor adaptive_average_pool(const Tensor& x, Size2 size) {
  return run_op1(std::make_shared<AdaptiveAveragePoolOp>(size), {x});
}

}  // namespace fovea
