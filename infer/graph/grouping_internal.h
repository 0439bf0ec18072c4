// Which nodes of a graph run as one step, for one input shape and number of threads, and which kernel suits a node.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "infer/graph/lower_internal.h"
#include "infer/graph/slices_internal.h"

namespace fovea::infer {

/// What a planner asks of a graph.
class Grouping {
 protected:
  /// The nodes up to `end`.
  Grouping(std::shared_ptr<const Lowered> lowered, const Shape& input, int threads, std::size_t end)
      : lowered_(std::move(lowered)),
        graph_(lowered_->graph),
        threads_(threads),
        end_(end),
        shapes_(shapes_of(graph_, input)),
        output_(graph_.root(end < graph_.nodes.size() ? graph_.nodes[end - 1].output : graph_.output)) {}
  ~Grouping() = default;

  const Shape& shape(int value) const { return shapes_[static_cast<std::size_t>(value)]; }
  kernels::simd::Element element(int value) const { return lowered_->element_of(value); }
  std::size_t bytes_of(int value) const {
    return static_cast<std::size_t>(shape(value).numel() * kernels::simd::bytes_of(element(value)));
  }

  /// How many nodes from the first on are done picture by picture: those whose maps, of a batch, would leave the caches
  /// while their weights do not. 0: none.
  std::size_t picture_nodes() const;
  /// How many nodes from i on run as one step: a convolution, a depthwise one and a 1×1 one (or only the first two)
  /// where the map between them would leave the caches, or where each thread has pictures of its own.
  std::size_t chain_length(std::size_t i) const;
  /// How many nodes from i on take rows of one picture through all of them as one step. Where threads divide the rows
  /// evenly, and while each one's L2 holds the weights, which all of them read.
  std::size_t rows_length(std::size_t i) const;
  /// Node i multiplies the channels of one picture, which the 1×1 convolution behind it alone reads, and the
  /// convolution's weights are fewer values.
  bool gates_projection(std::size_t i) const;
  /// Node i's kernel can leave room between the pixels of its result.
  bool writes_slices(std::size_t i) const;
  /// Measured: twice as fast as directly from 14×14 on. At 7×7 only while its weights, 16/9 of the plain ones, stay in
  /// L2: 512 channels took 1.18 ms beside 0.86 on an Intel Xeon. Tiles of 2×2 that hang over the edge are computed
  /// whole.
  bool winograd_pays(const Node& node) const;
  /// The mean over all pixels.
  static bool averages(const Node& node);
  /// A map in u8 times one f32 for each channel.
  bool is_gate(const Node& node) const;
  /// Node i's operand and result lie in memory as its kernel takes and gives them.
  bool fits(std::size_t i) const;
  /// Operands and result of node i are all f32 or all bf16.
  bool in_floats(std::size_t i) const;
  /// A node from i on reads the value.
  bool is_read_behind(int value, std::size_t i) const;

  std::shared_ptr<const Lowered> lowered_;
  const Graph& graph_;
  int threads_;
  std::size_t end_;
  std::vector<Shape> shapes_;
  int output_;                   ///< root of the value that these nodes are for
  std::map<int, Slice> slices_;  ///< the planner's, once it has found them

 private:
  /// A small map's convolution and the depthwise one behind it where pixels lie a multiple of 2048 bytes apart: they
  /// compete for the same places of L1 (14×14×512 alone: 29 GFLOP/s on a core, 62 with another pitch, and MobileNetV1
  /// consists of such). Elsewhere two steps are as fast. Panels of channels must divide among the threads.
  bool shares_panels(std::size_t i) const;
  /// A depthwise or 1×1 convolution of one picture, on 8 or 16 bits as they lie, that is a step of its own otherwise.
  bool makes_rows(std::size_t i) const;
  /// Node i is a convolution with a planned kernel.
  bool is_conv(std::size_t i) const;
  /// A 1×1 one of each pixel.
  bool projects_pixels(std::size_t i) const;
  /// Node b's picture is node a's result, which nothing else reads.
  bool feeds_only(std::size_t a, std::size_t b) const;
  /// Nodes from `end` on read nothing of what is there before but the result of the node before them.
  bool only_value_across(std::size_t end) const;
};

}  // namespace fovea::infer
