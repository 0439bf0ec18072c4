// Entry points of the optimizer steps: checks and the lists of implementations.
#include "kernels/optimizer.h"

#include <algorithm>
#include <iterator>

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/optimizer.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

template <class Item>
const char* all_on_cpu(std::span<const Item> all, View Item::*view) {
  return needs_cpu(all.front().*view);
}
const char* reference_declines(const SgdProblem& p) { return all_on_cpu(p.all, &SgdUpdate::param); }
const char* reference_declines(const AdamProblem& p) { return all_on_cpu(p.all, &AdamUpdate::param); }
const char* reference_declines(const RmspropProblem& p) { return all_on_cpu(p.all, &RmspropUpdate::param); }
const char* reference_declines(const UpdateProblem& p) { return all_on_cpu(p.all, &Update::to); }
const char* reference_declines(const ScanProblem& p) { return needs_cpu(p.x); }

void reference_sgd(const SgdProblem& p) {
  for (const SgdUpdate& u : p.all) by_scalar(u.param.dtype, [&](auto t) { reference::sgd_step<decltype(t)>(u); });
}
void reference_adam(const AdamProblem& p) {
  for (const AdamUpdate& u : p.all) by_scalar(u.param.dtype, [&](auto t) { reference::adam_step<decltype(t)>(u); });
}
void reference_rmsprop(const RmspropProblem& p) {
  for (const RmspropUpdate& u : p.all)
    by_scalar(u.param.dtype, [&](auto t) { reference::rmsprop_step<decltype(t)>(u); });
}
void reference_sum_of_squares(const ScanProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::sum_of_squares<decltype(t)>(p); });
}
void reference_all_finite(const ScanProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { reference::all_finite<decltype(t)>(p); });
}
void reference_update(const UpdateProblem& p) {
  for (const Update& u : p.all) by_scalar(u.to.dtype, [&](auto t) { reference::update<decltype(t)>(u); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<SgdProblem> kSgd[] = {
    {"simd", simd::declines, simd::sgd},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::sgd),
    {"reference", reference_declines, reference_sgd},
};
constexpr Implementation<AdamProblem> kAdam[] = {
    {"simd", simd::declines, simd::adam},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::adam),
    {"reference", reference_declines, reference_adam},
};
constexpr Implementation<RmspropProblem> kRmsprop[] = {
    {"simd", simd::declines, simd::rmsprop},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::rmsprop),
    {"reference", reference_declines, reference_rmsprop},
};
constexpr Implementation<ScanProblem> kSumOfSquares[] = {
    {"simd", simd::declines, simd::sum_of_squares},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::sum_of_squares),
    {"reference", reference_declines, reference_sum_of_squares},
};
constexpr Implementation<ScanProblem> kAllFinite[] = {
    {"simd", simd::declines, simd::all_finite},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::all_finite),
    {"reference", reference_declines, reference_all_finite},
};
constexpr Implementation<UpdateProblem> kUpdate[] = {
    {"simd", simd::declines, simd::update},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::update),
    {"reference", reference_declines, reference_update},
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

/// Runs what is not empty. `check` looks at one item; all are on the first one's device.
template <class Problem, class Item, class Check>
void run_all(const char* op, std::span<const Implementation<Problem>> list, std::span<const Item> all, View Item::*view,
             const Check& check) {
  std::vector<Item> some;
  bool empty = false;
  for (const Item& item : all) {
    check(item);
    const Device device = (item.*view).device, first = (all.front().*view).device;
    if (device != first)
      throw Error(ErrorKind::device, op, str("one tensor is on ", device, ", the first on ", first),
                  "tensors of one call are on one device");
    empty = empty || (item.*view).numel() == 0;
  }
  if (empty) {
    std::copy_if(all.begin(), all.end(), std::back_inserter(some),
                 [&](const Item& item) { return (item.*view).numel() > 0; });
    all = some;
  }
  if (!all.empty()) dispatch<Problem>(op, list, {all});
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

void check_update(const Update& u) {
  const char* const op = "update_all";
  check_floating(op, {{"to", u.to}, {"from", u.from}});
  const bool two = u.kind == UpdateKind::lerp || u.kind == UpdateKind::add;
  if (two != u.from.has_value()) throw Error(ErrorKind::usage, op, two ? "there is no `from`" : "`from` is not used");
  if (two) check_shape(op, {"from", u.from}, u.to.shape);
  if (u.kind == UpdateKind::clamp && !(u.a >= 0))
    throw Error(ErrorKind::usage, op, str("the limit of a clamp must not be negative, got ", u.a));
}

}  // namespace

void sgd_steps(std::span<const SgdUpdate> all) {
  run_all<SgdProblem>("sgd_steps", kSgd, all, &SgdUpdate::param, [](const SgdUpdate& u) {
    check_like_param("sgd_steps", u.param, {{"gradient", u.grad}, {"momentum", u.momentum}});
    check_momentum("sgd_steps", u.step.momentum, u.momentum);
  });
}

void adam_steps(std::span<const AdamUpdate> all) {
  run_all<AdamProblem>("adam_steps", kAdam, all, &AdamUpdate::param, [](const AdamUpdate& u) {
    check_like_param("adam_steps", u.param, {{"gradient", u.grad}, {"m", u.m}, {"v", u.v}});
    if (u.step.step < 1) throw Error(ErrorKind::usage, "adam_steps", str("steps count from 1, got ", u.step.step));
  });
}

void rmsprop_steps(std::span<const RmspropUpdate> all) {
  run_all<RmspropProblem>("rmsprop_steps", kRmsprop, all, &RmspropUpdate::param, [](const RmspropUpdate& u) {
    check_like_param("rmsprop_steps", u.param,
                     {{"gradient", u.grad}, {"v", u.v}, {"momentum", u.momentum}, {"mean gradient", u.mean_grad}});
    check_momentum("rmsprop_steps", u.step.momentum, u.momentum);
  });
}

void update_all(std::span<const Update> all) {
  run_all<UpdateProblem>("update_all", kUpdate, all, &Update::to, check_update);
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

void scale_in_place(double factor, View x) {
  const Update update{UpdateKind::scale, factor, {}, x};
  update_all({&update, 1});
}

void lerp_in_place(double decay, ConstView from, View to) {
  const Update update{UpdateKind::lerp, decay, from, to};
  update_all({&update, 1});
}

}  // namespace fovea::kernels
