#include "layers/ops/conv_norm.h"

#include <algorithm>
#include <cmath>

#include "core/autograd/tape.h"
#include "kernels/conv_norm.h"
#include "layers/ops/batch_ranks_internal.h"
#include "layers/ops/conv_norm_internal.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

constexpr double kMaxEpsilon = 1e6;

/// Operands [first, first + 4) as a kernel's input.
kernels::NormalizedView input_of(std::span<const Tensor> in, const ActivationParams& activation) {
  return {in[0].view(), optional_view(in[1]), optional_view(in[2]), optional_view(in[3]),
          in[1].defined() ? activation : kNoActivation};
}

void check_lazy(std::string_view op, Specs in) {
  if (in[0].absent || (in[0].dtype != DType::f32 && in[0].dtype != DType::bf16))
    throw Error(ErrorKind::usage, op, "the input is f32 or bf16");
  check_rank(op, "input", in[0], 4, "NHWC");
  constexpr const char* kNames[] = {"", "mean", "scale", "beta"};
  for (std::size_t i = 1; i < 4; ++i) {
    if (in[i].absent != in[1].absent)
      throw Error(ErrorKind::usage, op, "mean, scale and beta of the input are given together or not at all");
    check_vector(op, kNames[i], in[i], in[0].shape[3], "channels");
  }
}

// No file holds these ops and no listing shows them: they have no attributes.
class ConvNormOp final : public Op {
 public:
  ConvNormOp(const ConvNormOptions& options, const ActivationParams& input) : options_(options), input_(input) {
    if (!(options.norm.epsilon >= 0 && options.norm.epsilon < kMaxEpsilon))
      throw Error(ErrorKind::usage, type(), str("epsilon must not be negative, got ", options.norm.epsilon));
  }

  std::string_view type() const override { return "conv_norm"; }

  Attributes attributes() const override { return {}; }

  std::vector<TensorSpec> infer(Specs in) const override {
    if (in.size() != 10 || in[4].absent || in[7].absent || in[8].absent) {
      throw Error(ErrorKind::usage, type(),
                  "needs x with mean, scale and beta, weights, gamma, beta, running mean, running variance and bias");
    }
    check_lazy(type(), in);
    check_rank(type(), "weights", in[4], 4, "HWIO");
    const std::int64_t channels = in[4].shape[3];
    constexpr const char* kNames[] = {"gamma", "beta", "running mean", "running variance", "bias"};
    for (std::size_t i = 0; i < 5; ++i) check_vector(type(), kNames[i], in[5 + i], channels, "result channels");
    const TensorSpec vector{Shape{channels}, DType::f32};
    return {{kernels::conv2d_shape(options_.conv, in[0].shape, in[4].shape), options_.dtype}, vector, vector, vector};
  }

  void forward(ForwardContext& context) const override {
    const std::span<const Tensor> in = context.in;
    Tensor& y = context.allocate(0);
    Tensor& mean = context.allocate(1);
    Tensor& scale = context.allocate(2);
    Tensor& beta = context.allocate(3);
    const bool batch = from_batch(context.training);
    Tensor variance;
    if (batch) {
      variance = Tensor(context.out_spec[1], y.device());
      kernels::conv_norm_forward(options_.conv, input_of(in, input_), in[4].view(), y.mutable_view(),
                                 mean.mutable_view(), variance.mutable_view());
      std::int64_t rows = row_count(y.shape());
      if (context.batch_ranks) rows = merge_statistics(*context.batch_ranks, mean, variance, rows);
      if (context.recording) context.saved.push_back(Tensor::scalar(rows));
      // A bias moves the mean, and is gone when that is subtracted: y goes without it.
      if (context.update_statistics && rows > 0) {
        update_running_statistics(options_.norm, in[7], in[8], in[9].defined() ? plus(mean, in[9], 1) : mean, variance,
                                  rows);
      }
    } else {
      kernels::conv_norm_forward(options_.conv, input_of(in, input_), in[4].view(), y.mutable_view(), std::nullopt,
                                 std::nullopt);
      mean.copy_from(in[9].defined() ? plus(in[7], in[9], -1) : in[7]);
      variance = in[8].clone();  // a later training pass may move the running one
    }
    const float* const v = variance.data<float>();
    const float* const gamma = in[5].defined() ? in[5].data<float>() : nullptr;
    float* const to = scale.mutable_data<float>();
    for (std::int64_t c = 0; c < scale.numel(); ++c)
      to[c] = static_cast<float>((gamma ? static_cast<double>(gamma[c]) : 1.0) * inverse_deviation(v[c]));
    if (in[6].defined()) {
      beta.copy_from(in[6]);
    } else {
      beta.zero();
    }
    if (context.recording) context.saved.push_back(std::move(variance));
  }

  void backward(BackwardContext& context) const override {
    const std::span<const Tensor> in = context.in;
    const Tensor &g = context.grad_out[0], &y = context.out[0], &mean = context.out[1], &scale = context.out[2];
    const Tensor& variance = context.saved.back();
    const std::int64_t channels = variance.numel();
    const bool batch = from_batch(context.training);
    Tensor slope(context.out_spec[1], context.device), offset(context.out_spec[1], context.device);
    const float *const v = variance.data<float>(), *const a = scale.data<float>();
    const float* const dscale = context.grad_out[2].defined() ? context.grad_out[2].data<float>() : nullptr;
    const float* const dbeta = context.grad_out[3].defined() ? context.grad_out[3].data<float>() : nullptr;
    // The statistics hang on all ranks' rows, and so does what comes back through them.
    std::vector<double> whole;
    if (batch && context.batch_ranks)
      whole = sum_over_ranks(*context.batch_ranks, context.grad_out[2], context.grad_out[3], channels);
    float *const b = slope.mutable_data<float>(), *const c = offset.mutable_data<float>();
    const auto gamma_to = wanted_grad(context, 5), beta_to = wanted_grad(context, 6), bias_to = wanted_grad(context, 9);
    const double rows = batch ? std::max(1.0, context.saved[0].item()) : 1;
    for (std::int64_t i = 0; i < channels; ++i) {
      const double inverse = inverse_deviation(v[i]), ds = dscale ? static_cast<double>(dscale[i]) : 0,
                   db = dbeta ? static_cast<double>(dbeta[i]) : 0;
      const double all_ds = whole.empty() ? ds : whole[static_cast<std::size_t>(i)],
                   all_db = whole.empty() ? db : whole[static_cast<std::size_t>(channels + i)];
      b[i] = static_cast<float>(-static_cast<double>(a[i]) * inverse * inverse * all_ds / rows);
      c[i] = static_cast<float>(-static_cast<double>(a[i]) * all_db / rows);
      if (gamma_to) gamma_to->ptr<float>()[i] = static_cast<float>(ds * inverse);
      if (beta_to) beta_to->ptr<float>()[i] = static_cast<float>(db);
      if (bias_to) bias_to->ptr<float>()[i] = batch ? 0.0f : static_cast<float>(static_cast<double>(a[i]) * db);
    }
    if (!g.defined()) {  // nothing depends on the values themselves
      for (const std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{3}, std::size_t{4}}) {
        if (context.needs[i]) allocate_grad(context, i).zero();
      }
      return;
    }
    kernels::NormGradient dy{g.view(), y.view(), scale.view(), std::nullopt, std::nullopt, std::nullopt};
    if (batch) {
      dy.b = slope.view();
      dy.mean = mean.view();
      dy.c = offset.view();
    }
    const auto dw = wanted_grad(context, 4), dx = wanted_grad(context, 0);
    if (!dw && !dx) return;
    std::optional<View> input_scale, input_beta;
    Tensor unwanted[2];
    if (dx && in[1].defined()) {
      input_scale = wanted_or(context, 2, unwanted[0]);
      input_beta = wanted_or(context, 3, unwanted[1]);
    }
    kernels::conv_norm_backward(options_.conv, input_of(in, input_), in[4].view(), dy, dw, dx, input_scale, input_beta);
  }

  Keep keep() const override { return {0b0000011111, 0b0111}; }

  std::int64_t macs(Specs in, Specs out) const override {
    const Shape& w = in[4].shape;
    return out[0].shape.numel() * w[0] * w[1] * w[2];
  }

 private:
  bool from_batch(bool training) const { return training && !options_.norm.frozen; }
  double inverse_deviation(float variance) const {
    return 1.0 / std::sqrt(static_cast<double>(variance) + options_.norm.epsilon);
  }
  /// a + sign·b.
  static Tensor plus(const Tensor& a, const Tensor& b, float sign) {
    Tensor sum = a.clone();
    float* const to = sum.mutable_data<float>();
    const float* const term = b.data<float>();
    for (std::int64_t i = 0; i < sum.numel(); ++i) to[i] += sign * term[i];
    return sum;
  }
  static View wanted_or(BackwardContext& context, std::size_t i, Tensor& otherwise) {
    if (const auto wanted = wanted_grad(context, i)) return *wanted;
    otherwise = Tensor(context.in_spec[i], context.device);
    return otherwise.mutable_view();
  }

  ConvNormOptions options_;
  ActivationParams input_;
};

class NormalizeOp final : public Op {
 public:
  NormalizeOp(const ActivationParams& activation, DType dtype, bool residual)
      : activation_(activation), dtype_(dtype), residual_(residual) {}

  std::string_view type() const override { return "normalize"; }

  Attributes attributes() const override { return {}; }

  std::vector<TensorSpec> infer(Specs in) const override {
    if (in.size() != 5 || in[1].absent)
      throw Error(ErrorKind::usage, type(), "needs x with mean, scale and beta, and a residual that may be undefined");
    check_lazy(type(), in);
    if (dtype_ != DType::f32 && dtype_ != in[0].dtype)
      throw Error(ErrorKind::usage, type(), "the result is f32 or of the input's type");
    if (!in[4].absent) {
      if (in[4].shape != in[0].shape || in[4].dtype != in[0].dtype)
        throw Error(ErrorKind::shape, type(), str("a residual of ", in[4].shape, " for ", in[0].shape));
      if (!kernels::derivative_from_result(activation_.kind) || dtype_ != in[0].dtype)
        throw Error(ErrorKind::usage, type(), "with a residual: none, relu or relu6, and the input's type");
    }
    return {{in[0].shape, dtype_}};
  }

  void forward(ForwardContext& context) const override {
    kernels::normalize_forward(input_of(context.in, activation_), optional_view(context.in[4]),
                               context.allocate().mutable_view());
  }

  void backward(BackwardContext& context) const override {
    const bool residual = !context.in_spec[4].absent, masks = activation_.kind != Activation::none;
    Tensor g = context.grad_out[0];
    if (g.dtype() != context.in_spec[0].dtype) {
      g = Tensor(context.in_spec[0], context.device);
      kernels::normalize_forward({context.grad_out[0].view(), std::nullopt, std::nullopt, std::nullopt}, std::nullopt,
                                 g.mutable_view());
    } else if (masks && !g.unique()) {
      g = g.clone();
    }
    Tensor dscale(context.in_spec[2], context.device), dbeta(context.in_spec[3], context.device);
    const ConstView read = g.view();
    // Without an activation the kernel only reads g, which may be others' too.
    const View view =
        masks ? g.mutable_view() : View{const_cast<void*>(read.data), read.shape, read.dtype, read.device, 0, 0};
    kernels::normalize_backward(input_of(context.in, activation_),
                                residual && masks ? OptionalView(context.out[0].view()) : std::nullopt, view,
                                dscale.mutable_view(), dbeta.mutable_view());
    if (context.needs[2]) context.grad_in[2] = dscale;
    if (context.needs[3]) context.grad_in[3] = dbeta;
    if (residual && context.needs[4]) context.grad_in[4] = g;
    if (context.needs[0]) context.grad_in[0] = std::move(g);
  }

  Keep keep() const override {
    // Without a residual the mask is told from x again.
    return {0b01111, residual_ && activation_.kind != Activation::none ? 1u : 0u};
  }

 private:
  ActivationParams activation_;
  DType dtype_;
  bool residual_;
};

class CastOp final : public Op {
 public:
  explicit CastOp(DType dtype) : dtype_(dtype) {}
  std::string_view type() const override { return "cast"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    if (!is_floating(in[0].dtype) || !is_floating(dtype_)) {
      throw Error(ErrorKind::usage, type(),
                  str("from ", to_string(in[0].dtype), " to ", to_string(dtype_), ": only floating types"));
    }
    return {{in[0].shape, dtype_}};
  }
  void forward(ForwardContext& context) const override { context.out[0] = converted(context.in[0], dtype_); }
  void backward(BackwardContext& context) const override {
    if (context.needs[0]) context.grad_in[0] = converted(context.grad_out[0], context.in_spec[0].dtype);
  }
  Keep keep() const override { return {0, 0}; }

 private:
  static Tensor converted(const Tensor& from, DType dtype) {
    const auto fast = [](DType t) { return t == DType::f32 || t == DType::bf16; };
    if (from.device() != kCpu || !fast(from.dtype()) || !fast(dtype)) return from.to(dtype);
    Tensor to(from.shape(), dtype);
    kernels::normalize_forward({from.view(), std::nullopt, std::nullopt, std::nullopt}, std::nullopt,
                               to.mutable_view());
    return to;
  }
  DType dtype_;
};

}  // namespace

Unnormalized conv_norm(const Unnormalized& x, const Tensor& w, const Tensor& bias, const Tensor& gamma,
                       const Tensor& beta, const Tensor& running_mean, const Tensor& running_variance,
                       const ConvNormOptions& options) {
  const Tensor in[] = {x.y, x.mean, x.scale, x.beta, w, gamma, beta, running_mean, running_variance, bias};
  std::vector<Tensor> out = run_op(std::make_shared<ConvNormOp>(options, x.activation), in);
  return {std::move(out[0]), std::move(out[1]), std::move(out[2]), std::move(out[3]), options.norm.activation};
}

Tensor cast(const Tensor& x, DType dtype) { return run_op1(std::make_shared<CastOp>(dtype), {x}); }

Tensor normalize(const Unnormalized& x, const Tensor& residual, DType dtype) {
  return run_op1(std::make_shared<NormalizeOp>(x.activation, dtype, residual.defined()),
                 {x.y, x.mean, x.scale, x.beta, residual});
}

}  // namespace fovea
