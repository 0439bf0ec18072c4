#include "layers/fused/fused_pass.h"

#include <algorithm>
#include <cstdio>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "kernels/attributes.h"
#include "kernels/conv_norm.h"
#include "kernels/registry.h"
#include "layers/fused/pass_internal.h"
#include "layers/ops/conv_norm.h"
#include "layers/ops/conv_norm_internal.h"

namespace fovea {
namespace {

thread_local bool fusion_off = false;

using Node = OpList::Node;

}  // namespace

FusedPass::FusedPass(std::shared_ptr<const OpList> shared, DType dtype, How how)
    : list_(std::move(shared)), dtype_(dtype), how_(how) {
  const OpList& list = *list_;
  values_.resize(list.values.size());
  uses_.resize(list.values.size());
  for (std::size_t n = 0; n < list.nodes.size(); ++n) {
    for (const int v : list.nodes[n].inputs) {
      if (v >= 0) uses_[index(v)].push_back(static_cast<int>(n));
    }
  }
  // A result is used by nobody in the list, and after all others.
  for (const int v : list.outputs) uses_[index(v)].push_back(static_cast<int>(list.nodes.size()));
  for (std::size_t v = 0; v < values_.size(); ++v) {
    if (list.values[v].kind == OpList::ValueKind::parameter) values_[v].plain = list.values[v].tensor;
  }
}

std::vector<Tensor> FusedPass::run(std::span<const Tensor> in, std::span<const NodeRange> blocks) {
  for (std::size_t i = 0; i < in.size(); ++i) values_[index(list().inputs[i])].plain = in[i];
  done_.assign(list().nodes.size(), 0);
  first_stream_ = detail::random_stream();
  std::size_t next = 0;
  for (const NodeRange& block : blocks) {
    run_nodes({next, block.begin});
    run_block(block);
    next = block.end;
  }
  run_nodes({next, list().nodes.size()});
  std::vector<Tensor> out;
  for (const int v : list().outputs) out.push_back(plain(v, DType::f32));
  detail::use_random_stream(first_stream_ + list().nodes.size());
  return out;
}

void FusedPass::run_nodes(NodeRange range) {
  for (std::size_t n = range.begin; n < range.end; ++n) {
    const Node& node = list().nodes[n];
    if (!done_[n]) {
      done_[n] = 1;
      const NameScope scope(node.scope);
      const bool done = how_ == How::fused ? conv_norm_at(n) || residual_at(n) : how_ == How::half ? half_at(n) : false;
      if (!done) as_it_is(n);
    }
    for (const int v : node.inputs) {
      if (v >= 0 && uses_[index(v)].back() <= static_cast<int>(n)) values_[index(v)] = {};
    }
  }
}

/// The only node that uses value v, if it is of this type and v is its first operand.
const Node* FusedPass::only_user(int v, std::string_view type) const {
  const std::vector<int>& uses = uses_[index(v)];
  if (uses.size() != 1 || index(uses[0]) >= list().nodes.size()) return nullptr;
  const Node& user = list().nodes[index(uses[0])];
  return user.op->type() == type && user.inputs[0] == v && user.outputs.size() == 1 ? &user : nullptr;
}

const Tensor& FusedPass::parameter(int v) const {
  static const Tensor none;
  return v < 0 ? none : values_[index(v)].plain;
}

const Tensor& FusedPass::plain(int v, DType dtype) {
  static const Tensor none;
  if (v < 0) return none;
  Value& value = values_[index(v)];
  Tensor& wanted = dtype == DType::f32 ? value.plain : value.stored;
  if (wanted.defined()) return wanted;
  if (value.lazy.lazy()) return wanted = normalize(value.lazy, {}, dtype);
  return wanted = cast(dtype == DType::f32 ? value.stored : value.plain, dtype);
}

/// An operand as a convolution reads it.
Unnormalized FusedPass::readable(int v) {
  Value& value = values_[index(v)];
  if (value.lazy.lazy()) return value.lazy;
  // The network's input stays what it is: nobody asks for its gradient, usually.
  const bool input = list().values[index(v)].kind == OpList::ValueKind::input;
  return {plain(v, input ? DType::f32 : dtype_), {}, {}, {}, kNoActivation};
}

/// An activation that alone uses v and that the next layer can do: its node, and in `kind` which.
const Node* FusedPass::activation_behind(int v, bool with_residual, ActivationParams& kind) const {
  for (const Activation a : {Activation::relu, Activation::relu6, Activation::hard_swish, Activation::silu}) {
    if (with_residual && a != Activation::relu && a != Activation::relu6) continue;
    if (const Node* node = only_user(v, kernels::to_string(a))) {
      kind = {a};
      return node;
    }
  }
  return nullptr;
}

bool FusedPass::conv_norm_at(std::size_t n) {
  const Node& conv = list().nodes[n];
  if (conv.op->type() != "conv2d") return false;
  const int bias = conv.inputs.size() > 2 ? conv.inputs[2] : -1;
  const Attributes conv_attributes = conv.op->attributes();
  if (kernels::get_activation(conv_attributes).kind != Activation::none) return false;
  const Node* const norm = only_user(conv.outputs[0], "batch_norm");
  if (!norm) return false;
  ConvNormOptions options;
  options.conv = ops::get_conv2d(conv_attributes);
  options.norm = ops::get_batch_norm(norm->op->attributes());
  options.dtype = dtype_;
  if (!kernels::conv_norm_takes(options.norm.activation.kind)) return false;
  // Other convolutions would normalise a copy of their input for every use; the network's own input needs none.
  if (list().values[index(conv.inputs[0])].kind != OpList::ValueKind::input &&
      !kernels::conv_norm_reads_normalized(options.conv, list().values[index(conv.inputs[0])].spec.shape,
                                           list().values[index(conv.inputs[1])].spec.shape)) {
    return false;
  }
  for (const int v : norm->inputs) {
    if (v >= 0 && v != conv.outputs[0] && list().values[index(v)].kind != OpList::ValueKind::parameter) return false;
  }
  for (const int v : {conv.inputs[1], bias}) {
    if (v >= 0 && list().values[index(v)].kind != OpList::ValueKind::parameter) return false;
  }
  int result = norm->outputs[0];
  mark(*norm);
  if (options.norm.activation.kind == Activation::none) {
    if (const Node* act = activation_behind(result, false, options.norm.activation)) {
      mark(*act);
      result = act->outputs[0];
    }
  }
  const auto& p = norm->inputs;
  values_[index(result)].lazy = conv_norm(readable(conv.inputs[0]), parameter(conv.inputs[1]), parameter(bias),
                                          parameter(p[1]), parameter(p[2]), parameter(p[3]), parameter(p[4]), options);
  ++fused_;
  return true;
}

/// add(lazy, other): one pass instead of a normalised copy and the sum.
bool FusedPass::residual_at(std::size_t n) {
  const Node& add = list().nodes[n];
  if (add.op->type() != "add") return false;
  const int a = add.inputs[0], b = add.inputs[1];
  if (list().values[index(a)].spec.shape != list().values[index(b)].spec.shape || a == b) return false;
  const auto takes = [&](int v) {
    const Value& value = values_[index(v)];
    return value.lazy.lazy() && value.lazy.activation.kind == Activation::none && !value.plain.defined() &&
           uses_[index(v)].size() == 1;
  };
  if (!takes(a) && !takes(b)) return false;
  const int lazy = takes(b) ? b : a, other = lazy == a ? b : a;
  Unnormalized sum = values_[index(lazy)].lazy;
  const Tensor residual = plain(other, dtype_);
  int result = add.outputs[0];
  if (const Node* act = activation_behind(result, true, sum.activation)) {
    mark(*act);
    result = act->outputs[0];
  }
  Value& value = values_[index(result)];
  (dtype_ == DType::f32 ? value.plain : value.stored) = normalize(sum, residual, dtype_);
  ++fused_;
  return true;
}

void FusedPass::as_it_is(std::size_t n) {
  std::vector<Tensor> in;
  for (const int v : list().nodes[n].inputs) in.push_back(plain(v, DType::f32));
  run_node(n, in);
}

void FusedPass::run_node(std::size_t n, std::span<const Tensor> in) {
  const Node& node = list().nodes[n];
  // Each op draws from the stream of its place in the unfused pass.
  detail::use_random_stream(first_stream_ + n);
  std::vector<Tensor> out = run_op(node.op, in);
  for (std::size_t i = 0; i < out.size(); ++i) {
    Value& value = values_[index(node.outputs[i])];
    (is_half(out[i].dtype()) ? value.stored : value.plain) = std::move(out[i]);
  }
}

namespace {

void report(const OpList& list, int fused, std::size_t blocks, const Shape& shape) {
  thread_local std::vector<std::pair<Shape, std::size_t>> reported;
  const std::pair<Shape, std::size_t> key{shape, list.nodes.size()};
  if (std::find(reported.begin(), reported.end(), key) != reported.end()) return;
  reported.push_back(key);
  std::fprintf(stderr, "fovea: training pass of %s: %zu ops, %d fused steps, %zu blocks computed again in backward\n",
               shape.to_string().c_str(), list.nodes.size(), fused, blocks);
}

}  // namespace

NoFusion::NoFusion() : outer_(fusion_off) { fusion_off = true; }
NoFusion::~NoFusion() { fusion_off = outer_; }

DType fused_precision(Device device) {
  const DType wanted = training_precision();
  if (device.type == DeviceType::cuda) return wanted;
  return wanted == DType::bf16 && kernels::conv_norm_takes_bf16() ? DType::bf16 : DType::f32;
}

bool fuses_training(const Tensor& x) {
  return !fusion_off && !is_per_example() && is_training() && is_recording() && !detail::is_capturing() &&
         x.defined() && x.device() == kCpu && x.dtype() == DType::f32 && kernels::detail::allowed("fused");
}

bool rewrites_training(const Tensor& x) {
  if (fuses_training(x) || halves_training(x)) return true;
  return detail::training_options().checkpoint_blocks && !is_per_example() && is_training() && is_recording() &&
         !detail::is_capturing() && x.defined();
}

Tensor fused_forward(const std::function<Tensor(const Tensor&)>& forward, const Tensor& x) {
  if (!rewrites_training(x)) return forward(x);
  auto list = std::make_shared<OpList>();
  const std::uint64_t base = detail::random_stream();
  try {
    const Tensor blank(x.shape(), x.dtype(), kMeta);
    Capture capture;
    capture.input(blank);
    const Tensor y = forward(blank);
    *list = capture.finish({&y, 1});
  } catch (const Error&) {
    detail::use_random_stream(base);
    return forward(x);
  }
  detail::use_random_stream(base);
  const auto how = halves_training(x)  ? FusedPass::How::half
                   : fuses_training(x) ? FusedPass::How::fused
                                       : FusedPass::How::op_by_op;
  FusedPass pass(list, fused_precision(x.device()), how);
  std::vector<NodeRange> blocks;
  if (detail::training_options().checkpoint_blocks) blocks = blocks_of(*list);
  Tensor y = std::move(pass.run({&x, 1}, blocks).front());
  if (kernels::detail::verbose()) report(*list, pass.fused(), blocks.size(), x.shape());
  return y;
}

}  // namespace fovea
