// The way from a model to a plan.
#include "infer/compile/compile.h"

#include <cstdio>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "image/views.h"
#include "infer/quantize/captured_internal.h"
#include "infer/quantize/quantize.h"
#include "kernels/registry.h"

namespace fovea::infer {

Plan compile(const Model& model, const CompileOptions& options) {
  Network network = compile_network(model, options.dtype);
  return std::move(network.plan(options.input.rank() == 0 ? network.input_shape() : options.input));
}

Network compile_network(const Model& model, DType dtype) {
  if (dtype == DType::i8) return quantize_on_noise(model).network();
  return {captured(model), dtype};
}

DeviceNetwork compile_for_device(const Model& model, DType dtype) { return {captured(model), model.device(), dtype}; }

void save(const Model& model, const std::string& path) { write_network(captured(model), path); }

std::function<Tensor(const Tensor&)> fast_forward(const Model& model, DType dtype) {
  const auto op_by_op = [model, device = model.device()](const Tensor& x) {
    const InferenceMode inference;
    const NoGrad no_grad;
    return image::forward_views(model.preprocessing, x,
                                [&](const Tensor& view) { return model(view.to(device)).to(kCpu); });
  };
  try {
    if (model.device() != kCpu) {
      auto network = std::make_shared<DeviceNetwork>(compile_for_device(model, dtype));
      return [network](const Tensor& x) { return (*network)(x); };
    }
    auto network = std::make_shared<Network>(compile_network(model, dtype));
    return [network](const Tensor& x) { return (*network)(x); };
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::usage) throw;
    if (kernels::detail::verbose()) std::fprintf(stderr, "fovea: not compiled: %s\n", e.what());
    return op_by_op;
  }
}

}  // namespace fovea::infer
