// A network as inference sees it: an op list turned into few kinds of nodes that own their weights, so that batch norms
// can be folded and neighbours fused. Knows no op classes. Internal to infer/.
#pragma once

#include <string>
#include <vector>

#include "core/graph/op_records.h"
#include "infer/runtime/quantization.h"
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
  Shape weight_shape;  ///< stays when the weights are packed elsewhere
  kernels::Conv2dParams conv;
  kernels::Pool2dParams pool;
  kernels::ActivationParams activation{kernels::Activation::none};  ///< done last
  bool residual = false;
  double factor = 1, offset = 0;
  int axis = -1;
  kernels::Size2 size;             ///< of adaptive_average_pool's result
  std::vector<std::string> fused;  ///< what it took in, for listings: "batch_norm", "relu6", "add"
};

/// One channel per group, as many results as channels.
bool is_depthwise(const Node& node);
bool has_integer_weights(const Node& node);
/// f32 weights of a node: as they are, or i8 times their scales.
Tensor real_weight(const Node& node);

/// Another name for a value's memory, perhaps under another shape.
struct Alias {
  enum class Rule : std::uint8_t { none, same, flatten, reshape };
  Rule rule = Rule::none;             ///< none: the value has memory of its own
  int of = -1;                        ///< a value that exists before
  std::vector<std::int64_t> extents;  ///< of a reshape: 0 keeps the operand's extent, −1 is what is left
};

struct Graph {
  Shape input_shape;  ///< of the picture that was captured
  std::vector<Node> nodes;
  std::vector<Alias> aliases;  ///< by value
  /// Value → the value whose memory it shares: itself, or at last what its aliases stand for.
  std::vector<int> memory;
  /// By value (its root counts); empty where nothing is quantised. The network's input and result stay f32 in memory:
  /// the input's entry says how the first layer takes it in.
  std::vector<Quantization> quantization;
  int input = 0, output = 0;  ///< values

  int root(int value) const { return memory[static_cast<std::size_t>(value)]; }
  /// The network's input or result, which are f32 in every plan.
  bool at_the_edge(int value) const { return root(value) == root(input) || root(value) == root(output); }
  /// Not quantised: scale 0.
  Quantization quantization_of(int value) const {
    return quantization.empty() ? Quantization() : quantization[static_cast<std::size_t>(root(value))];
  }
};

/// The node that computes a value's memory; −1 for the input.
int maker_of(const Graph& graph, int value);
/// How many operands of nodes are that memory.
int reads_of(const Graph& graph, int value);

/// Error{usage} for an op that inference cannot run compiled ("conv_transpose2d"), or more than one input or result;
/// Error{format} for weights that do not fit.
Graph make_graph(const OpRecords& list);
/// Shapes of all values for a picture of this shape; those that fusion removed stay empty. Error{shape} where it does
/// not fit.
std::vector<Shape> shapes_of(const Graph& graph, const Shape& input);
/// Weights in i8 become f32, and values are no longer quantised.
void dequantize(Graph& graph);
/// Batch norms, scalings and shifts disappear into the weights before them.
void fold_norms(Graph& graph);
/// Activations and additions become the last steps of what computes their operand.
void fuse_epilogues(Graph& graph);

}  // namespace fovea::infer
