#include "layers/ops/norm.h"

#include "core/autograd/tape.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "layers/ops/batch_ranks_internal.h"
#include "layers/ops/conv_norm_internal.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

void check_epsilon(std::string_view op, double epsilon) {
  if (!(epsilon >= 0 && epsilon < 1e6))
    throw Error(ErrorKind::usage, op, str("epsilon must not be negative, got ", epsilon));
}

void zero_wanted(BackwardContext& context) {
  for (std::size_t i = 0; i < context.needs.size(); ++i) {
    if (context.needs[i]) allocate_grad(context, i).zero();
  }
}

/// dx in dy's memory where nobody else needs that.
std::optional<View> wanted_dx(BackwardContext& context) {
  if (!context.needs[0]) return std::nullopt;
  context.grad_in[0] = reusable_grad(context);
  return context.grad_in[0].mutable_view();
}

class BatchNormOp final : public Op {
 public:
  explicit BatchNormOp(const BatchNormOptions& options) : options_(options) {
    check_epsilon(type(), options.epsilon);
    if (!(options.momentum >= 0 && options.momentum <= 1)) {
      throw Error(ErrorKind::usage, type(), str("momentum must lie in 0 to 1, got ", options.momentum),
                  "it is the new batch's weight: Keras' 0.99 is 0.01 here");
    }
  }

  std::string_view type() const override { return "batch_norm"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("epsilon", Attribute(options_.epsilon));
    a.set("momentum", Attribute(options_.momentum));
    a.set("unbiased_running_variance", Attribute(options_.unbiased_running_variance));
    a.set("frozen", Attribute(options_.frozen));
    set_activation(a, options_.activation);
    return a;
  }

  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 5);
    if (in.size() != 5 || in[3].absent || in[4].absent) {
      throw Error(ErrorKind::usage, type(),
                  "needs x, gamma, beta, running mean and running variance (gamma and beta may be undefined)");
    }
    const DType dtype = check_maps(type(), in.first(1));
    check_parameters(type(), dtype, in.subspan(1));
    if (in[0].shape.rank() < 1) throw Error(ErrorKind::shape, type(), "a scalar has no channels");
    const std::int64_t channels = in[0].shape.dim(-1);
    constexpr const char* kNames[] = {"", "gamma", "beta", "running mean", "running variance"};
    for (std::size_t i = 1; i < 5; ++i) check_vector(type(), kNames[i], in[i], channels, "channels");
    return {{in[0].shape, dtype}};
  }

  void forward(ForwardContext& context) const override {
    const Tensor &x = context.in[0], &running_mean = context.in[3], &running_variance = context.in[4];
    const OptionalView gamma = optional_view(context.in[1]), beta = optional_view(context.in[2]);
    Tensor& y = context.allocate();
    if (!from_batch(context.training)) {
      if (x.numel() > 0) {
        kernels::batch_norm_inference(params(), x.view(), gamma, beta, running_mean.view(), running_variance.view(),
                                      y.mutable_view());
      }
      if (context.recording) {
        // Copies: a later training pass of the same layer may move the running statistics before backward reads them.
        context.saved.push_back(running_mean.clone());
        context.saved.push_back(running_variance.clone());
      }
      return;
    }
    std::int64_t rows = x.numel() > 0 ? row_count(x.shape()) : 0;
    Tensor mean(running_mean.spec(), x.device()), variance(running_variance.spec(), x.device());
    if (rows > 0) {
      kernels::batch_norm_training(params(), x.view(), gamma, beta, y.mutable_view(), mean.mutable_view(),
                                   variance.mutable_view());
    }
    if (context.batch_ranks) {
      const std::int64_t here = rows;
      rows = merge_statistics(*context.batch_ranks, mean, variance, rows);
      if (here > 0) {
        kernels::batch_norm_inference(params(), x.view(), gamma, beta, mean.view(), variance.view(), y.mutable_view());
      }
    }
    if (context.update_statistics && rows > 0)
      update_running_statistics(options_, running_mean, running_variance, mean, variance, rows);
    if (context.recording) context.saved = {std::move(mean), std::move(variance), Tensor::scalar(rows)};
  }

  void backward(BackwardContext& context) const override {
    if (from_batch(context.training) && context.batch_ranks) return backward_of_part(context);
    if (context.in_spec[0].shape.numel() == 0) return zero_wanted(context);
    const auto kernel =
        from_batch(context.training) ? kernels::batch_norm_training_backward : kernels::batch_norm_inference_backward;
    const ConstView dy = context.grad_out[0].view();
    kernel(params(), context.in[0].view(), dy, optional_view(context.in[1]), optional_view(context.in[2]),
           context.saved[0].view(), context.saved[1].view(), wanted_dx(context), wanted_grad(context, 1),
           wanted_grad(context, 2));
  }

  Keep keep() const override { return {0b00111, 0}; }

 private:
  bool from_batch(bool training) const { return training && !options_.frozen; }

  /// With s = gamma/σ, x̂ normalised and g the gradient behind the activation: dx = s·(g − Σg/n − x̂·Σ(g·x̂)/n), with sums
  /// and n of all ranks. gamma and beta get this rank's sums, as every parameter its rank's gradient.
  void backward_of_part(BackwardContext& context) const {
    const bool empty = context.in_spec[0].shape.numel() == 0;
    const Tensor &mean = context.saved[0], &variance = context.saved[1];
    Tensor dgamma(mean.spec(), context.device), dbeta(mean.spec(), context.device);
    if (empty) {
      dgamma.zero();
      dbeta.zero();
    } else {
      kernels::batch_norm_training_backward(params(), context.in[0].view(), context.grad_out[0].view(),
                                            optional_view(context.in[1]), optional_view(context.in[2]), mean.view(),
                                            variance.view(), std::nullopt, dgamma.mutable_view(), dbeta.mutable_view());
    }
    const Tensor sums = joined_sum(*context.batch_ranks, dgamma, dbeta);
    if (empty) {
      zero_wanted(context);
      return;
    }
    const ConstView dy = context.grad_out[0].view();
    if (const auto dx = wanted_dx(context)) {
      kernels::batch_norm_inference_backward(params(), context.in[0].view(), dy, optional_view(context.in[1]),
                                             optional_view(context.in[2]), mean.view(), variance.view(), dx,
                                             std::nullopt, std::nullopt);
      kernels::batch_norm_parts_backward(options_.epsilon, context.in[0].view(), optional_view(context.in[1]),
                                         mean.view(), variance.view(), sums.view(),
                                         static_cast<std::int64_t>(context.saved[2].item()), *dx);
    }
    if (context.needs[1]) context.grad_in[1] = std::move(dgamma);
    if (context.needs[2]) context.grad_in[2] = std::move(dbeta);
  }

  kernels::BatchNormParams params() const { return {options_.epsilon, options_.activation}; }

  BatchNormOptions options_;
};

std::vector<TensorSpec> infer_affine_norm(std::string_view op, Specs in) {
  check_operands(op, in, 1, 3);
  if (in.size() != 3) throw Error(ErrorKind::usage, op, "needs x, gamma and beta (gamma and beta may be undefined)");
  const DType dtype = check_floating(op, in);
  if (in[0].shape.rank() < 1) throw Error(ErrorKind::shape, op, "a scalar has no channels");
  check_vector(op, "gamma", in[1], in[0].shape.dim(-1), "channels");
  check_vector(op, "beta", in[2], in[0].shape.dim(-1), "channels");
  return {{in[0].shape, dtype}};
}

class LayerNormOp final : public Op {
 public:
  explicit LayerNormOp(double epsilon) : epsilon_(epsilon) { check_epsilon(type(), epsilon); }

  std::string_view type() const override { return "layer_norm"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("epsilon", Attribute(epsilon_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override { return infer_affine_norm(type(), in); }

  void forward(ForwardContext& context) const override {
    Tensor& y = context.allocate();
    const Shape rows{row_count(y.shape())};
    Tensor mean(rows, y.dtype(), y.device()), inv_std(rows, y.dtype(), y.device());
    if (y.numel() > 0) {
      kernels::layer_norm_forward(epsilon_, context.in[0].view(), optional_view(context.in[1]),
                                  optional_view(context.in[2]), y.mutable_view(), mean.mutable_view(),
                                  inv_std.mutable_view());
    }
    if (context.recording) context.saved = {mean, inv_std};
  }

  void backward(BackwardContext& context) const override {
    if (context.in_spec[0].shape.numel() == 0) return zero_wanted(context);
    Tensor dx(context.in_spec[0], context.device);
    kernels::layer_norm_backward(context.in[0].view(), context.grad_out[0].view(), optional_view(context.in[1]),
                                 context.saved[0].view(), context.saved[1].view(), dx.mutable_view(),
                                 wanted_grad(context, 1), wanted_grad(context, 2));
    context.grad_in[0] = std::move(dx);
  }

  Keep keep() const override { return {0b011, 0}; }

 private:
  double epsilon_;
};

class GroupNormOp final : public Op {
 public:
  GroupNormOp(int groups, double epsilon) : groups_(groups), epsilon_(epsilon) {
    check_epsilon(type(), epsilon);
    if (groups < 1) throw Error(ErrorKind::usage, type(), str("groups must be at least 1, got ", groups));
  }

  std::string_view type() const override { return "group_norm"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("groups", groups_);
    a.set("epsilon", Attribute(epsilon_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    auto out = infer_affine_norm(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    if (in[0].shape[3] % groups_ != 0) {
      throw Error(ErrorKind::shape, type(), str(in[0].shape[3], " channels do not divide into ", groups_, " groups"));
    }
    return out;
  }

  void forward(ForwardContext& context) const override {
    Tensor& y = context.allocate();
    const Shape groups{y.dim(0), groups_};
    Tensor mean(groups, y.dtype(), y.device()), inv_std(groups, y.dtype(), y.device());
    if (y.numel() > 0) {
      kernels::group_norm_forward(groups_, epsilon_, context.in[0].view(), optional_view(context.in[1]),
                                  optional_view(context.in[2]), y.mutable_view(), mean.mutable_view(),
                                  inv_std.mutable_view());
    }
    if (context.recording) context.saved = {mean, inv_std};
  }

  void backward(BackwardContext& context) const override {
    if (context.in_spec[0].shape.numel() == 0) return zero_wanted(context);
    Tensor dx(context.in_spec[0], context.device);
    kernels::group_norm_backward(groups_, context.in[0].view(), context.grad_out[0].view(),
                                 optional_view(context.in[1]), context.saved[0].view(), context.saved[1].view(),
                                 dx.mutable_view(), wanted_grad(context, 1), wanted_grad(context, 2));
    context.grad_in[0] = std::move(dx);
  }

  Keep keep() const override { return {0b011, 0}; }

 private:
  int groups_;
  double epsilon_;
};

}  // namespace

void ops::update_running_statistics(const BatchNormOptions& options, Tensor running_mean, Tensor running_variance,
                                    const Tensor& mean, const Tensor& variance, std::int64_t count) {
  kernels::lerp_in_place(1 - options.momentum, mean.view(), running_mean.mutable_view());
  if (!options.unbiased_running_variance || count < 2) {
    kernels::lerp_in_place(1 - options.momentum, variance.view(), running_variance.mutable_view());
    return;
  }
  Tensor unbiased = variance.clone();
  kernels::scale_in_place(static_cast<double>(count) / static_cast<double>(count - 1), unbiased.mutable_view());
  kernels::lerp_in_place(1 - options.momentum, unbiased.view(), running_variance.mutable_view());
}

BatchNormOptions ops::get_batch_norm(const Attributes& a) {
  BatchNormOptions options;
  options.epsilon = get_double_in(a, "epsilon", 0, 1e6);
  options.momentum = get_double_in(a, "momentum", 0, 1);
  options.unbiased_running_variance = a.get_bool("unbiased_running_variance");
  options.frozen = a.get_bool("frozen");
  options.activation = get_activation(a);
  return options;
}
OpPtr ops::make_batch_norm(const Attributes& a) { return std::make_shared<BatchNormOp>(get_batch_norm(a)); }
OpPtr ops::make_layer_norm(const Attributes& a) {
  return std::make_shared<LayerNormOp>(get_double_in(a, "epsilon", 0, 1e6));
}
OpPtr ops::make_group_norm(const Attributes& a) {
  return std::make_shared<GroupNormOp>(a.get_int_in("groups", 1, 1 << 20), get_double_in(a, "epsilon", 0, 1e6));
}

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_variance, const BatchNormOptions& options) {
  return run_op1(std::make_shared<BatchNormOp>(options), {x, gamma, beta, running_mean, running_variance});
}

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon) {
  return run_op1(std::make_shared<LayerNormOp>(epsilon), {x, gamma, beta});
}

Tensor group_norm(const Tensor& x, int groups, const Tensor& gamma, const Tensor& beta, double epsilon) {
  return run_op1(std::make_shared<GroupNormOp>(groups, epsilon), {x, gamma, beta});
}

}  // namespace fovea
