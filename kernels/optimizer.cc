// Entry points of the optimizer steps: checks and the lists of implementations.
#include "kernels/optimizer.h"

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/optimizer.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

template <class Problem>
const char* reference_step_declines(const Problem& p) {
  return needs_cpu(p.param);
}
const char* reference_scan_declines(const ScanProblem& p) { return needs_cpu(p.x); }
const char* reference_update_declines(const UpdateProblem& p) { return needs_cpu(p.to); }

void reference_sgd(const SgdProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { reference::sgd_step<decltype(t)>(p); });
}
void reference_adam(const AdamProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { reference::adam_step<decltype(t)>(p); });
}
void reference_rmsprop(const RmspropProblem& p) {
  by_scalar(p.param.dtype, [&](auto t) { reference::rmsprop_step<decltype(t)>(p); });
}
void reference_sum_of_squares(const ScanProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::sum_of_squares<decltype(t)>(p); });
}
void reference_all_finite(const ScanProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::all_finite<decltype(t)>(p); });
}
void reference_update(const UpdateProblem& p) {
  by_scalar(p.to.dtype, [&](auto t) { reference::update<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<SgdProblem> kSgd[] = {
    {"simd", simd::declines, simd::sgd},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::sgd),
    {"reference", reference_step_declines, reference_sgd},
};
constexpr Implementation<AdamProblem> kAdam[] = {
    {"simd", simd::declines, simd::adam},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::adam),
    {"reference", reference_step_declines, reference_adam},
};
constexpr Implementation<RmspropProblem> kRmsprop[] = {
    {"simd", simd::declines, simd::rmsprop},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::rmsprop),
    {"reference", reference_step_declines, reference_rmsprop},
};
constexpr Implementation<ScanProblem> kSumOfSquares[] = {
    {"simd", simd::declines, simd::sum_of_squares},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::sum_of_squares),
    {"reference", reference_scan_declines, reference_sum_of_squares},
};
constexpr Implementation<ScanProblem> kAllFinite[] = {
    {"simd", simd::declines, simd::all_finite},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::all_finite),
    {"reference", reference_scan_declines, reference_all_finite},
};
constexpr Implementation<UpdateProblem> kUpdate[] = {
    {"simd", simd::declines, simd::update},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::update),
    {"reference", reference_update_declines, reference_update},
};

const char* reference_clamp_declines(const ClampProblem& p) { return needs_cpu(p.x); }
void reference_clamp(const ClampProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::clamp<decltype(t)>(p); });
}
constexpr Implementation<ClampProblem> kClamp[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::clamp),
    {"only", reference_clamp_declines, reference_clamp},
};

const char* one_by_one_declines(const ScanManyProblem& p) { return needs_cpu(p.x.front()); }
void one_by_one(const ScanManyProblem& p) {
  for (std::size_t i = 0; i < p.x.size(); ++i)
    p.results[i] = p.finite ? static_cast<double>(all_finite(p.x[i])) : sum_of_squares(p.x[i]);
}
constexpr Implementation<ScanManyProblem> kScanMany[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::scan_many),
    {"only", one_by_one_declines, one_by_one},
};

/// Empty tensors have the neutral answer.
std::vector<double> scan_many(const char* op, bool finite, std::span<const ConstView> x) {
  std::vector<double> all(x.size(), finite ? 1 : 0), results;
  std::vector<ConstView> asked;
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < x.size(); ++i) {
    check_floating(op, {{"input", x[i]}, {"first input", x[0]}});
    if (x[i].numel() == 0) continue;
    asked.push_back(x[i]);
    which.push_back(i);
  }
  if (asked.empty()) return all;
  results.resize(asked.size());
  dispatch<ScanManyProblem>(op, kScanMany, {finite, asked, results.data()});
  for (std::size_t k = 0; k < which.size(); ++k) all[which[k]] = results[k];
  return all;
}

/// All of the parameter's shape, element type and device.
void check_like_param(std::string_view op, View param, std::initializer_list<Operand> others) {
  for (const Operand& o : others) {
    check_floating(op, {{"parameter", param}, o});
    check_shape(op, o, param.shape);
  }
}

void check_momentum(std::string_view op, double momentum, const std::optional<View>& buffer) {
  if (momentum != 0 && !buffer)
    throw Error(ErrorKind::usage, op, str("momentum ", momentum, " needs a momentum buffer"));
}

}  // namespace

void sgd_step(const SgdStep& step, ConstView grad, View param, std::optional<View> momentum) {
  check_like_param("sgd_step", param, {{"gradient", grad}, {"momentum", momentum}});
  check_momentum("sgd_step", step.momentum, momentum);
  if (param.numel() == 0) return;
  dispatch<SgdProblem>("sgd_step", kSgd, {step, grad, param, momentum});
}

void adam_step(const AdamStep& step, ConstView grad, View param, View m, View v) {
  check_like_param("adam_step", param, {{"gradient", grad}, {"m", m}, {"v", v}});
  if (step.step < 1) throw Error(ErrorKind::usage, "adam_step", str("steps count from 1, got ", step.step));
  if (param.numel() == 0) return;
  dispatch<AdamProblem>("adam_step", kAdam, {step, grad, param, m, v});
}

void rmsprop_step(const RmspropStep& step, ConstView grad, View param, View v, std::optional<View> momentum,
                  std::optional<View> mean_grad) {
  check_like_param("rmsprop_step", param,
                   {{"gradient", grad}, {"v", v}, {"momentum", momentum}, {"mean gradient", mean_grad}});
  check_momentum("rmsprop_step", step.momentum, momentum);
  if (param.numel() == 0) return;
  dispatch<RmspropProblem>("rmsprop_step", kRmsprop, {step, grad, param, v, momentum, mean_grad});
}

double sum_of_squares(ConstView x) {
  check_floating("sum_of_squares", {{"input", x}});
  double result = 0;
  if (x.numel() > 0) dispatch<ScanProblem>("sum_of_squares", kSumOfSquares, {x, &result});
  return result;
}

bool all_finite(ConstView x) {
  check_floating("all_finite", {{"input", x}});
  double result = 1;
  if (x.numel() > 0) dispatch<ScanProblem>("all_finite", kAllFinite, {x, &result});
  return result != 0;
}

std::vector<double> sums_of_squares(std::span<const ConstView> x) { return scan_many("sums_of_squares", false, x); }

std::vector<bool> all_finite_of(std::span<const ConstView> x) {
  const std::vector<double> found = scan_many("all_finite_of", true, x);
  return {found.begin(), found.end()};
}

void clamp_in_place(double limit, View x) {
  check_floating("clamp_in_place", {{"input", x}});
  if (!(limit >= 0)) throw Error(ErrorKind::usage, "clamp_in_place", str("limit must not be negative, got ", limit));
  if (x.numel() > 0) dispatch<ClampProblem>("clamp_in_place", kClamp, {limit, x});
}

void scale_in_place(double factor, View x) {
  check_floating("scale_in_place", {{"input", x}});
  if (x.numel() > 0) dispatch<UpdateProblem>("scale_in_place", kUpdate, {factor, std::nullopt, x});
}

void lerp_in_place(double decay, ConstView from, View to) {
  check_floating("lerp_in_place", {{"to", to}, {"from", from}});
  check_shape("lerp_in_place", {"from", from}, to.shape);
  if (to.numel() > 0) dispatch<UpdateProblem>("lerp_in_place", kUpdate, {decay, from, to});
}

}  // namespace fovea::kernels
