#include "layers/ops/loss.h"

#include "core/autograd/tape.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

constexpr const char* kReductions[] = {"mean", "sum", "none"};

void set_reduction(Attributes& to, LossReduction reduction) {
  to.set("reduction", kReductions[static_cast<int>(reduction)]);
}

LossReduction get_reduction(const Attributes& from) {
  const std::string& name = from.get_string("reduction");
  for (int i = 0; i < 3; ++i) {
    if (name == kReductions[i]) return static_cast<LossReduction>(i);
  }
  throw Error(ErrorKind::format, "attributes", str("unknown reduction '", name, "'"));
}

void check_gamma(std::string_view op, double gamma) {
  if (!(gamma >= 0 && gamma <= 1e6)) throw Error(ErrorKind::usage, op, str("gamma must not be negative, got ", gamma));
}

/// The target has the operand's shape and type.
DType check_same(std::string_view op, Specs in) {
  const DType dtype = check_floating(op, in.first(2));
  if (in[0].shape != in[1].shape) {
    throw Error(ErrorKind::shape, op,
                str("predictions ", in[0].shape, " and targets ", in[1].shape, " differ in shape"));
  }
  return dtype;
}

class CrossEntropyOp final : public Op {
 public:
  CrossEntropyOp(const kernels::CrossEntropyParams& params, bool focal) : params_(params), focal_(focal) {
    if (!(params.label_smoothing >= 0 && params.label_smoothing <= 1)) {
      throw Error(ErrorKind::usage, type(), str("label_smoothing must lie in 0 to 1, got ", params.label_smoothing));
    }
    check_gamma(type(), params.focal_gamma);
  }

  std::string_view type() const override { return focal_ ? "focal" : "cross_entropy"; }
  Attributes attributes() const override {
    Attributes a;
    if (focal_) {
      a.set("gamma", Attribute(params_.focal_gamma));
    } else {
      a.set("label_smoothing", Attribute(params_.label_smoothing));
    }
    a.set("ignore_index", Attribute(params_.ignore_index));
    set_reduction(a, params_.reduction);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 3);
    const DType dtype = check_floating(type(), in.first(1));
    const Shape& logits = in[0].shape;
    if (logits.rank() < 1 || logits.dim(-1) < 1)
      throw Error(ErrorKind::shape, type(), str("logits ", logits, " have no classes"));
    const Shape rows(logits.dims().first(static_cast<std::size_t>(logits.rank() - 1)));
    const DType label = in[1].dtype;
    if (label == DType::i32 || label == DType::i64) {
      if (in[1].shape != rows) {
        throw Error(ErrorKind::shape, type(),
                    str("logits ", logits, " want class indices of shape ", rows, ", got ", in[1].shape));
      }
    } else if (focal_) {
      throw Error(ErrorKind::usage, type(), str("targets must be class indices (i32 or i64), got ", to_string(label)));
    } else {
      if (!is_floating(label)) {
        throw Error(ErrorKind::usage, type(),
                    str("targets must be class indices (i32 or i64) or distributions, got ", to_string(label)));
      }
      check_same(type(), in);
    }
    if (in.size() > 2 && !in[2].absent) {
      check_floating(type(), in.subspan(2));
      check_vector(type(), "class weights", in[2], logits.dim(-1), "classes");
    }
    return {{params_.reduction == LossReduction::none ? rows : Shape{}, dtype}};
  }

  void forward(ForwardContext& context) const override {
    kernels::cross_entropy_forward(params_, context.in[0].view(), context.in[1].view(), weights(context.in),
                                   context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    if (const auto dlogits = wanted_grad(context, 0)) {
      kernels::cross_entropy_backward(params_, context.in[0].view(), context.in[1].view(), weights(context.in),
                                      context.grad_out[0].view(), *dlogits);
    }
  }
  Keep keep() const override { return {0b111, 0}; }

 private:
  static OptionalView weights(std::span<const Tensor> in) {
    return in.size() > 2 ? optional_view(in[2]) : std::nullopt;
  }
  kernels::CrossEntropyParams params_;
  bool focal_;
};

class BinaryCrossEntropyOp final : public Op {
 public:
  BinaryCrossEntropyOp(const kernels::BinaryCrossEntropyParams& params, bool focal) : params_(params), focal_(focal) {
    check_gamma(type(), params.focal_gamma);
    if (!(params.focal_alpha <= 1))
      throw Error(ErrorKind::usage, type(), str("alpha must be at most 1, got ", params.focal_alpha));
  }

  std::string_view type() const override { return focal_ ? "sigmoid_focal" : "binary_cross_entropy"; }
  Attributes attributes() const override {
    Attributes a;
    if (focal_) {
      a.set("gamma", Attribute(params_.focal_gamma));
      a.set("alpha", Attribute(params_.focal_alpha));
    }
    set_reduction(a, params_.reduction);
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 3);
    const DType dtype = check_same(type(), in);
    if (in.size() > 2 && !in[2].absent) {
      check_floating(type(), in.subspan(2));
      if (in[0].shape.rank() < 1) throw Error(ErrorKind::shape, type(), "weights of positives need an axis of classes");
      check_vector(type(), "weights of positives", in[2], in[0].shape.dim(-1), "classes");
    }
    return {{params_.reduction == LossReduction::none ? in[0].shape : Shape{}, dtype}};
  }
  void forward(ForwardContext& context) const override {
    kernels::binary_cross_entropy_forward(params_, context.in[0].view(), context.in[1].view(), weights(context.in),
                                          context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    if (const auto dlogits = wanted_grad(context, 0)) {
      kernels::binary_cross_entropy_backward(params_, context.in[0].view(), context.in[1].view(), weights(context.in),
                                             context.grad_out[0].view(), *dlogits);
    }
  }
  Keep keep() const override { return {0b111, 0}; }

 private:
  static OptionalView weights(std::span<const Tensor> in) {
    return in.size() > 2 ? optional_view(in[2]) : std::nullopt;
  }
  kernels::BinaryCrossEntropyParams params_;
  bool focal_;
};

class MeanSquaredErrorOp final : public Op {
 public:
  explicit MeanSquaredErrorOp(LossReduction reduction) : reduction_(reduction) {}
  std::string_view type() const override { return "mean_squared_error"; }
  Attributes attributes() const override {
    Attributes a;
    set_reduction(a, reduction_);
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 2);
    const DType dtype = check_same(type(), in);
    return {{reduction_ == LossReduction::none ? in[0].shape : Shape{}, dtype}};
  }
  void forward(ForwardContext& context) const override {
    kernels::squared_error_forward(reduction_, context.in[0].view(), context.in[1].view(),
                                   context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    // The target's gradient is that of the operands swapped: (x − t)² is symmetric.
    for (std::size_t i = 0; i < 2; ++i) {
      if (const auto grad = wanted_grad(context, i)) {
        kernels::squared_error_backward(reduction_, context.in[i].view(), context.in[1 - i].view(),
                                        context.grad_out[0].view(), *grad);
      }
    }
  }
  Keep keep() const override { return {0b11, 0}; }

 private:
  LossReduction reduction_;
};

}  // namespace

OpPtr ops::make_cross_entropy(const Attributes& a) {
  return std::make_shared<CrossEntropyOp>(kernels::CrossEntropyParams{get_double_in(a, "label_smoothing", 0, 1),
                                                                      a.get_int("ignore_index"), get_reduction(a)},
                                          false);
}
OpPtr ops::make_focal(const Attributes& a) {
  return std::make_shared<CrossEntropyOp>(
      kernels::CrossEntropyParams{0, a.get_int("ignore_index"), get_reduction(a), get_double_in(a, "gamma", 0, 1e6)},
      true);
}
OpPtr ops::make_binary_cross_entropy(const Attributes& a) {
  return std::make_shared<BinaryCrossEntropyOp>(kernels::BinaryCrossEntropyParams{get_reduction(a)}, false);
}
OpPtr ops::make_sigmoid_focal(const Attributes& a) {
  return std::make_shared<BinaryCrossEntropyOp>(
      kernels::BinaryCrossEntropyParams{get_reduction(a), get_double_in(a, "gamma", 0, 1e6),
                                        get_double_in(a, "alpha", -1e6, 1)},
      true);
}
OpPtr ops::make_mean_squared_error(const Attributes& a) {
  return std::make_shared<MeanSquaredErrorOp>(get_reduction(a));
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  const kernels::CrossEntropyParams params{options.label_smoothing, options.ignore_index, options.reduction};
  return run_op1(std::make_shared<CrossEntropyOp>(params, false), {logits, target, options.class_weights});
}

Tensor focal_loss(const Tensor& logits, const Tensor& target, const FocalOptions& options) {
  const kernels::CrossEntropyParams params{0, options.ignore_index, options.reduction, options.gamma};
  return run_op1(std::make_shared<CrossEntropyOp>(params, true), {logits, target, options.class_weights});
}

Tensor binary_cross_entropy(const Tensor& logits, const Tensor& target, const BinaryCrossEntropyOptions& options) {
  const kernels::BinaryCrossEntropyParams params{options.reduction};
  return run_op1(std::make_shared<BinaryCrossEntropyOp>(params, false), {logits, target, options.pos_weight});
}

Tensor sigmoid_focal_loss(const Tensor& logits, const Tensor& target, const SigmoidFocalOptions& options) {
  const kernels::BinaryCrossEntropyParams params{options.reduction, options.gamma, options.alpha};
  return run_op1(std::make_shared<BinaryCrossEntropyOp>(params, true), {logits, target});
}

Tensor mean_squared_error(const Tensor& x, const Tensor& target, LossReduction reduction) {
  return run_op1(std::make_shared<MeanSquaredErrorOp>(reduction), {x, target});
}

}  // namespace fovea
