// Finds where NaN or Inf came from.
#include "train/diagnose_internal.h"

#include "core/autograd/tape.h"
#include "core/error.h"
#include "core/graph/op_list.h"
#include "kernels/optimizer.h"
#include "train/gradients.h"

namespace fovea {
namespace {

bool bad(const Tensor& t) {
  return t.defined() && (t.dtype() == DType::f32 || t.dtype() == DType::f64) && t.numel() > 0 &&
         !kernels::all_finite(t.view());
}

OpList capture_pass(const Model& model, const std::vector<NamedTensor>& tensors, const Tensor& images,
                    const TrainingMode::Options& mode) {
  TrainingMode training(mode);
  Capture capture;
  capture.input(images);
  for (const NamedTensor& t : tensors) capture.parameter(t.tensor, t.name);
  const Tensor out[] = {model(images)};
  return capture.finish(out);
}

}  // namespace

std::string first_bad_in_pass(const Model& model, const std::vector<NamedTensor>& tensors, const Tensor& images,
                              TrainingMode::Options mode) {
  if (bad(images)) return "input images";
  std::string name = first_bad_tensor(tensors);
  if (!name.empty()) return name;
  mode.update_statistics = false;
  NoGrad no_grad;
  try {
    const OpList list = capture_pass(model, tensors, images, mode);
    // The same pass again, op by op: a new mode deals out the same dropout masks.
    TrainingMode training(mode);
    std::vector<Tensor> values(list.values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = list.values[i].tensor;
    for (const int input : list.inputs) values[static_cast<std::size_t>(input)] = images;
    for (const OpList::Node& node : list.nodes) {
      std::vector<Tensor> in;
      for (const int i : node.inputs) in.push_back(i < 0 ? Tensor() : values[static_cast<std::size_t>(i)]);
      const std::vector<Tensor> out = run_op(node.op, in);
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (bad(out[i]))
          return str("output of ", node.scope.empty() ? "the network" : node.scope, " (", node.op->type(), ")");
        values[static_cast<std::size_t>(node.outputs[i])] = out[i];
      }
    }
  } catch (const Error&) {
    // A network that cannot be captured: what is known already has to do.
    return "loss (the network's ops cannot be followed)";
  }
  return "loss";
}

}  // namespace fovea
