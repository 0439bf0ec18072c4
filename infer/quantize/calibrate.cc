// Runs over the calibration pictures: what values are, and what rounding does to their means.
#include <algorithm>

#include "core/error.h"
#include "infer/quantize/quantize_internal.h"
#include "layers/ops/shape_ops.h"

namespace fovea::infer {
namespace {

// What the values of pictures that pass together may hold.
constexpr std::int64_t kPassBytes = 32 << 20;
// What a layer reads and gives, of all pictures that its bias is corrected with.
constexpr std::int64_t kLiveBytes = 64 << 20;

}  // namespace

Tensor some_pictures(std::span<const Tensor> batches, std::int64_t count) {
  std::vector<Tensor> all, chosen;
  for (const Tensor& batch : batches) {
    for (std::int64_t i = 0; i < batch.dim(0); ++i) all.push_back(batch.slice(i, i + 1));
  }
  const auto n = static_cast<std::int64_t>(all.size());
  count = std::min(count, n);
  for (std::int64_t i = 0; i < count; ++i) chosen.push_back(all[static_cast<std::size_t>(i * n / count)]);
  return concat(chosen, 0);
}

std::pair<std::vector<Tensor>, std::vector<Tensor>> hold_out(std::span<const Tensor> batches) {
  std::vector<Tensor> seen, unseen;
  std::size_t at = 0;
  for (const Tensor& batch : batches) {
    const std::int64_t n = batch.dim(0), first = n - n / 4;
    if (n < 4) {
      (at++ % 4 == 3 ? unseen : seen).push_back(batch);
      continue;
    }
    seen.push_back(batch.slice(0, first));
    unseen.push_back(batch.slice(first, n));
  }
  if (unseen.empty()) unseen = seen;
  return {std::move(seen), std::move(unseen)};
}

std::int64_t bytes_of_values(const Graph& graph) {
  const std::vector<Shape> shapes = shapes_of(graph, graph.input_shape);
  std::int64_t bytes = 0;
  for (const Node& node : graph.nodes) bytes += shapes[static_cast<std::size_t>(node.output)].numel() * 4;
  return bytes / graph.input_shape[0];
}

std::vector<Tensor> in_passes(std::span<const Tensor> batches, std::int64_t bytes_of_each) {
  std::vector<Tensor> passes;
  for (const Tensor& batch : batches) {
    const std::int64_t n = batch.dim(0), together = std::clamp<std::int64_t>(kPassBytes / bytes_of_each, 1, n);
    for (std::int64_t i = 0; i < n; i += together) passes.push_back(batch.slice(i, std::min(n, i + together)));
  }
  return passes;
}

std::vector<Histogram> observe(const Graph& graph, std::span<const Tensor> pictures) {
  const Simulation network(graph);
  std::vector<bool> wanted(graph.memory.size(), false);
  for (const Node& node : graph.nodes) {
    if (!can_be_integer(node) && node.kind != Kind::multiply) continue;
    for (const int v : node.inputs) wanted[static_cast<std::size_t>(graph.root(v))] = true;
  }
  std::vector<Histogram> histograms(graph.memory.size());
  const auto look = [&](int value, const Simulation::Values& values) {
    const auto root = static_cast<std::size_t>(graph.root(value));
    if (wanted[root]) histograms[root].add(values[root]);
  };
  for (const Tensor& x : pictures) {
    Simulation::Values values = network.start(x);
    look(graph.input, values);
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      network.step(i, values);
      look(graph.nodes[i].output, values);
      network.release(i, values);
    }
  }
  return histograms;
}

void ChannelMeans::add(const Tensor& values) {
  const std::int64_t channels = values.dim(-1), count = values.numel() / channels;
  sums_.resize(static_cast<std::size_t>(channels), 0.0);
  const float* v = values.data<float>();
  for (std::int64_t r = 0; r < count; ++r) {
    for (double& sum : sums_) sum += static_cast<double>(*v++);
  }
  rows_ += count;
}

Tensor corrected_bias(const Tensor& bias, const ChannelMeans& want, const ChannelMeans& have) {
  const auto channels = static_cast<std::int64_t>(want.channels());
  Tensor corrected = bias.defined() ? bias.clone() : Tensor::zeros({channels});
  float* const to = corrected.mutable_data<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto at = static_cast<std::size_t>(c);
    to[c] += static_cast<float>(want[at] - have[at]);
  }
  return corrected;
}

void correct_bias(Graph& quantized, const Graph& reference, std::span<const Tensor> pictures) {
  const std::size_t n = quantized.nodes.size();
  const Simulation f32(reference);
  Simulation rounded(quantized);
  const auto correct = [&](std::size_t begin, std::size_t end, std::span<const Tensor> some) {
    // Before the activation: that is where the bias acts.
    std::vector<ChannelMeans> want(n);
    std::vector<Simulation::Values> live;
    for (const Tensor& x : some) {
      Simulation::Values values = f32.start(x);
      live.push_back(rounded.start(x));
      for (std::size_t i = 0; i < end; ++i) {
        if (i >= begin && has_integer_weights(quantized.nodes[i]))
          want[i].add(f32.result(i, values, f32.weights(i), true));
        f32.step(i, values);
        f32.release(i, values);
        if (i >= begin) continue;
        rounded.step(i, live.back());
        rounded.release(i, live.back());
      }
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (has_integer_weights(quantized.nodes[i])) {
        ChannelMeans have;
        for (const Simulation::Values& values : live) have.add(rounded.result(i, values, rounded.weights(i), true));
        quantized.nodes[i].bias = corrected_bias(quantized.nodes[i].bias, want[i], have);
        rounded.weights(i).bias = quantized.nodes[i].bias;
      }
      for (Simulation::Values& values : live) {
        rounded.step(i, values);
        rounded.release(i, values);
      }
    }
  };
  // A layer's correction needs what all pictures give it, corrected so far. Where that is much, in the first layers, a
  // part of the pictures says enough: each has thousands of pixels.
  const std::vector<Shape> shapes = shapes_of(reference, reference.input_shape);
  const auto bytes_at = [&](std::size_t i) {
    std::int64_t values = shapes[static_cast<std::size_t>(quantized.nodes[i].output)].numel();
    for (const int v : quantized.nodes[i].inputs) values += shapes[static_cast<std::size_t>(v)].numel();
    return values * 4 / reference.input_shape[0];
  };
  std::int64_t count = 0, most = 1;
  for (const Tensor& x : pictures) count += x.dim(0);
  std::size_t split = n;
  while (split > 0 && bytes_at(split - 1) * count <= kLiveBytes) --split;
  for (std::size_t i = 0; i < split; ++i) most = std::max(most, bytes_at(i));
  if (split > 0) {
    const Tensor some = some_pictures(pictures, std::max<std::int64_t>(8, kLiveBytes / most));
    correct(0, split, in_passes({&some, 1}, 4 * most));
  }
  correct(split, n, pictures);
}

}  // namespace fovea::infer
