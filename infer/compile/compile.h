// From a model to a compiled network: capture, rewrite, pick kernels, plan memory.
#pragma once

#include <functional>
#include <string>

#include "infer/graph/device_network.h"
#include "infer/graph/network.h"
#include "models/model.h"

namespace fovea::infer {

struct CompileOptions {
  /// NHWC; empty: one picture of the size that the model's preprocessing gives.
  Shape input{};
  /// f32, or bf16: activations and weights are kept in bf16 and summed in f32 (vdpbf16ps). Where the CPU has no such
  /// products, f32 computes instead. i8: calibrated on noise (quantize_on_noise), for timing; see infer/quantize/ for
  /// networks that are to answer.
  DType dtype = DType::f32;
};

/// A plan for one input shape. Weights are copied: training the model further does not change the plan.
/// Error{usage} for networks with ops that inference does not run compiled, Error{shape} where the input does not fit.
FOVEA_API Plan compile(const Model& model, const CompileOptions& options = {});

/// The model compiled for any number of shapes.
FOVEA_API Network compile_network(const Model& model, DType dtype = DType::f32);

/// The model compiled for the GPU it is on, in f32, bf16 or f16.
FOVEA_API DeviceNetwork compile_for_device(const Model& model, DType dtype = DType::f32);

/// Writes the compiled network as a file that infer::load() reads faster than a model file: batch norms are folded and
/// neighbours fused. It holds f32 weights and can be loaded for any compute type, but not trained further. Atomic.
FOVEA_API void save(const Model& model, const std::string& path);

/// What to call instead of model(x) when nothing is recorded: the compiled network (on a GPU, if the model is there),
/// or the model where it cannot be compiled, which FOVEA_VERBOSE=1 tells with the reason. Takes pictures on the CPU and
/// gives logits there. One thread at a time.
FOVEA_API std::function<Tensor(const Tensor&)> fast_forward(const Model& model, DType dtype = DType::f32);

}  // namespace fovea::infer
