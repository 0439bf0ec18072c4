// A network as compilation sees it: a captured op list turned into few kinds of nodes that own their weights, so that
// batch norms can be folded and neighbours fused. Internal to infer/.
#pragma once

#include <string>
#include <vector>

#include "core/graph/op_list.h"
#include "kernels/activation.h"
#include "kernels/conv2d.h"
#include "kernels/pool2d.h"

namespace fovea::infer {

enum class Kind : std::uint8_t {
  conv2d,
  dense,
  scale_shift,  ///< x·weight + bias by channel: a batch norm that nothing took in
  affine,       ///< x·factor + offset
  activation,
  add,
  multiply,
  concat,
  pool2d,
  global_average_pool,
  adaptive_average_pool,
  softmax,
  log_softmax,
};
std::string_view to_string(Kind kind);

/// A concatenation of more parts is not compiled.
inline constexpr std::size_t kMaxParts = 64;

struct Node {
  Kind kind = Kind::conv2d;
  std::string name;         ///< path of the module: "block_1.expand.conv"
  std::vector<int> inputs;  ///< values; with `residual` the last is added before the activation
  int output = -1;
  /// conv2d: HWIO; dense: [in, out]; scale_shift: [C]. bias f32, may be undefined. An i8 weight is symmetric by result
  /// channel, real = weight_scale[co] · weight, and its node multiplies integers: the operand must be kept in u8.
  Tensor weight, bias, weight_scale;
  Shape weight_shape;   ///< once the weights are packed elsewhere
  kernels::Conv2dParams conv;
  kernels::Pool2dParams pool;
  kernels::ActivationParams activation{kernels::Activation::none};  ///< done last
  bool residual = false;
  double factor = 1, offset = 0;
  int axis = -1;
  std::vector<std::string> fused;  ///< what it took in, for listings: "batch_norm", "relu6", "add"
};

/// How a value is kept in u8: real = scale · (q − zero). scale 0: it is not, but in f32 or bf16.
struct Quantization {
  float scale = 0;
  int zero = 0;
};

struct Graph {
  /// The op list it comes from (without weights): gives the shapes of all values for any input.
  OpList list;
  std::vector<Node> nodes;
  /// Value → the value whose memory it shares: itself, or the operand of a reshape, an identity or a dropout.
  std::vector<int> memory;
  /// By value (its root counts); empty where nothing is quantised. The network's input and result stay f32 in memory:
  /// the input's entry says how the first layer takes it in.
  std::vector<Quantization> quantization;
  int input = 0, output = 0;  ///< values of the list

  int root(int value) const { return memory[static_cast<std::size_t>(value)]; }
};

/// Error{usage} for an op that inference cannot run compiled ("conv_transpose2d"), or more than one input or result.
Graph make_graph(const OpList& list);
/// Batch norms, scalings and shifts disappear into the weights before them.
void fold_norms(Graph& graph);
/// Activations and additions become the last steps of what computes their operand.
void fuse_epilogues(Graph& graph);

}  // namespace fovea::infer
