// Each kind of layer in integers against its simulation in f32, alone: within one step of the result's scale, and
// nearly always equal.
#include <algorithm>
#include <cmath>

#include "catch.h"
#include "core/autograd/modes.h"
#include "infer/graph/network.h"
#include "infer/graph/network_file_internal.h"
#include "infer/quantize/quantize_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "settle.h"

using namespace fovea;
using kernels::Activation;
using test::noise;

namespace {

/// Values of a graph: 0 the input, then one for each node. Those between the first node and the last are u8.
struct Builder {
  explicit Builder(const Shape& input) {
    graph.input_shape = input;
    add_value();
  }
  int add_value() {
    graph.aliases.emplace_back();
    graph.memory.push_back(static_cast<int>(graph.memory.size()));
    graph.quantization.emplace_back();
    return graph.memory.back();
  }
  int add(infer::Node node, std::vector<int> inputs) {
    node.inputs = std::move(inputs);
    node.name = std::to_string(graph.nodes.size());
    node.weight_shape = node.weight.defined() ? node.weight.shape() : Shape();
    node.output = add_value();
    graph.output = node.output;
    graph.nodes.push_back(std::move(node));
    return graph.output;
  }
  void keep_in_u8(int value, infer::Quantization q) { graph.quantization[static_cast<std::size_t>(value)] = q; }
  infer::Graph graph;
};

/// What hands values on: where they change their type.
infer::Node same() {
  infer::Node node;
  node.kind = infer::Kind::affine;
  return node;
}

infer::Node integer(infer::Kind kind, const Shape& weights, Activation activation, kernels::Conv2dParams conv = {}) {
  infer::Node node;
  node.kind = kind;
  node.conv = conv;
  node.activation = {activation};
  const infer::IntegerWeights w = infer::quantize_weights(noise(weights, 3), infer::WeightScale::max);
  node.weight = w.weight;
  node.weight_scale = w.scale;
  node.bias = noise({weights.dim(-1)}, 4);
  return node;
}

/// Noise on the grid of kIn: that it is rounded to the same steps everywhere is not what is tested here.
constexpr infer::Quantization kIn{0.025f, 117};
Tensor steps(const Shape& shape, std::uint64_t seed) {
  Tensor x = noise(shape, seed);
  for (float *v = x.mutable_data<float>(), *end = v + x.numel(); v != end; ++v)
    *v = kIn.scale * std::nearbyint(std::clamp(*v, -2.5f, 3.0f) / kIn.scale);
  return x;
}

/// The range that f32 results fill, in u8.
infer::Quantization range_of(const infer::Graph& graph, const Tensor& x) {
  infer::Histogram h;
  h.add(infer::Simulation(graph)(x));
  return infer::quantization_of(h.range(infer::Observer::min_max));
}

void check(const infer::Graph& graph, const Tensor& x, float step, const std::string& kernel) {
  const Tensor want = infer::Simulation(graph)(x);
  infer::Graph copy = graph;
  infer::NetworkFile file{std::move(copy), {}, {}, {}};
  infer::Network network(std::move(file), DType::f32);
  infer::Plan& plan = network.plan(x.shape());
  const Tensor have = plan(x);
  INFO(plan.describe());
  if (!kernel.empty()) CHECK(plan.describe().find(kernel) != std::string::npos);
  std::int64_t off = 0, far = 0;
  float least = want.data<float>()[0], most = least;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    const float w = want.data<float>()[i], error = std::abs(w - have.data<float>()[i]);
    off += error > 0.01f * step ? 1 : 0;
    far += error > 1.001f * step ? 1 : 0;
    least = std::min(least, w), most = std::max(most, w);
  }
  INFO(off << " of " << want.numel() << " differ by a step");
  CHECK(far == 0);
  // Sums are rounded elsewhere, activations are polynomials: halves may fall to the other side.
  CHECK(off * 50 <= want.numel());
  CHECK(most - least > 50 * step);  // else saturation would hide mistakes
}

/// A layer between u8 and u8.
void check_layer(const infer::Node& node, const Shape& input, bool residual, const std::string& kernel) {
  const NoGrad no_grad;
  const Tensor x = steps(input, 7);
  Builder b(Shape{1, input[1], input[2], input[3]});
  const int read = b.add(same(), {0});
  b.keep_in_u8(read, kIn);
  std::vector<int> inputs{read};
  if (residual) inputs.push_back(read);
  infer::Node layer = node;
  layer.residual = residual;
  const int made = b.add(layer, inputs);
  const infer::Quantization q = range_of(b.graph, x);
  b.keep_in_u8(made, q);
  b.add(same(), {made});
  check(b.graph, x, q.scale, kernel);
}

const Activation kActivations[] = {Activation::none,         Activation::relu,       Activation::relu6,
                                   Activation::hard_sigmoid, Activation::hard_swish, Activation::sigmoid,
                                   Activation::silu,         Activation::gelu,       Activation::leaky_relu};

}  // namespace

TEST_CASE("int8 layer by layer: convolutions", "[quantize]") {
  using infer::Kind;
  for (const Activation a : kActivations) {
    INFO(kernels::to_string(a));
    check_layer(integer(Kind::conv2d, {1, 1, 24, 40}, a), {2, 9, 7, 24}, false,
                kernels::simd::has_int8() ? "int8" : "");
    check_layer(integer(Kind::conv2d, {1, 1, 40, 40}, a), {1, 7, 7, 40}, true, kernels::simd::has_int8() ? "int8" : "");
    check_layer(integer(Kind::conv2d, {1, 1, 33, 13}, a), {1, 1, 2, 33}, false,
                kernels::simd::has_int8() ? "int8" : "");
    check_layer(integer(Kind::conv2d, {3, 3, 12, 20}, a, {.stride = {2, 2}, .padding = kernels::Padding::same_both(1)}),
                {1, 9, 8, 12}, false, kernels::simd::has_int8() ? "int8" : "");
  }
}

TEST_CASE("int8 layer by layer: depthwise convolutions", "[quantize]") {
  using infer::Kind;
  for (const Activation a : kActivations) {
    const bool in_kernel = kernels::simd::has_int8() && a != Activation::leaky_relu;
    for (const int size : {3, 5}) {
      for (const int stride : {1, 2}) {
        for (const int channels : {64, 100, 12}) {
          INFO(kernels::to_string(a) << ", " << size << ", stride " << stride << ", channels " << channels);
          check_layer(
              integer(
                  Kind::conv2d, {size, size, 1, channels}, a,
                  {.stride = {stride, stride}, .padding = kernels::Padding::same_both(size / 2), .groups = channels}),
              {1, 13, 11, channels}, false, in_kernel ? "int8" : "");
        }
      }
    }
  }
}

TEST_CASE("int8 layer by layer: dense layers, means, and the edges", "[quantize]") {
  using infer::Kind;
  const NoGrad no_grad;
  for (const Activation a : kActivations) {
    INFO(kernels::to_string(a));
    const Tensor x = steps({5, 130}, 7);
    Builder b(Shape{1, 130});
    const int read = b.add(same(), {0});
    b.keep_in_u8(read, kIn);
    const int made = b.add(integer(Kind::dense, {130, 50}, a), {read});
    const infer::Quantization q = range_of(b.graph, x);
    b.keep_in_u8(made, q);
    b.add(same(), {made});
    check(b.graph, x, q.scale, kernels::simd::has_int8() ? "int8" : "");
  }
  // The network's input is rounded on its way, its result is f32: equal to rounding.
  const Tensor picture = steps({1, 17, 15, 3}, 8);
  Builder first({1, 17, 15, 3});
  first.keep_in_u8(0, kIn);
  first.add(integer(Kind::conv2d, {3, 3, 3, 32}, Activation::silu,
                    {.stride = {2, 2}, .padding = kernels::Padding::same_both(1)}),
            {0});
  check(first.graph, picture, 0.001f, kernels::simd::has_int8() ? "int8" : "");
  for (const Kind kind : {Kind::global_average_pool, Kind::adaptive_average_pool}) {
    const Tensor x = steps({2, 7, 5, 70}, 9);
    Builder b({1, 7, 5, 70});
    const int read = b.add(same(), {0});
    b.keep_in_u8(read, kIn);
    infer::Node mean;
    mean.kind = kind;
    mean.size = {1, 1};
    const int made = b.add(mean, {read});
    const infer::Quantization q = range_of(b.graph, x);
    b.keep_in_u8(made, q);
    b.add(same(), {made});
    check(b.graph, x, q.scale, kernels::simd::has_int8() ? "simd:average" : "");
  }
}

TEST_CASE("int8 layer by layer: squeeze-and-excitation", "[quantize]") {
  using infer::Kind;
  const NoGrad no_grad;
  const Tensor x = steps({2, 9, 7, 72}, 7);
  Builder b({1, 9, 7, 72});
  const int map = b.add(same(), {0});
  b.keep_in_u8(map, kIn);
  infer::Node mean;
  mean.kind = Kind::adaptive_average_pool;
  mean.size = {1, 1};
  const int means = b.add(mean, {map});
  b.keep_in_u8(means, {0.005f, 127});
  const int few = b.add(integer(Kind::conv2d, {1, 1, 72, 24}, Activation::relu), {means});
  b.keep_in_u8(few, range_of(b.graph, x));
  const int gate = b.add(integer(Kind::conv2d, {1, 1, 24, 72}, Activation::hard_sigmoid), {few});
  infer::Node times;
  times.kind = Kind::multiply;
  const int made = b.add(times, {map, gate});
  const infer::Quantization q = range_of(b.graph, x);
  b.keep_in_u8(made, q);
  b.add(same(), {made});
  check(b.graph, x, q.scale, kernels::simd::has_int8() ? "simd:gate" : "");
}
