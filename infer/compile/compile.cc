// The way from a model to a plan, and plans kept by shape.
#include "infer/compile/compile.h"

#include <cstdio>
#include <list>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "infer/graph/lower_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "kernels/registry.h"

namespace fovea::infer {
namespace {

std::shared_ptr<const Lowered> lower(const Model& model, DType dtype) {
  if (dtype != DType::f32 && dtype != DType::bf16) {
    throw Error(ErrorKind::usage, "compile", str("'", to_string(dtype), "' is no type of compiled inference"),
                "f32 and bf16 are");
  }
  const bool bf16 = dtype == DType::bf16 && kernels::simd::has_bf16();
  Graph graph = make_graph(model.capture(1).records());
  fold_norms(graph);
  fuse_epilogues(graph);
  return pack(std::move(graph), bf16 ? kernels::simd::Element::bf16 : kernels::simd::Element::f32);
}

}  // namespace

Plan compile(const Model& model, const CompileOptions& options) {
  Shape input = options.input;
  if (input.rank() == 0) {
    const image::Preprocessing& p = model.preprocessing;
    input = Shape{1, p.height, p.width, p.channels};
  }
  return Plan(plan_for(lower(model, options.dtype), input));
}

struct CompiledModel::Impl {
  std::shared_ptr<const Lowered> lowered;
  std::list<Plan> plans;  // the latest first
};

// A data set's last batch and a handful of sizes; more would keep memory for shapes that do not come back.
constexpr std::size_t kMaxPlans = 8;

CompiledModel::CompiledModel(const Model& model, DType dtype) : impl_(std::make_unique<Impl>()) {
  impl_->lowered = lower(model, dtype);
}
CompiledModel::~CompiledModel() = default;
CompiledModel::CompiledModel(CompiledModel&&) noexcept = default;
CompiledModel& CompiledModel::operator=(CompiledModel&&) noexcept = default;

Plan& CompiledModel::plan(const Shape& input) {
  std::list<Plan>& plans = impl_->plans;
  for (auto it = plans.begin(); it != plans.end(); ++it) {
    if (it->input_shape() != input) continue;
    plans.splice(plans.begin(), plans, it);
    return plans.front();
  }
  plans.emplace_front(plan_for(impl_->lowered, input));
  if (plans.size() > kMaxPlans) plans.pop_back();
  return plans.front();
}

Tensor CompiledModel::operator()(const Tensor& x) { return plan(x.shape())(x); }

std::function<Tensor(const Tensor&)> fast_forward(const Model& model, DType dtype) {
  try {
    auto compiled = std::make_shared<CompiledModel>(model, dtype);
    return [compiled](const Tensor& x) { return (*compiled)(x); };
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::usage) throw;
    if (kernels::detail::verbose()) std::fprintf(stderr, "fovea: not compiled: %s\n", e.what());
    return [model](const Tensor& x) {
      const InferenceMode inference;
      const NoGrad no_grad;
      return model(x);
    };
  }
}

}  // namespace fovea::infer
