// Cross-layer equalisation (Nagel et al. 2019): a channel of a value may be multiplied by a positive number if the
// weights that read it are divided by it. A value has one scale for all its channels, so a channel that uses a tenth of
// the range is known to a tenth of the accuracy; brought to the full range it is known as well as the others.
//
// Through ReLU this is exact. Through ReLU6 it is exact while the scaled channel stays below 6: it is scaled up only,
// to at most 6 at the largest value that calibration saw, so what changes is that larger values are clipped, which
// quantisation does with every range it is given.
//
// Where a depthwise convolution reads the value it costs nothing: that has a weight scale for each channel. Where a
// convolution mixes the channels, small weights of an input channel are rounded with the scale of the largest, and the
// gain is shared: the square root of what would fill the range.
#include <algorithm>
#include <cmath>

#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {
namespace {

using kernels::Activation;

struct Pair {
  std::size_t maker, reader;
};

std::vector<Pair> pairs_of(const Graph& graph) {
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& maker = graph.nodes[i];
    const int value = maker.output;
    if (!can_be_integer(maker) || maker.residual || graph.root(graph.output) == graph.root(value)) continue;
    const Activation a = maker.activation.kind;
    if (a != Activation::none && a != Activation::relu && a != Activation::relu6) continue;
    int readers = 0;
    std::size_t reader = 0;
    for (std::size_t k = 0; k < graph.nodes.size(); ++k) {
      for (const int v : graph.nodes[k].inputs) {
        if (graph.root(v) != graph.root(value)) continue;
        ++readers;
        // A reshape may mix channels with places.
        if (v != value) ++readers;
        reader = k;
      }
    }
    if (readers != 1 || !can_be_integer(graph.nodes[reader]) || graph.nodes[reader].inputs[0] != value) continue;
    pairs.push_back({i, reader});
  }
  return pairs;
}

/// Largest magnitude of each channel.
void track(const Tensor& x, std::vector<float>& largest) {
  const std::int64_t channels = x.dim(-1), rows = x.numel() / channels;
  largest.resize(static_cast<std::size_t>(channels), 0.0f);
  const float* p = x.data<float>();
  for (std::int64_t r = 0; r < rows; ++r, p += channels) {
    for (std::int64_t c = 0; c < channels; ++c)
      largest[static_cast<std::size_t>(c)] = std::max(largest[static_cast<std::size_t>(c)], std::abs(p[c]));
  }
}

void scale_pair(Node& maker, Node& reader, const std::vector<float>& factor) {
  const auto channels = static_cast<std::int64_t>(factor.size());
  Tensor weight = maker.weight.clone();
  float* const w = weight.mutable_data<float>();
  for (std::int64_t i = 0, n = weight.numel(); i < n; ++i) w[i] *= factor[static_cast<std::size_t>(i % channels)];
  maker.weight = weight;
  if (maker.bias.defined()) {
    Tensor bias = maker.bias.clone();
    for (std::int64_t c = 0; c < channels; ++c) bias.mutable_data<float>()[c] *= factor[static_cast<std::size_t>(c)];
    maker.bias = bias;
  }
  Tensor next = reader.weight.clone();
  float* const v = next.mutable_data<float>();
  const std::int64_t columns = is_depthwise(reader) ? 1 : next.shape().dim(-1);
  for (std::int64_t i = 0, n = next.numel(); i < n; ++i)
    v[i] /= factor[static_cast<std::size_t>(i / columns % channels)];
  reader.weight = next;
}

}  // namespace

int equalize(Graph& graph, std::span<const Tensor> pictures) {
  const std::vector<Pair> pairs = pairs_of(graph);
  if (pairs.empty()) return 0;
  std::vector<std::vector<float>> largest(graph.nodes.size());
  {
    const Simulation network(graph);
    std::vector<bool> wanted(graph.nodes.size(), false);
    for (const Pair& p : pairs) wanted[p.maker] = true;
    for (const Tensor& x : pictures) {
      Simulation::Values values = network.start(x);
      for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        network.step(i, values);
        if (wanted[i]) track(values[static_cast<std::size_t>(graph.root(graph.nodes[i].output))], largest[i]);
        network.release(i, values);
      }
    }
  }
  int changed = 0;
  // Channels hardly ever used would be blown up without bound.
  constexpr float kMost = 64;
  for (const Pair& p : pairs) {
    Node &maker = graph.nodes[p.maker], &reader = graph.nodes[p.reader];
    std::vector<float> factor = largest[p.maker];
    const float whole = *std::max_element(factor.begin(), factor.end());
    bool any = false;
    for (float& f : factor) {
      const float room = f > 0 ? std::min(kMost, whole / f) : 1.0f;
      f = is_depthwise(reader) ? room : std::sqrt(room);
      any = any || f != 1.0f;
    }
    if (!any) continue;
    scale_pair(maker, reader, factor);
    ++changed;
  }
  return changed;
}

}  // namespace fovea::infer
