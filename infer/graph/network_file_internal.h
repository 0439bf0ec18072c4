// A network in a file: a model file, whose ops become a graph here, or a compiled network, which is a graph after all
// rewrites. Both are safetensors with an op list in the metadata; a compiled network's list may hold what graphs hold
// and networks under training do not:
//
//   conv2d, dense   operand 3: the scales of i8 weights, by result channel; conv2d with attribute "residual", operand
//                   4: added before the activation
//   scale_shift     x·weight + bias by channel
//   "fused"         what a node took in, for listings: "batch_norm relu6"
//
// and beside the op list a tensor "quantization" f32 [values, 2]: scale and zero of each value, scale 0 where it is not
// quantised. Internal to infer/.
#pragma once

#include <string>
#include <vector>

#include "image/preprocess.h"
#include "infer/graph/graph_internal.h"

namespace fovea::infer {

struct NetworkFile {
  Graph graph;
  image::Preprocessing preprocessing;
  std::vector<std::string> class_names;
  std::string architecture;  ///< canonical zoo name, or empty
};

/// Reads either kind; a model file's graph is folded and fused. Weights share the file's mapping where nothing was
/// folded into them. Error{format} for whatever does not fit together.
NetworkFile read_network(const std::string& path);
/// The same from memory that `owner` keeps alive.
NetworkFile read_network(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where);
/// Writes a compiled network, atomically. The graph has had its rewrites.
void write_network(const NetworkFile& network, const std::string& path);

/// The graph as an op list, values numbered anew, and its quantization by those numbers.
struct GraphRecords {
  OpRecords list;
  std::vector<Quantization> quantization;
};
GraphRecords records_of(const Graph& graph);
/// What make_graph() cannot see: Error{format} for values that cannot be kept as the file says.
void check(const Graph& graph);

}  // namespace fovea::infer
