// Training passes in bf16 or f16 on a GPU. Convolutions and dense layers, where the tensor cores are, read halves of
// their operands: the network's input and f32 master weights are cast, and the casts' backward gives the weights' f32
// gradients back. What follows a half value and has kernels for it stays half; the rest (softmax, losses, layer norm,
// what looks at few numbers) gets casts around it. Statistics, norms' parameters and biases stay f32, as do the sums
// inside all kernels.
#include <algorithm>
#include <iterator>
#include <string>

#include "core/autograd/modes.h"
#include "kernels/devices.h"
#include "layers/fused/fused_pass.h"
#include "layers/fused/pass_internal.h"

namespace fovea {
namespace {

/// How many operands of an op are maps: the first ones. The others keep their type.
constexpr std::size_t kAllOperands = ~std::size_t{0};
struct HalfOp {
  std::string_view type;
  std::size_t maps;
  bool always;  ///< also where no operand is half yet: tensor cores are worth the casts
};
constexpr HalfOp kHalfOps[] = {
    {"conv2d", 2, true},
    {"dense", 2, true},
    {"matmul", 2, true},
    {"batch_norm", 1, false},
    {"add", kAllOperands, false},
    {"subtract", kAllOperands, false},
    {"multiply", kAllOperands, false},
    {"affine", 1, false},
    {"concat", kAllOperands, false},
    {"max_pool2d", 1, false},
    {"avg_pool2d", 1, false},
    {"global_average_pool", 1, false},
    {"adaptive_average_pool", 1, false},
    {"relu", 1, false},
    {"relu6", 1, false},
    {"leaky_relu", 1, false},
    {"sigmoid", 1, false},
    {"silu", 1, false},
    {"hard_swish", 1, false},
    {"hard_sigmoid", 1, false},
    {"gelu", 1, false},
    {"gelu_tanh", 1, false},
    {"tanh", 1, false},
    {"dropout", 1, false},
    {"flatten", 1, false},
    {"reshape", 1, false},
    {"slice_batch", 1, false},
    {"identity", 1, false},
};

}  // namespace

bool halves_training(const Tensor& x) {
  const DType wanted = training_precision();
  if (!is_half(wanted) || !x.defined() || x.dtype() != DType::f32) return false;
  if (x.device() == kCpu && wanted == DType::f16)
    throw Error(ErrorKind::usage, "training", "f16 needs a GPU", "train in bf16 or f32, or move the network to a GPU");
  if (x.device().type != DeviceType::cuda || is_per_example() || !is_training() || !is_recording() ||
      detail::is_capturing()) {
    return false;
  }
  if (const std::string why = why_no_half(x.device(), wanted); !why.empty())
    throw Error(ErrorKind::device, "training", why, "train in f16 or f32");
  return true;
}

/// Node n in half, if it can and is worth it.
bool FusedPass::half_at(std::size_t n) {
  const OpList::Node& node = list().nodes[n];
  const auto* const op = std::find_if(std::begin(kHalfOps), std::end(kHalfOps),
                                      [&](const HalfOp& o) { return o.type == node.op->type(); });
  if (op == std::end(kHalfOps)) return false;
  const std::size_t maps = std::min(op->maps, node.inputs.size());
  const bool follows = std::any_of(node.inputs.begin(), node.inputs.begin() + static_cast<std::ptrdiff_t>(maps),
                                   [&](int v) { return v >= 0 && values_[index(v)].stored.defined(); });
  if (!follows && !op->always) return false;
  std::vector<Tensor> in;
  for (std::size_t i = 0; i < node.inputs.size(); ++i)
    in.push_back(plain(node.inputs[i], i < maps ? dtype_ : DType::f32));
  run_node(n, in);
  ++fused_;
  return true;
}

}  // namespace fovea
