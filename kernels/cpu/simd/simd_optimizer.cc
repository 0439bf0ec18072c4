// Hands optimizer steps and scans of parameters to the Highway kernels.
#include <algorithm>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/optimizer_raw.h"
#include "kernels/cpu/simd/reduce_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

float* from(float* p, std::int64_t i) { return p ? p + i : nullptr; }

template <class Item>
const char* all_f32(std::span<const Item> all, View Item::*view) {
  for (const Item& item : all) {
    if (const char* reason = needs_cpu_f32(item.*view)) return reason;
  }
  return nullptr;
}

/// run(item, begin, end) over the elements of all tensors as if they were one: a network's many small ones do not cost
/// a fork and a join each.
template <class Item, class Run>
void each_part(std::span<const Item> all, View Item::*view, const Run& run) {
  std::vector<std::int64_t> first = {0};  // element of each tensor in the whole
  first.reserve(all.size() + 1);
  for (const Item& item : all) first.push_back(first.back() + (item.*view).numel());
  parallel_for(first.back(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    auto i = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), begin) - first.begin()) - 1;
    for (; begin < end; ++i) {
      const std::int64_t stop = std::min(end, first[i + 1]);
      run(all[i], begin - first[i], stop - first[i]);
      begin = stop;
    }
  });
}

}  // namespace

const char* declines(const SgdProblem& p) { return all_f32(p.all, &SgdUpdate::param); }
void sgd(const SgdProblem& p) {
  each_part(p.all, &SgdUpdate::param, [](const SgdUpdate& u, std::int64_t begin, std::int64_t end) {
    float* const momentum = u.step.momentum != 0 && u.momentum ? u.momentum->ptr<float>() : nullptr;
    sgd_f32(u.step, u.grad.ptr<float>() + begin, u.param.ptr<float>() + begin, from(momentum, begin), end - begin);
  });
}

const char* declines(const AdamProblem& p) { return all_f32(p.all, &AdamUpdate::param); }
void adam(const AdamProblem& p) {
  each_part(p.all, &AdamUpdate::param, [](const AdamUpdate& u, std::int64_t begin, std::int64_t end) {
    adam_f32(u.step, u.grad.ptr<float>() + begin, u.param.ptr<float>() + begin, u.m.ptr<float>() + begin,
             u.v.ptr<float>() + begin, end - begin);
  });
}

const char* declines(const RmspropProblem& p) { return all_f32(p.all, &RmspropUpdate::param); }
void rmsprop(const RmspropProblem& p) {
  each_part(p.all, &RmspropUpdate::param, [](const RmspropUpdate& u, std::int64_t begin, std::int64_t end) {
    float* const momentum = u.step.momentum != 0 && u.momentum ? u.momentum->ptr<float>() : nullptr;
    float* const mean = u.mean_grad ? u.mean_grad->ptr<float>() : nullptr;
    rmsprop_f32(u.step, u.grad.ptr<float>() + begin, u.param.ptr<float>() + begin, u.v.ptr<float>() + begin,
                from(momentum, begin), from(mean, begin), end - begin);
  });
}

const char* declines(const ScanProblem& p) { return needs_cpu_f32(p.x); }
void sum_of_squares(const ScanProblem& p) { *p.result = sum_of_squares_f32(p.x.ptr<float>(), p.x.numel()); }
void all_finite(const ScanProblem& p) { *p.result = all_finite_f32(p.x.ptr<float>(), p.x.numel()) ? 1 : 0; }

const char* declines(const UpdateProblem& p) { return all_f32(p.all, &Update::to); }
void update(const UpdateProblem& p) {
  each_part(p.all, &Update::to, [](const Update& u, std::int64_t begin, std::int64_t end) {
    update_f32(u.kind, u.a, u.from ? u.from->ptr<float>() + begin : nullptr, u.to.ptr<float>() + begin, end - begin);
  });
}

}  // namespace fovea::kernels::simd
