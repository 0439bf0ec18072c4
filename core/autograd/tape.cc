#include "core/autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "core/autograd/modes.h"
#include "core/graph/host_fallback.h"
#include "core/graph/op_list.h"

namespace fovea {

// ----------------------------------------------------------------------------------------------------------------
// modes

namespace {
thread_local TrainingMode* current_training = nullptr;
thread_local bool grad_disabled = false;
thread_local bool per_example = false;
thread_local Tape* current_tape = nullptr;
}  // namespace

TrainingMode::TrainingMode(const Options& options) : options_(options), outer_(current_training) {
  current_training = this;
}
TrainingMode::~TrainingMode() { current_training = outer_; }
InferenceMode::InferenceMode() : outer_(current_training) { current_training = nullptr; }
InferenceMode::~InferenceMode() { current_training = outer_; }
NoGrad::NoGrad() : outer_(grad_disabled) { grad_disabled = true; }
NoGrad::~NoGrad() { grad_disabled = outer_; }
detail::RecordAgain::RecordAgain() : outer_(grad_disabled) { grad_disabled = false; }
detail::RecordAgain::~RecordAgain() { grad_disabled = outer_; }
PerExampleMode::PerExampleMode() : outer_(per_example) { per_example = true; }
PerExampleMode::~PerExampleMode() { per_example = outer_; }
bool is_per_example() { return per_example; }
bool is_training() { return current_training != nullptr; }
bool is_recording() { return current_tape != nullptr && !grad_disabled; }

struct ModeAccess {
  static std::uint64_t stream() { return current_training ? current_training->next_stream_ : 0; }
  static TrainingMode::Options options() {
    return current_training ? current_training->options_ : TrainingMode::Options{};
  }
  static void use_stream(std::uint64_t number) {
    if (current_training) current_training->next_stream_ = number;
  }
  static void fill(ForwardContext& context) {
    TrainingMode* mode = current_training;
    if (!mode) return;
    context.training = true;
    context.update_statistics = mode->options_.update_statistics;
    context.batch_ranks = mode->options_.batch_ranks;
    context.first_example = mode->options_.first_example;
    // 2^32 positions per pass.
    context.rng = Rng(mode->options_.seed, "op", (mode->options_.step << 32) + mode->next_stream_++);
  }
};

DType training_precision() { return ModeAccess::options().precision; }
TrainingMode::Options detail::training_options() { return ModeAccess::options(); }
std::uint64_t detail::random_stream() { return ModeAccess::stream(); }
void detail::use_random_stream(std::uint64_t number) { ModeAccess::use_stream(number); }

// -----------------------------------------------------------------------------------------------------------------
// tape

struct Tape::State {
  struct Node {
    OpPtr op;
    std::vector<Tensor> in, out;  // as kept
    std::vector<TensorSpec> in_spec, out_spec;
    std::vector<std::uint64_t> versions;          // of kept operands and results, in that order
    std::vector<std::int32_t> in_slot, out_slot;  // -1: no gradient wanted
    std::vector<Tensor> saved;
    Device device;
    bool training = false;
    Communicator* batch_ranks = nullptr;
  };
  std::uint64_t serial = 0;
  std::vector<Node> nodes;
  std::int32_t slots = 0;
  std::unordered_map<const void*, std::int32_t> leaf_slots;
  std::vector<std::pair<Tensor, std::int32_t>> leaves;
  Tape* outer = nullptr;
};

struct TapeAccess {
  /// The slot whose gradient `tensor` collects, or -1.
  static std::int32_t slot_of(Tape& tape, const Tensor& tensor) {
    if (!tensor.defined()) return -1;
    Tape::State& state = *tape.state_;
    const auto& impl = *tensor.impl_;
    if (impl.tape == state.serial) return impl.slot;
    if (!impl.requires_grad) return -1;
    const auto [found, added] = state.leaf_slots.try_emplace(tensor.identity(), state.slots);
    if (added) {
      state.leaves.emplace_back(tensor, state.slots);
      ++state.slots;
    }
    return found->second;
  }

  static bool wants(const Tape& tape, const Tensor& tensor) {
    return tensor.defined() && (tensor.impl_->tape == tape.state_->serial || tensor.impl_->requires_grad);
  }

  static void record(Tape& tape, const OpPtr& op, std::span<const Tensor> in, std::span<Tensor> out,
                     std::vector<TensorSpec> in_spec, std::vector<TensorSpec> out_spec, ForwardContext& context) {
    Tape::State& state = *tape.state_;
    Tape::State::Node node;
    node.op = op;
    node.saved = std::move(context.saved);
    node.training = context.training;
    node.batch_ranks = context.batch_ranks;
    node.device = out.empty() ? kCpu : out[0].device();
    node.in_spec = std::move(in_spec);
    node.out_spec = std::move(out_spec);
    const Keep keep = op->keep();
    for (std::size_t i = 0; i < in.size(); ++i) {
      node.in_slot.push_back(slot_of(tape, in[i]));
      const bool kept = in[i].defined() && (i >= 32 || (keep.inputs >> i & 1u));
      node.in.push_back(kept ? in[i] : Tensor());
      node.versions.push_back(kept ? in[i].version() : 0);
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      Tensor& result = out[i];
      const bool kept = i < 32 && (keep.outputs >> i & 1u);
      if (kept) {
        // The tape must not own the tensor object itself: its use count decides whether memory may be reused.
        node.out.push_back(result.view_as(result.shape()));
      } else {
        node.out.emplace_back();
      }
      node.versions.push_back(kept ? result.version() : 0);
      if (is_floating(result.dtype())) {
        result.impl_->tape = state.serial;
        result.impl_->slot = state.slots;
        node.out_slot.push_back(state.slots++);
      } else {
        node.out_slot.push_back(-1);
      }
    }
    state.nodes.push_back(std::move(node));
  }

  static std::uint64_t serial(const Tape& tape) { return tape.state_->serial; }
  static bool recorded(const Tape& tape, const Tensor& t) { return t.impl_ && t.impl_->tape == tape.state_->serial; }
};

Tape::Tape() : state_(std::make_unique<State>()) {
  static std::atomic<std::uint64_t> next{1};
  state_->serial = next.fetch_add(1, std::memory_order_relaxed);
  state_->outer = current_tape;
  current_tape = this;
}

Tape::~Tape() {
  if (current_tape == this) current_tape = state_->outer;
}

std::size_t Tape::size() const { return state_->nodes.size(); }

void Tape::clear() {
  State& s = *state_;
  s.nodes.clear();
  s.leaf_slots.clear();
  s.leaves.clear();
  s.slots = 0;
  // Tensors of the past carry the old serial and count as constants from here on.
  static std::atomic<std::uint64_t> next{std::uint64_t{1} << 63};
  s.serial = next.fetch_add(1, std::memory_order_relaxed);
}

namespace {

void add_gradient(Tensor& sum, Tensor term) {
  if (!sum.defined()) {
    sum = std::move(term);
    return;
  }
  if (!sum.unique()) sum = sum.clone();
  sum.accumulate(term);
}

void check_version(const Op& op, const Tensor& kept, std::uint64_t version, const char* role, std::size_t i) {
  if (kept.defined() && kept.version() != version) {
    throw Error(
        ErrorKind::usage, "backward",
        str(role, " ", i, " of '", op.type(), "' (", kept.to_string(), ") was overwritten after the forward pass"),
        "run backward before changing tensors in place");
  }
}

/// Adds a pass's gradient to the leaf's own.
void give_to_leaf(Tensor& leaf, Tensor& grad) {
  if (!grad.defined()) return;
  Tensor sum = leaf.grad();
  if (!sum.defined()) {
    leaf.set_grad(grad.unique() ? std::move(grad) : grad.clone());
  } else {
    sum.accumulate(grad);
  }
  grad = Tensor();
}

}  // namespace

LeafSink::~LeafSink() = default;
GradientListener::~GradientListener() = default;

void Tape::backward(const Tensor& loss, const Tensor& seed) { backward(loss, seed, nullptr, nullptr); }
void Tape::backward(const Tensor& loss, const Tensor& seed, LeafSink& sink) { backward(loss, seed, &sink, nullptr); }
void Tape::backward(const Tensor& loss, const Tensor& seed, GradientListener& listener) {
  backward(loss, seed, nullptr, &listener);
}

void Tape::backward(const Tensor& loss, const Tensor& seed, LeafSink* sink, GradientListener* listener) {
  if (!loss.defined() || !TapeAccess::recorded(*this, loss)) {
    throw Error(ErrorKind::usage, "backward",
                "the loss does not depend on any tensor that requires a gradient on this tape",
                "build the Tape before the forward pass and check that not everything is frozen");
  }
  if (!seed.defined() && loss.numel() != 1) {
    throw Error(ErrorKind::shape, "backward", str("the loss has shape ", loss.shape(), ", expected one element"),
                "reduce it with mean() or pass a seed gradient");
  }
  std::vector<Tensor> results(1, loss), seeds(1, seed);
  if (!seed.defined()) seeds[0] = Tensor::ones(loss.shape(), loss.dtype(), loss.device());
  walk(std::move(results), std::move(seeds), sink, listener);
}

void Tape::backward(std::vector<Tensor> results, std::vector<Tensor> seeds) {
  if (results.size() != seeds.size())
    throw Error(ErrorKind::usage, "backward", str(seeds.size(), " seeds for ", results.size(), " results"));
  walk(std::move(results), std::move(seeds), nullptr, nullptr);
}

void Tape::walk(std::vector<Tensor> results, std::vector<Tensor> seeds, LeafSink* sink, GradientListener* listener) {
  State& s = *state_;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Tensor &result = results[i], &seed = seeds[i];
    if (seed.defined() && (seed.shape() != result.shape() || seed.dtype() != result.dtype())) {
      throw Error(ErrorKind::shape, "backward",
                  str("seed ", seed.to_string(), " does not fit the loss ", result.to_string()));
    }
  }
  const bool outer_disabled = grad_disabled;
  grad_disabled = true;  // gradients of gradients are not recorded
  struct Restore {
    Tape& tape;
    bool outer;
    ~Restore() {
      grad_disabled = outer;
      tape.clear();
    }
  } restore{*this, outer_disabled};

  std::vector<Tensor> grads(static_cast<std::size_t>(s.slots));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!seeds[i].defined() || !TapeAccess::recorded(*this, results[i])) continue;
    const std::int32_t slot = TapeAccess::slot_of(*this, results[i]);
    add_gradient(grads[static_cast<std::size_t>(slot)], std::move(seeds[i]));
  }
  results.clear();

  std::vector<Tensor> leaf_of(sink ? grads.size() : 0), leaves;  // by slot, by operand
  if (sink) {
    for (const auto& [leaf, slot] : s.leaves) leaf_of[static_cast<std::size_t>(slot)] = leaf;
  }
  // A leaf is complete behind the first op that read it: by op, which leaves.
  std::vector<std::vector<std::size_t>> complete(listener ? s.nodes.size() : 0);
  if (listener) {
    std::vector<std::int32_t> leaf_at(grads.size(), -1);
    for (std::size_t l = 0; l < s.leaves.size(); ++l)
      leaf_at[static_cast<std::size_t>(s.leaves[l].second)] = static_cast<std::int32_t>(l);
    for (std::size_t n = 0; n < s.nodes.size(); ++n) {
      for (const std::int32_t slot : s.nodes[n].in_slot) {
        if (slot < 0 || leaf_at[static_cast<std::size_t>(slot)] < 0) continue;
        std::int32_t& leaf = leaf_at[static_cast<std::size_t>(slot)];
        complete[n].push_back(static_cast<std::size_t>(leaf));
        leaf = -1;
      }
    }
  }
  const auto tell = [&] {  // of the op that was taken last
    if (!listener) return;
    for (const std::size_t l : complete[s.nodes.size()]) {
      auto& [leaf, slot] = s.leaves[l];
      give_to_leaf(leaf, grads[static_cast<std::size_t>(slot)]);
      listener->complete(leaf);
    }
  };
  std::vector<Tensor> grad_out, grad_in;
  std::vector<char> needs;
  while (!s.nodes.empty()) {
    State::Node node = std::move(s.nodes.back());
    s.nodes.pop_back();  // what the node kept is freed at the end of this round
    grad_out.clear();
    bool any = false;
    for (const std::int32_t slot : node.out_slot) {
      grad_out.push_back(slot < 0 ? Tensor() : std::move(grads[static_cast<std::size_t>(slot)]));
      any |= grad_out.back().defined();
    }
    if (!any) {
      tell();
      continue;
    }
    for (std::size_t i = 0; i < node.in.size(); ++i)
      check_version(*node.op, node.in[i], node.versions[i], "operand", i);
    for (std::size_t i = 0; i < node.out.size(); ++i) {
      check_version(*node.op, node.out[i], node.versions[node.in.size() + i], "result", i);
    }
    needs.assign(node.in.size(), 0);
    for (std::size_t i = 0; i < node.in.size(); ++i) needs[i] = node.in_slot[i] >= 0;
    static_assert(sizeof(bool) == 1);
    grad_in.assign(node.in.size(), Tensor());
    BackwardContext context;
    context.in = node.in;
    context.out = node.out;
    context.in_spec = node.in_spec;
    context.out_spec = node.out_spec;
    context.grad_out = grad_out;
    context.needs = {reinterpret_cast<const bool*>(needs.data()), needs.size()};
    context.grad_in = grad_in;
    context.saved = node.saved;
    context.training = node.training;
    context.batch_ranks = node.batch_ranks;
    context.device = node.device;
    if (sink) {
      leaves.assign(node.in.size(), Tensor());
      for (std::size_t i = 0; i < node.in.size(); ++i) {
        if (needs[i]) leaves[i] = leaf_of[static_cast<std::size_t>(node.in_slot[i])];
      }
      sink->node(*node.op, context, leaves);
      grad_in.assign(node.in.size(), Tensor());
      for (std::size_t i = 0; i < node.in.size(); ++i) needs[i] = needs[i] && !leaves[i].defined();
      if (std::find(needs.begin(), needs.end(), 1) == needs.end()) continue;
    }
    detail::backward_anywhere(*node.op, context);
    grad_out.clear();
    for (std::size_t i = 0; i < grad_in.size(); ++i) {
      if (!needs[i] || !grad_in[i].defined()) continue;
      if (grad_in[i].shape() != node.in_spec[i].shape || grad_in[i].dtype() != node.in_spec[i].dtype) {
        throw Error(ErrorKind::shape, "backward",
                    str("gradient ", i, " of '", node.op->type(), "' is ", grad_in[i].to_string(), ", operand is ",
                        node.in_spec[i].shape));
      }
      add_gradient(grads[static_cast<std::size_t>(node.in_slot[i])], std::move(grad_in[i]));
    }
    tell();
  }
  for (auto& [leaf, slot] : s.leaves) give_to_leaf(leaf, grads[static_cast<std::size_t>(slot)]);
}

// ----------------------------------------------------------------------------------------------------------------
// apply

std::vector<Tensor> run_op(const OpPtr& op, std::span<const Tensor> in) {
  std::vector<TensorSpec> in_spec;
  in_spec.reserve(in.size());
  const Tensor* first = nullptr;
  bool meta = false;
  for (const Tensor& t : in) {
    in_spec.push_back(t.spec());
    if (!t.defined()) continue;
    if (t.is_meta()) {
      meta = true;
    } else if (!first) {
      first = &t;
    } else if (first->device() != t.device()) {
      throw Error(ErrorKind::device, op->type(), str("operands are on ", first->device(), " and on ", t.device()),
                  "copy one of them with tensor.to(device)");
    }
  }
  std::vector<TensorSpec> out_spec = op->infer(in_spec);
  std::vector<Tensor> out(out_spec.size());
  ForwardContext context;
  context.in = in;
  context.out_spec = out_spec;
  context.out = out;
  ModeAccess::fill(context);
  if (meta) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = Tensor(out_spec[i], kMeta);
  } else {
    if (is_recording()) {
      for (const Tensor& t : in) context.recording |= TapeAccess::wants(*current_tape, t);
    }
    detail::forward_anywhere(*op, context);
    // A result that is an operand itself (dropout at rate 0) gets an identity of its own.
    for (Tensor& result : out) {
      for (const Tensor& t : in) {
        if (t.defined() && result.is(t)) {
          result = result.view_as(result.shape());
          break;
        }
      }
    }
    if (context.recording) {
      TapeAccess::record(*current_tape, op, in, out, std::move(in_spec), std::move(out_spec), context);
    }
  }
  detail::capture_op(op, in, out);
  return out;
}

Tensor run_op1(const OpPtr& op, std::initializer_list<Tensor> in) {
  return std::move(run_op(op, std::span<const Tensor>(in.begin(), in.size())).front());
}

}  // namespace fovea
