#include "models/model.h"

#include "core/autograd/modes.h"
#include "layers/fused/fused_pass.h"

namespace fovea {

Module& Model::network() const {
  if (!network_) throw Error(ErrorKind::usage, "model", "this model is empty: load one or build one first");
  return *network_;
}

Device Model::device() const {
  const std::vector<NamedTensor> tensors = network().named_tensors();
  return tensors.empty() ? kCpu : tensors.front().tensor.device();
}

Tensor Model::operator()(const Tensor& x) const {
  Module& module = network();
  if (!rewrites_training(x)) return module(x);
  return fused_forward([&](const Tensor& in) { return module(in); }, x);
}

OpList Model::capture(std::int64_t batch, DType dtype) const {
  const NoGrad no_grad;
  const InferenceMode inference;
  const Tensor x({batch, preprocessing.height, preprocessing.width, preprocessing.channels}, dtype, kMeta);
  Capture capture;
  capture.input(x);
  for (const NamedTensor& named : network().named_tensors()) capture.parameter(named.tensor, named.name);
  const Tensor y = network()(x);
  return capture.finish({&y, 1});
}

}  // namespace fovea
