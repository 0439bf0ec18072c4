// Gradients of single examples: which ops keep examples apart, and how their parameters' gradients are made.
#include "train/privacy/per_example.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "kernels/dense.h"
#include "kernels/optimizer.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

constexpr const char* kWhere = "per-example gradients";

bool one_of(std::string_view type, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), type) != list.end();
}

/// Ops whose operands after the first are parameters or statistics without a batch.
bool takes_parameters(std::string_view type) {
  return one_of(type, {"conv2d", "conv_transpose2d", "dense", "batch_norm", "layer_norm", "group_norm"});
}

/// Why examples may depend on each other in this op; empty where they cannot.
std::string mixes(const Op& op, bool training) {
  const std::string_view type = op.type();
  if (type == "batch_norm") {
    if (!training || op.attributes().get_bool("frozen")) return {};
    return "normalises with the statistics of the batch, through which each picture's gradient depends on the others";
  }
  if (takes_parameters(type)) return {};
  if (one_of(type, {"max_pool2d",
                    "avg_pool2d",
                    "global_average_pool",
                    "adaptive_average_pool",
                    "relu",
                    "relu6",
                    "leaky_relu",
                    "sigmoid",
                    "silu",
                    "hard_swish",
                    "hard_sigmoid",
                    "gelu",
                    "gelu_tanh",
                    "tanh",
                    "add",
                    "subtract",
                    "multiply",
                    "affine",
                    "flatten",
                    "reshape",
                    "identity",
                    "softmax",
                    "log_softmax",
                    "dropout",
                    "resize"})) {
    return {};
  }
  if (type == "concat") return op.attributes().get_int("axis") != 0 ? "" : "joins batches";
  if (one_of(type, {"sum", "mean", "max"})) {
    const std::vector<std::int64_t> axes = op.attributes().get_ints("axes");
    return axes.empty() || std::find(axes.begin(), axes.end(), 0) != axes.end() ? "adds up over the batch" : "";
  }
  if (one_of(type, {"cross_entropy", "focal", "binary_cross_entropy", "sigmoid_focal", "mean_squared_error"}))
    return op.attributes().get_string("reduction") == "none" ? "" : "adds up the losses of the batch";
  return "is not known to keep examples apart";
}

constexpr const char* kBatchNormHint =
    "freeze the batch norms (of a network that is trained already), or use group norm: GroupNorm, --model private_cnn";

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
  throw Error(
      ErrorKind::usage, where, what,
      what.find("statistics") != std::string_view::npos ? kBatchNormHint : "leave it out, or freeze what is before");
}

Tensor rows(const Tensor& t, std::int64_t example, std::int64_t examples) {
  if (!t.defined()) return t;
  const std::int64_t each = t.dim(0) / examples;
  return t.slice(example * each, (example + 1) * each);
}

/// y[j] += Σᵢ c[i]·x[i, j].
template <class T>
void add_weighted_rows(const T* x, const std::vector<double>& c, std::int64_t columns, T* y) {
  parallel_for(columns, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < c.size(); ++i) {
      const T factor = static_cast<T>(c[i]);
      const T* row = x + static_cast<std::int64_t>(i) * columns;
      for (std::int64_t j = begin; j < end; ++j) y[j] += factor * row[j];
    }
  });
}

class Collector final : public LeafSink {
 public:
  explicit Collector(std::int64_t examples) : examples_(examples) {}

  void node(const Op& op, const BackwardContext& context, std::span<const Tensor> leaves) override {
    if (const std::string why = mixes(op, context.training); !why.empty()) refuse(op.type(), why);
    for (const TensorSpec& spec : context.out_spec) check_batch(op, spec);
    const bool parameters = takes_parameters(op.type());
    bool wanted = false;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (!context.needs[i]) continue;
      if (i == 0 || !parameters) {
        if (leaves[i].defined())
          refuse(op.type(), str("takes a parameter as its operand ", i, ", whose gradients cannot be told apart"));
        check_batch(op, context.in_spec[i]);
      } else if (leaves[i].defined()) {
        wanted = true;
      } else {
        refuse(op.type(), "takes a parameter that was computed from others, so that its examples cannot be told apart");
      }
    }
    if (!wanted) return;
    check_batch(op, context.in_spec[0]);
    if (op.type() == "dense" && context.in_spec[0].shape.rank() == 2) {
      add_dense(op, context, leaves);
    } else {
      add_each(op, context, leaves);
    }
  }

  std::vector<double> finish(double clip) {
    // A leaf that came in more than once: the sum over its places has the norm that counts.
    for (Leaf& leaf : leaves_) {
      if (leaf.dense.size() + (leaf.each.defined() ? 1 : 0) < 2) continue;
      for (const DensePlace& place : leaf.dense) spread(leaf, place);
      leaf.dense.clear();
    }
    std::vector<double> norms(static_cast<std::size_t>(examples_), 0.0);
    for (const Leaf& leaf : leaves_) add_squares(leaf, norms);
    std::vector<double> factors(norms.size());
    for (std::size_t i = 0; i < norms.size(); ++i) {
      norms[i] = std::sqrt(norms[i]);
      if (!std::isfinite(norms[i]))
        throw Error(ErrorKind::numeric, kWhere, str("the gradient of example ", i, " has norm ", norms[i]),
                    "lower the learning rate");
      factors[i] = norms[i] > clip ? clip / norms[i] : 1;
    }
    for (Leaf& leaf : leaves_) add_clipped(leaf, factors);
    return norms;
  }

 private:
  /// Where a leaf came into a dense layer: dw = xᵀ·dy, or db = Σ dy where x is undefined.
  struct DensePlace {
    Tensor x, dy;
  };
  struct Leaf {
    Tensor tensor;
    Tensor each;  // [examples, elements]; undefined if never needed
    std::vector<DensePlace> dense;
  };

  void check_batch(const Op& op, const TensorSpec& spec) const {
    if (spec.absent || spec.shape.rank() < 1 || spec.shape[0] != examples_)
      refuse(op.type(), str("works on ", spec.shape, ", which does not begin with the batch of ", examples_));
  }

  Leaf& leaf_of(const Tensor& tensor) {
    const auto [found, added] = index_.try_emplace(tensor.identity(), leaves_.size());
    if (added) leaves_.push_back({tensor, {}, {}});
    return leaves_[found->second];
  }

  void add_dense(const Op& op, const BackwardContext& context, std::span<const Tensor> leaves) {
    BackwardContext mine = context;
    const Tensor held = context.grad_out[0];  // so that it is not overwritten: the tape reads it again
    const Tensor dy = ops::FusedActivation{ops::get_activation(op.attributes())}.grad_before(mine);
    if (leaves[1].defined()) leaf_of(leaves[1]).dense.push_back({context.in[0], dy});
    if (leaves.size() > 2 && leaves[2].defined()) leaf_of(leaves[2]).dense.push_back({Tensor(), dy});
  }

  /// Calls the op's backward for one example after the other, for its parameters only.
  void add_each(const Op& op, const BackwardContext& context, std::span<const Tensor> leaves) {
    const std::size_t operands = leaves.size();
    std::vector<char> needs(operands, 0);
    std::vector<Tensor*> to(operands, nullptr);
    for (std::size_t k = 1; k < operands; ++k) {
      needs[k] = leaves[k].defined();
      if (needs[k]) leaf_of(leaves[k]);  // all first: a new leaf moves the others
    }
    for (std::size_t k = 1; k < operands; ++k) {
      if (!needs[k]) continue;
      Leaf& leaf = leaf_of(leaves[k]);
      if (!leaf.each.defined())
        leaf.each = Tensor::zeros({examples_, leaf.tensor.numel()}, leaf.tensor.dtype(), leaf.tensor.device());
      to[k] = &leaf.each;
      to[k]->mutable_view();
    }
    // Statistics of a frozen batch norm belong to no example.
    const bool shared_saved = op.type() == "batch_norm";
    parallel_for(examples_, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Tensor> in(context.in.begin(), context.in.end()), out(context.out.size()), grad_out(1),
          grad_in(operands), saved(context.saved.begin(), context.saved.end());
      std::vector<TensorSpec> in_spec(context.in_spec.begin(), context.in_spec.end());
      std::vector<TensorSpec> out_spec(context.out_spec.begin(), context.out_spec.end());
      in_spec[0].shape = in_spec[0].shape.with_dim(0, 1);
      out_spec[0].shape = out_spec[0].shape.with_dim(0, 1);
      for (std::int64_t i = begin; i < end; ++i) {
        in[0] = rows(context.in[0], i, examples_);
        for (std::size_t k = 0; k < out.size(); ++k) out[k] = rows(context.out[k], i, examples_);
        grad_out[0] = rows(context.grad_out[0], i, examples_);
        for (std::size_t k = 0; k < saved.size() && !shared_saved; ++k) saved[k] = rows(context.saved[k], i, examples_);
        BackwardContext one = context;
        one.in = in;
        one.out = out;
        one.in_spec = in_spec;
        one.out_spec = out_spec;
        one.grad_out = grad_out;
        one.needs = {reinterpret_cast<const bool*>(needs.data()), operands};
        one.grad_in = grad_in;
        one.saved = saved;
        op.backward(one);
        for (std::size_t k = 1; k < operands; ++k) {
          if (!needs[k] || !grad_in[k].defined()) continue;
          Tensor row = to[k]->slice(i, i + 1);
          row.accumulate(grad_in[k].view_as(row.shape()));
          grad_in[k] = Tensor();
        }
      }
    });
  }

  /// A dense place's gradients, example by example, added to leaf.each.
  void spread(Leaf& leaf, const DensePlace& place) {
    if (!leaf.each.defined())
      leaf.each = Tensor::zeros({examples_, leaf.tensor.numel()}, leaf.tensor.dtype(), leaf.tensor.device());
    for (std::int64_t i = 0; i < examples_; ++i) {
      const Tensor dy = place.dy.slice(i, i + 1);
      Tensor row = leaf.each.slice(i, i + 1);
      if (!place.x.defined()) {
        row.accumulate(dy);
        continue;
      }
      Tensor dw(leaf.tensor.spec(), leaf.tensor.device());
      kernels::dense_backward_weights(place.x.slice(i, i + 1).view(), dy.view(), dw.mutable_view(), std::nullopt);
      row.accumulate(dw.view_as(row.shape()));
    }
  }

  void add_squares(const Leaf& leaf, std::vector<double>& norms) const {
    parallel_for(examples_, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        double& sum = norms[static_cast<std::size_t>(i)];
        if (leaf.each.defined()) sum += kernels::sum_of_squares(leaf.each.slice(i, i + 1).view());
        for (const DensePlace& place : leaf.dense) {
          // ‖xᵀ·dy‖² of one row each is ‖x‖²·‖dy‖².
          const double dy = kernels::sum_of_squares(place.dy.slice(i, i + 1).view());
          sum += place.x.defined() ? kernels::sum_of_squares(place.x.slice(i, i + 1).view()) * dy : dy;
        }
      }
    });
  }

  void add_clipped(Leaf& leaf, const std::vector<double>& factors) const {
    Tensor grad = leaf.tensor.grad();
    if (!grad.defined()) {
      grad = Tensor::zeros(leaf.tensor.shape(), leaf.tensor.dtype(), leaf.tensor.device());
      leaf.tensor.set_grad(grad);
    }
    if (leaf.each.defined()) {
      if (grad.dtype() == DType::f64) {
        add_weighted_rows(leaf.each.data<double>(), factors, grad.numel(), grad.mutable_data<double>());
      } else {
        add_weighted_rows(leaf.each.data<float>(), factors, grad.numel(), grad.mutable_data<float>());
      }
    }
    for (const DensePlace& place : leaf.dense) {
      Tensor dy = place.dy.clone();
      for (std::int64_t i = 0; i < examples_; ++i)
        kernels::scale_in_place(factors[static_cast<std::size_t>(i)], dy.slice(i, i + 1).mutable_view());
      if (place.x.defined()) {
        Tensor dw(leaf.tensor.spec(), leaf.tensor.device());
        kernels::dense_backward_weights(place.x.view(), dy.view(), dw.mutable_view(), std::nullopt);
        grad.accumulate(dw);
      } else {
        for (std::int64_t i = 0; i < examples_; ++i) grad.accumulate(dy.slice(i, i + 1).view_as(grad.shape()));
      }
    }
  }

  std::int64_t examples_;
  std::vector<Leaf> leaves_;
  std::unordered_map<const void*, std::size_t> index_;
};

}  // namespace

std::vector<double> backward_clipped(Tape& tape, const Tensor& losses, double clip) {
  if (!(clip > 0)) throw Error(ErrorKind::usage, kWhere, str("the largest norm is ", clip), "it must be positive");
  if (!losses.defined() || losses.rank() != 1)
    throw Error(ErrorKind::shape, kWhere, "expected one loss for each example", "LossReduction::none keeps them apart");
  if (losses.dim(0) == 0) {
    tape.clear();
    return {};
  }
  Collector collector(losses.dim(0));
  tape.backward(losses, Tensor::ones(losses.shape(), losses.dtype(), losses.device()), collector);
  return collector.finish(clip);
}

void check_examples_apart(const OpList& network) {
  for (const OpList::Node& node : network.nodes) {
    if (const std::string why = mixes(*node.op, true); !why.empty())
      refuse(node.scope.empty() ? std::string(node.op->type()) : node.scope, why);
  }
}

}  // namespace fovea
