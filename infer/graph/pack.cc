// Packing, once per model: which kernel a node's weights are for, and their form.
#include <algorithm>
#include <tuple>

#include "infer/graph/lower_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::infer {
namespace {

using kernels::Activation;
using kernels::simd::Element;

/// Stretches of memory that a window is made of: a row of the kernel each, or with dilation a tap.
std::int64_t runs_of(const Node& node) {
  const Shape& w = node.weight_shape;
  if (node.kind == Kind::dense) return 1;
  return node.conv.dilation.w > 1 ? w[0] * w[1] : w[0];
}

/// For the depthwise kernels.
bool runs_depthwise(const Node& node) {
  return is_depthwise(node) && node.conv.dilation == kernels::Size2{1, 1} &&
         node.weight_shape[0] <= kernels::simd::kMaxKernelRows && node.conv.stride.w <= 8 && !node.residual;
}

/// An activation that a kernel does while it rounds.
bool clamps(const Node& node) {
  const Activation kind = node.activation.kind;
  return kind == Activation::none || kind == Activation::relu || kind == Activation::relu6;
}

class Packer {
 public:
  Packer(Graph graph, Element element) : lowered_(std::make_shared<Lowered>()) {
    lowered_->element = element;
    lowered_->graph = std::move(graph);
  }

  std::shared_ptr<const Lowered> run() {
    for (Node& node : graph().nodes) {
      PackedNode packed;
      if (node.weight.defined()) {
        packed.panels = node.kind == Kind::dense || (node.kind == Kind::conv2d && node.conv.groups == 1 &&
                                                     runs_of(node) <= kernels::simd::kMaxRuns);
        packed.depthwise = runs_depthwise(node);
        if (!has_integer_weights(node) || !multiplies_integers(node, packed)) in_floats(node, packed);
        lowered_->weight_bytes += packed.weight_bytes() + packed.bias.nbytes() +
                                  (packed.int8.scale.defined() ? packed.int8.scale.nbytes() : 0);
        node.weight = node.bias = node.weight_scale = Tensor();
      }
      lowered_->packed.push_back(std::move(packed));
    }
    return lowered_;
  }

 private:
  Graph& graph() { return lowered_->graph; }
  Element element_of(int value) const { return lowered_->element_of(value); }

  void in_floats(Node& node, PackedNode& packed) {
    node.weight = real_weight(node);
    // What lies in u8 is converted before and after.
    const auto float_of = [&](int value) { return element_of(value) == Element::bf16 ? Element::bf16 : Element::f32; };
    packed.out = float_of(node.output);
    if (packed.panels) {
      pack_matrix(node, packed);
    } else {
      packed.weights = node.weight.clone();
      if (packed.depthwise && float_of(node.inputs[0]) == packed.out) packed.source = packed.in = packed.out;
      if (packed.source != packed.out) packed.out = Element::f32;
    }
    packed.bias = detail::pad_bias(node.bias.defined() ? node.bias.data<float>() : nullptr, node.weight_shape.dim(-1));
    const Shape& w = node.weight_shape;
    if (packed.depthwise && packed.in == Element::bf16 &&
        kernels::simd::takes_depthwise_bf16(w[0], w[1], node.conv.stride.w)) {
      packed.weights = detail::pack_depthwise_bf16(node.weight);
      packed.bias = detail::order_channels_bf16(packed.bias, w[3]);
    }
  }

  /// Weights of a convolution of one group or a dense layer.
  void pack_matrix(const Node& node, PackedNode& packed) {
    const Shape& w = node.weight_shape;
    const bool dense = node.kind == Kind::dense, first = graph().root(node.inputs[0]) == graph().root(graph().input);
    const std::int64_t columns = w.dim(-1), channels = dense ? w[0] : w[2], taps = dense ? 1 : w[0] * w[1];
    if (lowered_->element == Element::bf16) {
      // Pairs of values must not straddle two pixels. The network's input is converted on its way; anything else with
      // odd channels is computed in f32.
      if (first ? taps > 1 : channels % 2 == 0) packed.in = Element::bf16;
      if (!first) packed.source = packed.in;
      if (packed.in == Element::f32) packed.out = Element::f32;
    }
    const kernels::Size2 once{1, 1};
    if (!dense && lowered_->element == Element::f32 && w[0] == 3 && w[1] == 3 && node.conv.stride == once &&
        node.conv.dilation == once && channels >= 16 && columns >= 16) {
      packed.raw = node.weight.clone();
      return;
    }
    const std::int64_t runs = runs_of(node);
    packed.weights = detail::pack_panels(node.weight.data<float>(), runs, channels * taps / runs, columns, packed.in);
  }

  /// Packs weights of i8 for the kernels on u8; false where there is none for this node.
  bool multiplies_integers(const Node& node, PackedNode& packed) {
    const Shape& w = node.weight_shape;
    const Quantization in = graph().quantization_of(node.inputs[0]);
    Quantization out, residual;
    packed.out = Element::f32;
    // What is added to another type is converted after.
    const bool adds_u8 = !node.residual || element_of(node.inputs.back()) == Element::u8;
    if (element_of(node.output) == Element::u8 && adds_u8) {
      packed.out = Element::u8;
      out = graph().quantization_of(node.output);
      if (node.residual) residual = graph().quantization_of(node.inputs.back());
    }
    // The depthwise kernel keeps sums in 16 bits: up to what rounds to 255, or to where the activation is flat, which
    // leaky ReLU never is.
    const bool takes =
        packed.panels || (packed.depthwise && packed.out == Element::u8 && element_of(node.inputs[0]) == Element::u8 &&
                          node.activation.kind != Activation::leaky_relu && node.conv.stride.w <= 2 &&
                          kernels::simd::takes_depthwise_int8(w[0], w[1], node.conv.stride.w));
    if (!takes || in.scale <= 0) {
      packed.out = Element::f32;
      return false;
    }
    packed.in = Element::u8;
    packed.source = element_of(node.inputs[0]);
    const std::int64_t columns = w.dim(-1), rows = w.numel() / columns;
    const auto* const weights = node.weight.data<std::int8_t>();
    const float* const bias = node.bias.defined() ? node.bias.data<float>() : nullptr;
    packed.int8.in = in;
    packed.int8.out = out;
    Quantization sums = out;
    if (!clamps(node) && packed.out == Element::u8) {
      if (packed.depthwise) sums.scale = std::max(16.0f, out.scale * static_cast<float>(256 - out.zero)) / 32'000;
      if (!packed.depthwise) sums = {};
      sums.zero = 0;
      packed.int8.rounded = kernels::simd::rounded_activation(node.activation, sums.scale > 0 ? sums.scale : 1.0f,
                                                              1 / out.scale, static_cast<float>(out.zero));
    }
    std::tie(packed.int8.scale, packed.bias) =
        detail::fold_scales(weights, rows, columns, node.weight_scale.data<float>(), bias, in, sums, residual);
    if (residual.scale > 0) packed.int8.residual_scale = residual.scale / (sums.scale > 0 ? sums.scale : 1.0f);
    if (packed.depthwise) {
      packed.weights = detail::pack_depthwise_int8(node.weight);
      packed.int8.scale = detail::order_channels(packed.int8.scale, columns);
      packed.bias = detail::order_channels(packed.bias, columns);
    } else {
      const std::int64_t runs = runs_of(node);
      packed.weights = detail::pack_panels_int8(weights, runs, rows / runs, columns);
    }
    return true;
  }

  std::shared_ptr<Lowered> lowered_;
};

}  // namespace

Element Lowered::element_of(int value) const {
  if (graph.at_the_edge(value)) return Element::f32;
  return graph.quantization_of(value).scale > 0 ? Element::u8 : element;
}

void dequantize(Graph& graph) {
  for (Node& node : graph.nodes) {
    node.weight = real_weight(node);
    node.weight_scale = Tensor();
  }
  graph.quantization.clear();
}

std::shared_ptr<const Lowered> pack(Graph graph, Element element) {
  if (!kernels::simd::has_int8()) dequantize(graph);
  return Packer(std::move(graph), element).run();
}

}  // namespace fovea::infer
