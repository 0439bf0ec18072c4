// Weights and values as integers: which nodes can have them, their scales, and the graph that says so.
#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"
#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {

bool can_be_integer(const Node& node) {
  if (node.kind == Kind::dense) return true;
  if (node.kind != Kind::conv2d) return false;
  return node.conv.groups == 1 || (is_depthwise(node) && node.conv.dilation == kernels::Size2{1, 1} && !node.residual);
}

Quantization quantization_of(const Range& range) {
  const double low = std::min(0.0, range.low), high = std::max(0.0, range.high);
  // A value that was never anything but 0 needs some scale; one that is all but 0 (the last layers of MobileNetV1 with
  // weights nobody trained: 1e-11) rounds to 0. Twice: adjusting the scale to pictures may make it smaller.
  const double scale = high > low ? std::clamp((high - low) / 255, 2.0 * kLeastScale, 0.5 * kLargestScale) : 1.0;
  const double zero = std::clamp(std::nearbyint(-low / scale), 0.0, 255.0);
  return {static_cast<float>(scale), static_cast<int>(zero)};
}

Quantization quantization_of_pictures(const Quantization& start, const Tensor& pictures) {
  // A prime stride reaches all rows, columns and channels.
  constexpr std::int64_t kSamples = 50'000, kPrimes[] = {1, 7, 31, 127, 509, 2039};
  std::int64_t stride = 1;
  for (const std::int64_t p : kPrimes) stride = pictures.numel() / p > kSamples ? p : stride;
  std::vector<float> samples;
  for (std::int64_t i = 0; i < pictures.numel(); i += stride) samples.push_back(pictures.data<float>()[i]);
  Quantization best = start;
  double least = -1;
  for (int wider = 0; wider <= 60; ++wider) {
    for (int shift = -2; shift <= 2; ++shift) {
      const Quantization q{start.scale * (1 + 0.0005f * static_cast<float>(wider - 10)), start.zero + shift};
      if (q.zero < 0 || q.zero > 255) continue;
      double sum = 0;
      for (const float x : samples) {
        const float step = std::clamp(std::nearbyint(x / q.scale) + static_cast<float>(q.zero), 0.0f, 255.0f);
        const double e = static_cast<double>(x - (step - static_cast<float>(q.zero)) * q.scale);
        sum += e * e;
      }
      if (least < 0 || sum < least * 0.999) {
        least = sum;
        best = q;
      }
    }
  }
  return best;
}

namespace {

/// Σ importance·(w − scale·round(w/scale))² of one result channel, integers within ±127.
double squared_error(const float* w, std::int64_t rows, std::int64_t columns, float scale, const double* importance,
                     std::int64_t importance_step) {
  double sum = 0;
  const float inverse = 1 / scale;
  for (std::int64_t r = 0; r < rows; ++r) {
    const float x = w[r * columns];
    const float q = std::clamp(std::nearbyint(x * inverse), -127.0f, 127.0f);
    const double e = static_cast<double>(x - q * scale);
    sum += importance ? importance[r * importance_step] * e * e : e * e;
  }
  return sum;
}

}  // namespace

IntegerWeights quantize_weights(const Tensor& weight, WeightScale how, const std::vector<double>& importance) {
  const std::int64_t columns = weight.shape().dim(-1), rows = weight.numel() / columns;
  IntegerWeights out{Tensor(weight.shape(), DType::i8), Tensor({columns})};
  const float* const w = weight.data<float>();
  auto* const q = out.weight.mutable_data<std::int8_t>();
  float* const scales = out.scale.mutable_data<float>();
  const bool each = static_cast<std::int64_t>(importance.size()) == weight.numel();
  parallel_for(columns, std::max<std::int64_t>(1, 20'000 / rows), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      float largest = 0;
      for (std::int64_t r = 0; r < rows; ++r) largest = std::max(largest, std::abs(w[r * columns + c]));
      float scale = largest > 0 ? largest / 127 : 1.0f;
      if (how == WeightScale::mse && largest > 0) {
        const double* const weights = importance.empty() ? nullptr : importance.data() + (each ? c : 0);
        const auto error = [&](float s) { return squared_error(w + c, rows, columns, s, weights, each ? columns : 1); };
        double best = error(scale);
        // Classifiers fitted to standardised features have huge weights for features that hardly ever vary: scales down
        // to a fiftieth are tried.
        float s = scale;
        for (int i = 1; i <= 130; ++i) {
          s *= 0.97f;
          const double e = error(s);
          if (e < best) {
            best = e;
            scale = s;
          }
        }
      }
      scales[c] = scale;
      for (std::int64_t r = 0; r < rows; ++r)
        q[r * columns + c] =
            static_cast<std::int8_t>(std::clamp(std::nearbyint(w[r * columns + c] / scale), -127.0f, 127.0f));
    }
  });
  return out;
}

Graph assemble(const Prepared& prepared, const std::vector<bool>& integer) {
  Graph graph = prepared.reference;
  graph.quantization.assign(graph.memory.size(), Quantization{});
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!integer[i]) continue;
    Node& node = graph.nodes[i];
    node.weight = prepared.weights[i].weight;
    node.weight_scale = prepared.weights[i].scale;
    for (const int v : node.inputs) {
      const auto root = static_cast<std::size_t>(graph.root(v));
      graph.quantization[root] = prepared.values[root];
    }
  }
  // A map that is multiplied by a number for each channel and then read in integers is in integers too
  // (squeeze-and-excitation): otherwise the depthwise convolution before would be in f32 for its sake.
  const std::vector<Shape> shapes = shapes_of(graph, graph.input_shape);
  for (const Node& node : graph.nodes) {
    if (node.kind != Kind::multiply || graph.quantization_of(node.output).scale <= 0) continue;
    const Shape &x = shapes[static_cast<std::size_t>(node.inputs[0])],
                &gate = shapes[static_cast<std::size_t>(node.inputs[1])];
    if (x.rank() != 4 || gate != Shape{x[0], 1, 1, x[3]} || graph.at_the_edge(node.inputs[0])) continue;
    const auto root = static_cast<std::size_t>(graph.root(node.inputs[0]));
    graph.quantization[root] = prepared.values[root];
  }
  return graph;
}

}  // namespace fovea::infer
