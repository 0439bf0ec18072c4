// Entry points of the normalisations: checks and the lists of implementations.
#include "kernels/norm.h"

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/norm.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

template <class Problem>
const char* reference_declines(const Problem& p) {
  return needs_cpu(p.x);
}
void reference_batch_forward(const BatchNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::batch_norm_forward<decltype(t)>(p); });
}
void reference_batch_backward(const BatchNormProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::batch_norm_backward<decltype(t)>(p); });
}
const char* parts_declines(const BatchPartsProblem& p) { return needs_cpu(p.like()); }
void reference_parts(const BatchPartsProblem& p) {
  by_scalar(p.like().dtype, [&](auto t) { reference::batch_parts<decltype(t)>(p); });
}
template <class Problem>
void reference_group_forward(const Problem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::group_norm_forward<decltype(t)>(p); });
}
template <class Problem>
void reference_group_backward(const Problem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::group_norm_backward<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<BatchNormProblem> kBatchTraining[] = {
    {"simd", simd::declines, simd::batch_norm_training},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::batch_norm_forward),
    {"reference", reference_declines, reference_batch_forward},
};
constexpr Implementation<BatchNormProblem> kBatchInference[] = {
    {"simd", simd::declines, simd::batch_norm_inference},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::batch_norm_forward),
    {"reference", reference_declines, reference_batch_forward},
};
constexpr Implementation<BatchNormProblem> kBatchBackward[] = {
    {"simd", simd::declines, simd::batch_norm_backward},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::batch_norm_backward),
    // of both
    {"reference", reference_declines, reference_batch_backward},
};
constexpr Implementation<BatchPartsProblem> kBatchParts[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::batch_parts),
    {"reference", parts_declines, reference_parts},
};
constexpr Implementation<LayerNormProblem> kLayerForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::layer_norm_forward),
    {"reference", reference_declines, reference_group_forward},
};
constexpr Implementation<LayerNormProblem> kLayerBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::layer_norm_backward),
    {"reference", reference_declines, reference_group_backward},
};
constexpr Implementation<GroupNormProblem> kGroupForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::group_norm_forward),
    {"reference", reference_declines, reference_group_forward},
};
constexpr Implementation<GroupNormProblem> kGroupBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::group_norm_backward),
    {"reference", reference_declines, reference_group_backward},
};

std::int64_t check_channels(std::string_view op, const Shape& x) {
  if (x.rank() < 1 || x[x.rank() - 1] < 1) {
    throw Error(ErrorKind::shape, op, str("input needs a last axis of at least one channel, has ", x));
  }
  return x[x.rank() - 1];
}

void check_epsilon(std::string_view op, double epsilon) {
  if (!(epsilon >= 0)) throw Error(ErrorKind::usage, op, str("epsilon must be at least 0, got ", epsilon));
}

/// What all batch norms share; `per_channel` are the operands of shape [C].
BatchNormProblem batch_problem(std::string_view op, const BatchNormParams& params, ConstView x, OptionalView gamma,
                               OptionalView beta, std::initializer_list<Operand> like_x,
                               std::initializer_list<Operand> per_channel) {
  const std::int64_t channels = check_channels(op, x.shape);
  check_epsilon(op, params.epsilon);
  check_activation(op, params.activation);
  check_maps(op, {{"input", x}});
  check_parameters(op, {"input", x}, {{"gamma", gamma}, {"beta", beta}});
  check_shape(op, {"gamma", gamma}, Shape{channels});
  check_shape(op, {"beta", beta}, Shape{channels});
  for (const Operand& o : like_x) {
    check_maps(op, {{"input", x}, o});
    check_shape(op, o, x.shape);
  }
  for (const Operand& o : per_channel) {
    check_parameters(op, {"input", x}, {o});
    check_shape(op, o, Shape{channels});
  }
  BatchNormProblem p;
  p.params = params;
  p.x = x;
  p.gamma = gamma;
  p.beta = beta;
  return p;
}

void batch_backward(std::string_view op, bool training, const BatchNormParams& params, ConstView x, ConstView dy,
                    OptionalView gamma, OptionalView beta, ConstView mean, ConstView variance, std::optional<View> dx,
                    std::optional<View> dgamma, std::optional<View> dbeta) {
  BatchNormProblem p =
      batch_problem(op, params, x, gamma, beta, {{"result gradient", dy}, {"input gradient", dx}},
                    {{"mean", mean}, {"variance", variance}, {"gamma gradient", dgamma}, {"beta gradient", dbeta}});
  p.pass = Pass::backward;
  p.training = training;
  p.mean = mean;
  p.variance = variance;
  p.dy = dy;
  p.dx = dx;
  p.dgamma = dgamma;
  p.dbeta = dbeta;
  if (x.numel() == 0) {  // no sample, no gradient
    if (dgamma) fill_zero(*dgamma);
    if (dbeta) fill_zero(*dbeta);
    return;
  }
  if (!dx && !dgamma && !dbeta) return;
  dispatch<BatchNormProblem>(op, kBatchBackward, p);
}

void fill_row_problem(std::string_view op, LayerNormProblem& p, double epsilon, ConstView x, OptionalView gamma,
                      OptionalView beta) {
  const std::int64_t channels = check_channels(op, x.shape);
  check_epsilon(op, epsilon);
  check_floating(op, {{"input", x}, {"gamma", gamma}, {"beta", beta}});
  check_shape(op, {"gamma", gamma}, Shape{channels});
  check_shape(op, {"beta", beta}, Shape{channels});
  p.epsilon = epsilon;
  p.x = x;
  p.gamma = gamma;
  p.beta = beta;
}

/// mean and inv_std hold one value per group, in any shape.
void check_statistics(std::string_view op, const Operand& o, const ConstView& x, std::int64_t count) {
  check_floating(op, {{"input", x}, o});
  if (o.view->numel() != count) {
    throw Error(ErrorKind::shape, op, str(o.name, " expects ", count, " values, has ", o.view->shape));
  }
}

template <class Problem>
void group_forward(std::string_view op, std::span<const Implementation<Problem>> list, Problem& p, std::int64_t count,
                   View y, View mean, View inv_std) {
  check_floating(op, {{"input", p.x}, {"result", y}});
  check_shape(op, {"result", y}, p.x.shape);
  check_statistics(op, {"mean", mean}, p.x, count);
  check_statistics(op, {"inv_std", inv_std}, p.x, count);
  p.pass = Pass::forward;
  p.y = y;
  p.mean_out = mean;
  p.inv_std_out = inv_std;
  if (y.numel() > 0) dispatch<Problem>(op, list, p);
}

template <class Problem>
void group_backward(std::string_view op, std::span<const Implementation<Problem>> list, Problem& p, std::int64_t count,
                    ConstView dy, ConstView mean, ConstView inv_std, View dx, std::optional<View> dgamma,
                    std::optional<View> dbeta) {
  check_floating(op, {{"input", p.x},
                      {"result gradient", dy},
                      {"input gradient", dx},
                      {"gamma gradient", dgamma},
                      {"beta gradient", dbeta}});
  check_shape(op, {"result gradient", dy}, p.x.shape);
  check_shape(op, {"input gradient", dx}, p.x.shape);
  check_shape(op, {"gamma gradient", dgamma}, Shape{p.channels()});
  check_shape(op, {"beta gradient", dbeta}, Shape{p.channels()});
  check_statistics(op, {"mean", mean}, p.x, count);
  check_statistics(op, {"inv_std", inv_std}, p.x, count);
  p.pass = Pass::backward;
  p.dy = dy;
  p.mean = mean;
  p.inv_std = inv_std;
  p.dx = dx;
  p.dgamma = dgamma;
  p.dbeta = dbeta;
  if (p.x.numel() == 0) {
    if (dgamma) fill_zero(*dgamma);
    if (dbeta) fill_zero(*dbeta);
    return;
  }
  dispatch<Problem>(op, list, p);
}

std::int64_t check_groups(std::string_view op, int groups, const Shape& x) {
  check_rank(op, "input", x, 4, "(NHWC)");
  if (x[1] < 1 || x[2] < 1)
    throw Error(ErrorKind::shape, op, str("an image needs at least one pixel, input is NHWC ", x));
  if (groups < 1 || x[3] % groups != 0) {
    throw Error(ErrorKind::shape, op, str(x[3], " channels do not divide into ", groups, " groups (NHWC ", x, ")"));
  }
  return x[0] * groups;
}

}  // namespace

void batch_norm_training(const BatchNormParams& params, ConstView x, OptionalView gamma, OptionalView beta, View y,
                         View mean, View variance) {
  constexpr const char* kOp = "batch_norm_training";
  BatchNormProblem p =
      batch_problem(kOp, params, x, gamma, beta, {{"result", y}}, {{"mean", mean}, {"variance", variance}});
  p.training = true;
  p.mean = mean;
  p.variance = variance;
  p.y = y;
  p.mean_out = mean;
  p.variance_out = variance;
  if (x.numel() == 0) {  // the statistics of nothing: zeros, so that nothing uninitialised spreads
    fill_zero(mean);
    fill_zero(variance);
    return;
  }
  dispatch<BatchNormProblem>(kOp, kBatchTraining, p);
}

void batch_norm_inference(const BatchNormParams& params, ConstView x, OptionalView gamma, OptionalView beta,
                          ConstView mean, ConstView variance, View y) {
  constexpr const char* kOp = "batch_norm_inference";
  BatchNormProblem p =
      batch_problem(kOp, params, x, gamma, beta, {{"result", y}}, {{"mean", mean}, {"variance", variance}});
  p.mean = mean;
  p.variance = variance;
  p.y = y;
  if (x.numel() == 0) return;
  dispatch<BatchNormProblem>(kOp, kBatchInference, p);
}

void batch_norm_training_backward(const BatchNormParams& params, ConstView x, ConstView dy, OptionalView gamma,
                                  OptionalView beta, ConstView mean, ConstView variance, std::optional<View> dx,
                                  std::optional<View> dgamma, std::optional<View> dbeta) {
  batch_backward("batch_norm_training_backward", true, params, x, dy, gamma, beta, mean, variance, dx, dgamma, dbeta);
}

void batch_norm_inference_backward(const BatchNormParams& params, ConstView x, ConstView dy, OptionalView gamma,
                                   OptionalView beta, ConstView mean, ConstView variance, std::optional<View> dx,
                                   std::optional<View> dgamma, std::optional<View> dbeta) {
  batch_backward("batch_norm_inference_backward", false, params, x, dy, gamma, beta, mean, variance, dx, dgamma, dbeta);
}

void batch_moments(ConstView mean, ConstView variance, std::int64_t rows, View sums) {
  constexpr const char* kOp = "batch_moments";
  check_floating(kOp, {{"mean", mean}, {"variance", variance}});
  check_shape(kOp, {"variance", variance}, mean.shape);
  check_dtype(kOp, {"sums", sums}, DType::f64, mean);
  check_shape(kOp, {"sums", sums}, Shape{2 * mean.numel() + 1});
  BatchPartsProblem p{.step = BatchPartsProblem::Step::moments, .rows = rows, .mean = mean, .variance = variance};
  p.sums_out = sums;
  dispatch<BatchPartsProblem>(kOp, kBatchParts, p);
}

void batch_statistics(ConstView sums, View mean, View variance) {
  constexpr const char* kOp = "batch_statistics";
  check_floating(kOp, {{"mean", mean}, {"variance", variance}});
  check_shape(kOp, {"variance", variance}, mean.shape);
  check_dtype(kOp, {"sums", sums}, DType::f64, mean);
  check_shape(kOp, {"sums", sums}, Shape{2 * mean.numel() + 1});
  BatchPartsProblem p{.step = BatchPartsProblem::Step::statistics, .sums = sums};
  p.mean_out = mean;
  p.variance_out = variance;
  dispatch<BatchPartsProblem>(kOp, kBatchParts, p);
}

void batch_norm_parts_backward(double epsilon, ConstView x, OptionalView gamma, ConstView mean, ConstView variance,
                               ConstView sums, std::int64_t rows, View dx) {
  constexpr const char* kOp = "batch_norm_parts_backward";
  const Shape channels{check_channels(kOp, x.shape)};
  check_epsilon(kOp, epsilon);
  check_maps(kOp, {{"input", x}, {"input gradient", dx}});
  check_parameters(kOp, {"input", x}, {{"gamma", gamma}, {"mean", mean}, {"variance", variance}, {"sums", sums}});
  check_shape(kOp, {"gamma", gamma}, channels);
  check_shape(kOp, {"mean", mean}, channels);
  check_shape(kOp, {"variance", variance}, channels);
  check_shape(kOp, {"sums", sums}, Shape{2 * channels[0]});
  check_shape(kOp, {"input gradient", dx}, x.shape);
  if (rows < 1) throw Error(ErrorKind::usage, kOp, str("rows must be at least 1, got ", rows));
  BatchPartsProblem p{.step = BatchPartsProblem::Step::gradient, .rows = rows, .epsilon = epsilon, .mean = mean};
  p.variance = variance;
  p.sums = sums;
  p.x = x;
  p.gamma = gamma;
  p.dx = dx;
  if (x.numel() > 0) dispatch<BatchPartsProblem>(kOp, kBatchParts, p);
}

void layer_norm_forward(double epsilon, ConstView x, OptionalView gamma, OptionalView beta, View y, View mean,
                        View inv_std) {
  LayerNormProblem p;
  fill_row_problem("layer_norm", p, epsilon, x, gamma, beta);
  group_forward<LayerNormProblem>("layer_norm_forward", kLayerForward, p, p.rows(), y, mean, inv_std);
}

void layer_norm_backward(ConstView x, ConstView dy, OptionalView gamma, ConstView mean, ConstView inv_std, View dx,
                         std::optional<View> dgamma, std::optional<View> dbeta) {
  LayerNormProblem p;
  fill_row_problem("layer_norm_backward", p, 0, x, gamma, OptionalView());
  group_backward<LayerNormProblem>("layer_norm_backward", kLayerBackward, p, p.rows(), dy, mean, inv_std, dx, dgamma,
                                   dbeta);
}

void group_norm_forward(int groups, double epsilon, ConstView x, OptionalView gamma, OptionalView beta, View y,
                        View mean, View inv_std) {
  const std::int64_t count = check_groups("group_norm", groups, x.shape);
  GroupNormProblem p;
  fill_row_problem("group_norm", p, epsilon, x, gamma, beta);
  p.groups = groups;
  group_forward<GroupNormProblem>("group_norm_forward", kGroupForward, p, count, y, mean, inv_std);
}

void group_norm_backward(int groups, ConstView x, ConstView dy, OptionalView gamma, ConstView mean, ConstView inv_std,
                         View dx, std::optional<View> dgamma, std::optional<View> dbeta) {
  const std::int64_t count = check_groups("group_norm_backward", groups, x.shape);
  GroupNormProblem p;
  fill_row_problem("group_norm_backward", p, 0, x, gamma, OptionalView());
  p.groups = groups;
  group_backward<GroupNormProblem>("group_norm_backward", kGroupBackward, p, count, dy, mean, inv_std, dx, dgamma,
                                   dbeta);
}

}  // namespace fovea::kernels
