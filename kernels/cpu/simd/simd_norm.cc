// Hands normalisation and activation problems to the Highway kernels.
#include <algorithm>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/batch_norm_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

const float* data(const OptionalView& view) { return view ? view->ptr<float>() : nullptr; }
float* data(const std::optional<View>& view) { return view ? view->ptr<float>() : nullptr; }
BatchNormShape shape_of(const BatchNormProblem& p) {
  return {p.rows(), p.channels(), p.params.epsilon, p.params.activation};
}

}  // namespace

const char* declines(const BatchNormProblem& p) { return needs_cpu_f32(p.x); }

void batch_norm_training(const BatchNormProblem& p) {
  batch_norm_training_f32(shape_of(p), p.x.ptr<float>(), data(p.gamma), data(p.beta), p.y.ptr<float>(),
                          p.mean_out.ptr<float>(), p.variance_out.ptr<float>());
}

void batch_norm_inference(const BatchNormProblem& p) {
  batch_norm_inference_f32(shape_of(p), p.x.ptr<float>(), data(p.gamma), data(p.beta), p.mean.ptr<float>(),
                           p.variance.ptr<float>(), p.y.ptr<float>());
}

void batch_norm_backward(const BatchNormProblem& p) {
  batch_norm_backward_f32(shape_of(p), p.training, p.x.ptr<float>(), p.dy.ptr<float>(), data(p.gamma), data(p.beta),
                          p.mean.ptr<float>(), p.variance.ptr<float>(), data(p.dx), data(p.dgamma), data(p.dbeta));
}

const char* declines(const ActivationProblem& p) { return needs_cpu_f32(p.out); }

namespace {

std::int64_t grain_of(Activation kind) {
  const bool cheap = kind == Activation::none || kind == Activation::relu || kind == Activation::relu6 ||
                     kind == Activation::leaky_relu;
  return cheap ? kGrain : kHeavyGrain;
}

}  // namespace

void activation_forward(const ActivationProblem& p) {
  const Activation kind = p.params.kind;
  const float alpha = static_cast<float>(p.params.alpha);
  const float* x = p.x.ptr<float>();
  float* out = p.out.ptr<float>();
  parallel_for(p.out.numel(), grain_of(kind), [&](std::int64_t begin, std::int64_t end) {
    activation_forward_f32(kind, alpha, x + begin, out + begin, end - begin);
  });
}

void activation_backward(const ActivationProblem& p) {
  const Activation kind = p.params.kind;
  const float alpha = static_cast<float>(p.params.alpha);
  float* out = p.out.ptr<float>();
  const ConstView& operand = derivative_from_result(kind) ? p.y : p.x;
  const float *source = operand.ptr<float>(), *dy = p.dy.ptr<float>();
  parallel_for(p.out.numel(), grain_of(kind), [&](std::int64_t begin, std::int64_t end) {
    activation_backward_f32(kind, alpha, source + begin, dy + begin, out + begin, end - begin);
  });
}

}  // namespace fovea::kernels::simd
