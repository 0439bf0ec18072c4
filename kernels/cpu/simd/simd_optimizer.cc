// Hands optimizer steps and scans of parameters to the Highway kernels.
#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/optimizer_raw.h"
#include "kernels/cpu/simd/reduce_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

float* from(float* p, std::int64_t i) { return p ? p + i : nullptr; }

}  // namespace

const char* declines(const SgdProblem& p) { return needs_cpu_f32(p.param); }
void sgd(const SgdProblem& p) {
  const float* grad = p.grad.ptr<float>();
  float *param = p.param.ptr<float>(),
        *momentum = p.step.momentum != 0 && p.momentum ? p.momentum->ptr<float>() : nullptr;
  parallel_for(p.param.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    sgd_f32(p.step, grad + begin, param + begin, from(momentum, begin), end - begin);
  });
}

const char* declines(const AdamProblem& p) { return needs_cpu_f32(p.param); }
void adam(const AdamProblem& p) {
  const float* grad = p.grad.ptr<float>();
  float *param = p.param.ptr<float>(), *m = p.m.ptr<float>(), *v = p.v.ptr<float>();
  parallel_for(p.param.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    adam_f32(p.step, grad + begin, param + begin, m + begin, v + begin, end - begin);
  });
}

const char* declines(const RmspropProblem& p) { return needs_cpu_f32(p.param); }
void rmsprop(const RmspropProblem& p) {
  const float* grad = p.grad.ptr<float>();
  float *param = p.param.ptr<float>(), *v = p.v.ptr<float>();
  float* momentum = p.step.momentum != 0 && p.momentum ? p.momentum->ptr<float>() : nullptr;
  float* mean = p.mean_grad ? p.mean_grad->ptr<float>() : nullptr;
  parallel_for(p.param.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    rmsprop_f32(p.step, grad + begin, param + begin, v + begin, from(momentum, begin), from(mean, begin), end - begin);
  });
}

const char* declines(const ScanProblem& p) { return needs_cpu_f32(p.x); }
void sum_of_squares(const ScanProblem& p) { *p.result = sum_of_squares_f32(p.x.ptr<float>(), p.x.numel()); }
void all_finite(const ScanProblem& p) { *p.result = all_finite_f32(p.x.ptr<float>(), p.x.numel()) ? 1 : 0; }

const char* declines(const UpdateProblem& p) { return needs_cpu_f32(p.to); }
void update(const UpdateProblem& p) {
  const float* source = p.from ? p.from->ptr<float>() : nullptr;
  float* to = p.to.ptr<float>();
  const auto a = static_cast<float>(p.a), b = static_cast<float>(1 - p.a);
  parallel_for(p.to.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    scale_add_f32(a, b, source ? source + begin : nullptr, to + begin, end - begin);
  });
}

}  // namespace fovea::kernels::simd
