// From graph nodes to steps: packed weights once per model, steps once per input shape.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "infer/graph/graph_internal.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/simd/element.h"

namespace fovea::infer {

/// Weights of one node as its kernel wants them.
struct PackedNode {
  /// Instead of `weights` where the input's size decides between panels and Winograd's transform.
  Tensor raw;
  Tensor weights;     ///< panels (conv2d, dense), as in the model (others); undefined without weights
  Tensor bias;        ///< padded with zeros to whole vectors; zeros where the node has none
  detail::Int8 int8;  ///< of a node that multiplies integers: in = u8
  bool panels = false, depthwise = false;  ///< which kernel they are for
  /// What the node reads, what its weights are multiplied with, and what it gives (and adds).
  kernels::simd::Element source = kernels::simd::Element::f32, in = kernels::simd::Element::f32,
                         out = kernels::simd::Element::f32;

  std::size_t weight_bytes() const {
    const Tensor& kept = raw.defined() ? raw : weights;
    return kept.defined() ? kept.nbytes() : 0;
  }
};

/// A graph after all rewrites, with its packed weights; the nodes' own weights are gone.
struct Lowered {
  Graph graph;
  std::vector<PackedNode> packed;                                // one per node
  kernels::simd::Element element = kernels::simd::Element::f32;  ///< between input and result, unless quantised
  std::size_t weight_bytes = 0;

  /// The forms of raw weights that plans have asked for. Planning is done by one thread at a time.
  struct Forms {
    Tensor panels, winograd;
  };
  mutable std::map<std::size_t, Forms> forms;

  /// How a value lies in memory.
  kernels::simd::Element element_of(int value) const;
};

/// Where a step finds a value, and its shape.
struct StepOperand {
  int place;
  Shape shape;
};
/// A node by the library's kernels on f32; operands as its inputs. `conv` with its padding resolved, of a convolution.
std::unique_ptr<detail::Step> library_step(const Node& node, const PackedNode& packed,
                                           const std::vector<StepOperand>& operands, const StepOperand& result,
                                           const kernels::Conv2dParams& conv);

std::shared_ptr<const Lowered> pack(Graph graph, kernels::simd::Element element);
/// Steps and memory for one input shape. `lowered` is kept alive by the program.
std::shared_ptr<const detail::Program> plan_for(const std::shared_ptr<const Lowered>& lowered, const Shape& input);

}  // namespace fovea::infer
