#include <cstdio>

#include "core/autograd/tape.h"
#include "core/error.h"
#include "kernels/registry.h"
#include "train/recorded_pass_internal.h"

namespace fovea {

RecordedPass::RecordedPass(const Model& model, std::vector<NamedTensor> tensors, Loss loss)
    : model_(model), tensors_(std::move(tensors)), loss_(std::move(loss)) {
  const Tensor& like = tensors_.front().tensor;
  seed_ = Tensor::ones(Shape{}, like.dtype(), like.device());
}

RecordedPass::Result RecordedPass::pass(const Batch& batch, const TrainingMode::Options& mode) const {
  for (const NamedTensor& t : tensors_) {
    Tensor tensor = t.tensor;
    tensor.zero_grad();
  }
  const TrainingMode training(mode);
  Tape tape;
  Result r;
  r.logits = model_(batch.images);
  r.loss = loss_(r.logits, batch);
  tape.backward(r.loss, seed_);
  return r;
}

RecordedPass::Result RecordedPass::run(const Batch& batch, const TrainingMode::Options& mode, double scale) {
  if (scale != scale_) seed_.fill(scale);
  scale_ = scale;
  const Device device = seed_.device();
  const auto same = [](const Tensor& a, const Tensor& b) { return a.spec() == b.spec(); };
  const bool again = batch.images.shape() == last_;
  last_ = batch.images.shape();
  if (!graph_.defined() && again && !refused_) {
    batch_ = batch;
    for (Tensor* t : {&batch_.images, &batch_.labels, &batch_.soft_labels}) {
      if (t->defined()) *t = t->to(device).clone();  // memory that nobody else writes
    }
    record(mode);
  }
  if (graph_.defined() && same(batch.images, batch_.images) && same(batch.labels, batch_.labels) &&
      same(batch.soft_labels, batch_.soft_labels)) {
    batch_.images.copy_from(batch.images);
    batch_.labels.copy_from(batch.labels);
    if (batch.soft_labels.defined()) batch_.soft_labels.copy_from(batch.soft_labels);
    graph_.launch((mode.step - step_) << 32);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      Tensor tensor = tensors_[i].tensor;
      tensor.set_grad(gradients_[i]);
    }
    return result_;
  }
  Batch there = batch;
  for (Tensor* t : {&there.images, &there.labels, &there.soft_labels}) {
    if (t->defined()) *t = t->to(device);
  }
  return pass(there, mode);
}

void RecordedPass::record(const TrainingMode::Options& mode) {
  // The runs before the recording move the statistics, which must look as if nothing had happened.
  std::vector<Tensor> before;
  for (const NamedTensor& t : tensors_) before.push_back(t.is_buffer ? t.tensor.clone() : Tensor());
  try {
    graph_ = DeviceGraph::record(seed_.device(), [&] { result_ = pass(batch_, mode); });
    step_ = mode.step;
    for (const NamedTensor& t : tensors_) gradients_.push_back(t.tensor.grad());
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::device) throw;
    refused_ = true;
    result_ = {};
    batch_ = {};
    if (kernels::detail::verbose()) std::fprintf(stderr, "fovea: not recorded: %s\n", e.what());
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    Tensor tensor = tensors_[i].tensor;
    if (before[i].defined()) tensor.copy_from(before[i]);
  }
}

}  // namespace fovea
