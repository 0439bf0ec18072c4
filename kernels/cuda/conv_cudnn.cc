// Convolutions by cuDNN: its layout of weights, its symmetric padding, and what its engines do not fuse.
#include <algorithm>
#include <optional>

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/weight_cache.h"
#include "kernels/devices.h"

namespace fovea::kernels::cuda {
namespace {

using Direction = Conv2dProblem::Direction;

/// One axis' padding as cuDNN wants it: as much before as behind, and what must be laid around the image before.
struct Axis {
  int padding = 0, before = 0, behind = 0;
};

Axis symmetric(std::int64_t in, std::int64_t out, int before, int behind, std::int64_t taps, int stride, int dilation) {
  const std::int64_t span = (taps - 1) * dilation + 1;
  // Often the window's last step does not reach all of the padding, and more of it changes nothing.
  const std::int64_t room = in + 2 * std::int64_t{before} - span;
  if (room >= 0 && room / stride + 1 == out) return {before};
  const int both = std::min(before, behind);
  return {both, before - both, behind - both};
}

/// The largest power of two up to 16, what engines read at once, that divides an address.
int alignment(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 16u;
  return static_cast<int>(bits & (~bits + 1));
}

/// A problem in cuDNN's terms.
struct Prepared {
  ConvKey key;
  Padding around;  // zeros to lay around the image first

  bool padded() const { return !(around == Padding{}); }
  std::int64_t image() const { return key.n * key.h * key.w * key.ci; }
};

Prepared prepare(const Conv2dProblem& p) {
  const Padding& pad = p.params.padding;
  const Size2 stride = p.params.stride, dilation = p.params.dilation;
  const Axis rows = symmetric(p.h(), p.ho(), pad.top, pad.bottom, p.kh(), stride.h, dilation.h);
  const Axis columns = symmetric(p.width(), p.wo(), pad.left, pad.right, p.kw(), stride.w, dilation.w);
  Prepared q;
  q.around = Padding::sides(rows.before, rows.behind, columns.before, columns.behind);
  ConvKey& k = q.key;
  k.direction = p.direction;
  k.device = p.out.device.index;
  k.dtype = p.out.dtype;
  k.tf32 = k.dtype == DType::f32 && AllowTf32::allowed();
  k.n = p.n();
  k.h = p.h() + rows.before + rows.behind;
  k.w = p.width() + columns.before + columns.behind;
  k.ci = p.ci();
  k.kh = p.kh();
  k.kw = p.kw();
  k.co = p.co();
  k.ho = p.ho();
  k.wo = p.wo();
  k.groups = p.params.groups;
  k.padding = {rows.padding, columns.padding};
  k.stride = stride;
  k.dilation = dilation;
  const void* x = p.direction == Direction::backward_data ? p.out.data : p.x.data;
  const void* y = p.direction == Direction::forward ? p.out.data : p.y.data;
  if (!q.padded()) k.align_x = alignment(x);
  k.align_y = alignment(y);
  return q;
}

/// The same with bias and activation, or nothing where there is neither, or cuDNN cannot express them.
std::optional<ConvKey> fused(const ConvKey& key, const Conv2dProblem& p) {
  const Activation kind = p.activation.kind;
  if (p.direction != Direction::forward || !fusible(kind) || (!p.bias && kind == Activation::none)) return std::nullopt;
  ConvKey k = key;
  k.bias = p.bias.has_value();
  if (k.bias) k.align_bias = alignment(p.bias->data);
  k.activation = kind;
  k.alpha = kind == Activation::leaky_relu ? p.activation.alpha : 0;
  return k;
}

std::size_t bytes(std::int64_t elements, DType dtype) { return static_cast<std::size_t>(elements) * dtype_size(dtype); }

std::shared_ptr<const ConvPlan> plan_for(const ConvKey& key, const ConvMemory& memory) {
  if (!Autotune::enabled()) return conv_plan(key);
  // Measuring waits, which work that is recorded cannot.
  const Recording* const recorded = recording(key.device);
  return recorded && recorded->capture ? conv_plan(key) : measured_conv_plan(key, memory);
}

}  // namespace

const char* cudnn_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cuda(p.out)) return reason;
  if (p.out.dtype == DType::f64) return "needs f32, bf16 or f16";
  const Prepared q = prepare(p);
  constexpr std::int64_t kMost = 0x7fffffff;  // engines count elements in 32 bits
  if (std::max({q.image(), p.w.numel(), p.y.numel()}) > kMost) return "more than 2^31 elements";
  if (conv_plan(q.key)) return nullptr;
  return "cuDNN has no engine for it that adds in f32, is repeatable and within the workspace limit";
}

void cudnn_conv2d(const Conv2dProblem& p) {
  const Prepared q = prepare(p);
  const int device = q.key.device;
  const std::int64_t taps = p.kh() * p.kw(), ci = p.ci() / p.params.groups, co = p.co();

  ConvMemory memory{p.x.data, nullptr, p.y.data, p.bias ? p.bias->data : nullptr};
  void* image = p.out.data;  // where backward_data writes
  std::optional<Scratch> padded, gradient;
  if (q.padded()) {
    padded.emplace(bytes(q.image(), p.out.dtype), device);
    image = padded->data();
    memory.x = image;
    if (p.direction != Direction::backward_data) pad_image(p.x, image, q.around);
  }
  std::shared_ptr<const Scratch> weights;  // kept until the work is queued
  if (p.direction == Direction::backward_weights) {
    gradient.emplace(bytes(p.w.numel(), p.out.dtype), device);
    memory.w = gradient->data();
  } else {
    weights = ohwi_weights(p.w, taps, ci, co);
    memory.w = weights->data();
  }
  if (p.direction == Direction::forward) memory.y = p.out.data;
  if (p.direction == Direction::backward_data) memory.x = image;

  std::shared_ptr<const ConvPlan> plan;
  bool whole = false;  // bias and activation are part of the plan
  if (const std::optional<ConvKey> key = fused(q.key, p)) whole = (plan = plan_for(*key, memory)) != nullptr;
  if (!plan) plan = plan_for(q.key, memory);
  if (!plan) throw Error(ErrorKind::device, "conv2d", "cuDNN has no plan for what it accepted: " + p.to_string());
  {
    const Scratch workspace(plan->workspace(), device);
    const Cudnn cudnn(device);
    plan->run(cudnn, memory, workspace.data());
  }

  switch (p.direction) {
    case Direction::forward:
      if (!whole && (p.bias || p.activation.kind != Activation::none)) bias_activation(p.bias, p.activation, p.out, co);
      break;
    case Direction::backward_data:
      if (q.padded()) crop_image(image, p.out, q.around);
      break;
    case Direction::backward_weights:
      weights_to_hwio(gradient->data(), p.out, taps, ci, co);
      if (p.dbias) column_sums(p.y, p.n() * p.ho() * p.wo(), co, *p.dbias);
      break;
  }
}

}  // namespace fovea::kernels::cuda
