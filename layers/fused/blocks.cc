// Blocks of a training pass whose inner values are not kept: forward runs them without a tape and keeps what goes in
// and out, backward runs them again on a tape of its own (Chen et al. 2016, "Training deep nets with sublinear memory
// cost"). The nodes, their kernels and their random streams are the same both times, so gradients are, to the bit;
// running statistics move the first time only.
#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "layers/fused/pass_internal.h"

namespace fovea {
namespace {

/// "a.b.c" at depth 1: "a.b"; the whole where it is not so deep.
std::string_view prefix(std::string_view scope, int depth) {
  std::size_t at = 0;
  for (int i = 0; i <= depth; ++i) {
    at = scope.find('.', at);
    if (at == scope.npos) return scope;
    ++at;
  }
  return scope.substr(0, at - 1);
}

using Forms = std::array<Tensor*, 6>;
Forms forms(FusedPass::Value& v) { return {&v.plain, &v.stored, &v.lazy.y, &v.lazy.mean, &v.lazy.scale, &v.lazy.beta}; }

bool defined(const FusedPass::Value& v) { return v.plain.defined() || v.stored.defined() || v.lazy.lazy(); }

}  // namespace

std::vector<NodeRange> blocks_of(const OpList& list) {
  struct Run {
    NodeRange nodes;
    int depth;
  };
  const auto scope = [&](std::size_t n) { return std::string_view(list.nodes[n].scope); };
  std::vector<NodeRange> blocks;
  std::vector<Run> open = {{{0, list.nodes.size()}, -1}};  // the next one last
  while (!open.empty()) {
    const Run run = open.back();
    open.pop_back();
    // The whole, or more than a third of it below one module, is no block: its parts are.
    const bool large = run.depth < 0 || 3 * (run.nodes.end - run.nodes.begin) > list.nodes.size();
    std::vector<Run> parts;
    for (std::size_t n = run.nodes.begin; large && n < run.nodes.end;) {
      const std::string_view name = prefix(scope(n), run.depth + 1);
      std::size_t end = n + 1;
      while (end < run.nodes.end && prefix(scope(end), run.depth + 1) == name) ++end;
      parts.push_back({{n, end}, run.depth + 1});
      n = end;
    }
    const bool deeper = run.depth < 0 || parts.size() > 1 ||
                        (parts.size() == 1 &&
                         prefix(scope(run.nodes.begin), run.depth + 1) != prefix(scope(run.nodes.begin), run.depth));
    if (large && deeper) {
      open.insert(open.end(), parts.rbegin(), parts.rend());
      continue;
    }
    const auto convolutions =
        std::count_if(list.nodes.begin() + static_cast<std::ptrdiff_t>(run.nodes.begin),
                      list.nodes.begin() + static_cast<std::ptrdiff_t>(run.nodes.end),
                      [](const OpList::Node& node) { return node.op->type() == "conv2d" && !node.scope.empty(); });
    if (convolutions >= 2) blocks.push_back(run.nodes);
  }
  return blocks;
}

/// What is needed to run a block again.
struct FusedPass::Block {
  /// A value that goes in or out, and which of its tensors there are.
  struct Port {
    int value = -1;
    std::array<bool, 6> there{};
    ActivationParams activation;

    Port(int v, const Value& from, std::vector<Tensor>& tensors) : value(v), activation(from.lazy.activation) {
      Value copy = from;
      const Forms all = forms(copy);
      for (std::size_t i = 0; i < all.size(); ++i) {
        there[i] = all[i]->defined();
        if (there[i]) tensors.push_back(*all[i]);
      }
    }
    Value make(std::vector<Tensor>::const_iterator& tensors) const {
      Value made;
      made.lazy.activation = activation;
      const Forms all = forms(made);
      for (std::size_t i = 0; i < all.size(); ++i) {
        if (there[i]) *all[i] = *tensors++;
      }
      return made;
    }
  };

  std::shared_ptr<const OpList> list;
  DType dtype;
  How how;
  NodeRange nodes;
  std::vector<char> done;  // before it
  std::uint64_t first_stream;
  TrainingMode::Options mode;
  std::vector<Port> in, out;
};

/// A block as one op. No file holds it and no listing shows it.
class BlockOp final : public Op {
 public:
  BlockOp(FusedPass::Block block, std::vector<Tensor> results)
      : block_(std::move(block)), results_(std::move(results)) {}

  std::string_view type() const override { return "block"; }
  Attributes attributes() const override { return {}; }

  std::vector<TensorSpec> infer(std::span<const TensorSpec>) const override {
    std::vector<TensorSpec> specs;
    for (const Tensor& t : results_) specs.push_back(t.spec());
    return specs;
  }

  /// The block has run already: only that told what comes out of it.
  void forward(ForwardContext& context) const override {
    std::move(results_.begin(), results_.end(), context.out.begin());
  }

  void backward(BackwardContext& context) const override {
    const detail::RecordAgain recording;
    TrainingMode::Options mode = block_.mode;
    mode.update_statistics = false;
    const TrainingMode training(mode);
    Tape tape;
    std::vector<Tensor> leaves;
    for (std::size_t i = 0; i < context.in.size(); ++i) {
      leaves.push_back(context.in[i].view_as(context.in[i].shape()));
      leaves.back().set_requires_grad(context.needs[i]);
    }
    // Gradients are handed on, so that whoever holds the last reference may write over them.
    std::vector<Tensor> seeds(std::make_move_iterator(context.grad_out.begin()),
                              std::make_move_iterator(context.grad_out.end()));
    tape.backward(again(leaves), std::move(seeds));
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (context.needs[i]) context.grad_in[i] = leaves[i].grad();
    }
  }

 private:
  std::vector<Tensor> again(const std::vector<Tensor>& in) const {
    FusedPass pass(block_.list, block_.dtype, block_.how);
    pass.done_ = block_.done;
    pass.first_stream_ = block_.first_stream;
    auto next = in.cbegin();
    for (const FusedPass::Block::Port& port : block_.in) pass.values_[FusedPass::index(port.value)] = port.make(next);
    pass.run_nodes(block_.nodes);
    std::vector<Tensor> out;
    for (const FusedPass::Block::Port& port : block_.out)
      FusedPass::Block::Port(port.value, pass.values_[FusedPass::index(port.value)], out);
    return out;
  }

  FusedPass::Block block_;
  mutable std::vector<Tensor> results_;
};

std::vector<int> FusedPass::entering(NodeRange range, const std::vector<char>& done_before) const {
  std::vector<int> out;
  for (std::size_t n = 0; n < list().nodes.size(); ++n) {
    const bool taken_along = (n < range.begin || n >= range.end) && done_[n] && !done_before[n];
    if (done_before[n] || !(taken_along || (n >= range.begin && n < range.end))) continue;
    out.insert(out.end(), list().nodes[n].inputs.begin(), list().nodes[n].inputs.end());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void FusedPass::run_block(NodeRange range) {
  Block block{list_, dtype_, how_, range, done_, first_stream_, detail::training_options(), {}, {}};
  std::vector<Value> before = values_;
  {
    const NoGrad off;
    run_nodes(range);
  }
  std::vector<Tensor> in, out;
  for (const int v : entering(range, block.done)) {
    if (v < 0 || !defined(before[index(v)])) continue;  // made inside
    // Buffers and frozen parameters are no operands: the list holds them.
    const bool constant =
        list().values[index(v)].kind == OpList::ValueKind::parameter && !before[index(v)].plain.requires_grad();
    if (!constant) block.in.emplace_back(v, before[index(v)], in);
  }
  for (std::size_t v = 0; v < values_.size(); ++v) {
    if (!defined(values_[v])) continue;
    if (defined(before[v])) {
      values_[v] = std::move(before[v]);  // without other forms of it, which were made off the tape
    } else {
      block.out.emplace_back(static_cast<int>(v), std::exchange(values_[v], {}), out);
    }
  }
  before.clear();
  const std::vector<Block::Port> leaving = block.out;
  const std::vector<Tensor> made = run_op(std::make_shared<BlockOp>(std::move(block), std::move(out)), in);
  auto next = made.cbegin();
  for (const Block::Port& port : leaving) values_[index(port.value)] = port.make(next);
}

}  // namespace fovea
