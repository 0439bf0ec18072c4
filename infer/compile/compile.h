// From a model to a plan: capture, rewrite, pick kernels, plan memory.
#pragma once

#include <functional>
#include <memory>

#include "infer/runtime/plan.h"
#include "models/model.h"

namespace fovea::infer {

struct CompileOptions {
  /// NHWC; empty: one picture of the size that the model's preprocessing gives.
  Shape input{};
  /// f32, or bf16: activations and weights are kept in bf16 and summed in f32 (vdpbf16ps). Where the CPU has no such
  /// products, f32 computes instead.
  DType dtype = DType::f32;
};

/// A plan for one input shape. Weights are copied: training the model further does not change the plan.
/// Error{usage} for networks with ops that inference does not run compiled, Error{shape} where the input does not fit.
FOVEA_API Plan compile(const Model& model, const CompileOptions& options = {});

/// A model compiled for any number of shapes: plans are made when a shape first comes and kept, weights are shared. One
/// thread at a time, as a plan.
class FOVEA_API CompiledModel {
 public:
  explicit CompiledModel(const Model& model, DType dtype = DType::f32);
  ~CompiledModel();
  CompiledModel(CompiledModel&&) noexcept;
  CompiledModel& operator=(CompiledModel&&) noexcept;

  /// Logits of images f32 [N,H,W,C], any batch and size.
  Tensor operator()(const Tensor& x);
  Plan& plan(const Shape& input);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What to call instead of model(x) when nothing is recorded: the compiled network, or the model where it cannot be
/// compiled, which FOVEA_VERBOSE=1 tells with the reason. One thread at a time.
FOVEA_API std::function<Tensor(const Tensor&)> fast_forward(const Model& model, DType dtype = DType::f32);

}  // namespace fovea::infer
