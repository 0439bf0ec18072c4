// Post-training quantisation, all steps: equalise, observe, round, correct, and give back to f32 what hurts.
#include "infer/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "infer/quantize/captured_internal.h"
#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {
namespace {

/// Sensitivity runs half the network for each layer.
constexpr std::int64_t kPicturesForSensitivity = 16, kPicturesForBias = 64;

/// The logits of all batches, [pictures, classes].
Tensor logits_of(const Graph& graph, std::span<const Tensor> pictures) {
  const Simulation network(graph);
  std::vector<float> all;
  std::int64_t rows = 0, classes = 0;
  for (const Tensor& x : pictures) {
    const Tensor y = network(x);
    rows += y.dim(0);
    classes = y.dim(-1);
    all.insert(all.end(), y.data<float>(), y.data<float>() + y.numel());
  }
  return Tensor::from<float>({rows, classes}, all);
}

std::size_t bytes_of(const Graph& graph) {
  std::size_t bytes = 0;
  for (const Node& node : graph.nodes) {
    for (const Tensor& t : {node.weight, node.weight_scale, node.bias}) bytes += t.defined() ? t.nbytes() : 0;
  }
  return bytes;
}

std::int64_t macs_of(const Node& node, const Shape& y) {
  return y.numel() / y[0] * node.weight.numel() / node.weight.dim(-1);
}

/// The graph of these nodes, biases corrected.
Graph assemble_corrected(const Prepared& prepared, const std::vector<bool>& integer, bool correct,
                         std::span<const Tensor> few) {
  Graph graph = assemble(prepared, integer);
  if (correct) correct_bias(graph, prepared.reference, few);
  return graph;
}

/// What a layer in f32 costs, in multiply-adds of integers. In f32 they take some four times as long; turning what it
/// reads and gives is some 30 of them a value, and its weights are four bytes each on their way from memory.
double price_of(const Node& node, const std::vector<Shape>& shapes) {
  const Shape &y = shapes[static_cast<std::size_t>(node.output)], &x = shapes[static_cast<std::size_t>(node.inputs[0])];
  return static_cast<double>(macs_of(node, y) + 30 * (y.numel() + x.numel() + node.weight.numel()));
}

/// Takes layers out of `integer`, those first that make the most noise for their price. It goes on while the loss to be
/// expected is more than the options allow (by then the noise left should be `share` of what it is), and while a layer
/// is expected to gain its share of kWorth, which all layers together would be worth: a classifier costs nothing and
/// may make nearly all the noise. False where there is nothing to do.
bool give_back(const Prepared& prepared, const std::vector<Shape>& shapes, const std::vector<double>& noise,
               double loss, double most_loss, double share, std::vector<bool>& integer,
               std::vector<std::string>& reasons) {
  constexpr double kWorth = 0.05;
  std::vector<std::size_t> order;
  std::vector<double> price(integer.size(), 0.0);
  double whole = 0, left = 0;
  for (std::size_t i = 0; i < integer.size(); ++i) {
    if (!can_be_integer(prepared.reference.nodes[i])) continue;
    price[i] = price_of(prepared.reference.nodes[i], shapes);
    whole += price[i];
    if (!integer[i] || noise[i] <= 0) continue;
    order.push_back(i);
    left += noise[i];
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return noise[a] / price[a] > noise[b] / price[b]; });
  // Noises add up where they are small, and losses go with their sum; where they do not, the next call goes on, so a
  // little at a time.
  const double all = left, wanted = std::max(share, 0.3) * left;
  bool any = false;
  for (const std::size_t i : order) {
    const bool gains = loss * noise[i] / all > kWorth * price[i] / whole;
    if (left <= wanted || (loss <= most_loss && !gains)) break;
    integer[i] = false;
    any = true;
    char text[64];
    std::snprintf(text, sizeof text, "alone %.1f dB at the logits", -10 * std::log10(noise[i]));
    reasons[i] = text;
    left -= noise[i];
  }
  return any;
}

void fill_result_db(const Graph& reference, const Graph& quantized, const Tensor& few, QuantizeReport& report) {
  const Simulation f32(reference), rounded(quantized);
  std::vector<Noise> noise(reference.nodes.size());
  for (const Tensor& x : in_passes({&few, 1}, bytes_of_values(reference))) {
    Simulation::Values a = f32.start(x), b = rounded.start(x);
    for (std::size_t i = 0; i < reference.nodes.size(); ++i) {
      f32.step(i, a);
      rounded.step(i, b);
      const auto root = static_cast<std::size_t>(reference.root(reference.nodes[i].output));
      if (can_be_integer(reference.nodes[i])) noise[i].add(a[root], b[root]);
      f32.release(i, a);
      rounded.release(i, b);
    }
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < reference.nodes.size(); ++i) {
    if (can_be_integer(reference.nodes[i])) report.layers[at++].result_db = noise[i].db();
  }
}

}  // namespace

QuantizedModel::QuantizedModel(std::shared_ptr<const NetworkFile> file, QuantizeReport report)
    : file_(std::move(file)), report_(std::move(report)) {}

Network QuantizedModel::network(DType dtype) const { return {NetworkFile(*file_), dtype}; }

Tensor QuantizedModel::simulate(const Tensor& x) const {
  const InferenceMode inference;
  const NoGrad no_grad;
  return Simulation(file_->graph)(x);
}

void save(const QuantizedModel& model, const std::string& path) { write_network(model.file(), path); }

QuantizedModel quantize(const Model& model, std::span<const Tensor> pictures, const QuantizeOptions& options) {
  if (pictures.empty() || pictures[0].dim(0) == 0) {
    throw Error(ErrorKind::usage, "quantize", "there are no pictures to calibrate with", "64 to 512 are enough");
  }
  const InferenceMode inference;
  const NoGrad no_grad;
  NetworkFile file = captured(model);
  Prepared prepared;
  Graph& reference = prepared.reference;
  reference = file.graph;
  QuantizeReport report;
  // Of values that are let go when they were read, about a quarter is there at once.
  const std::int64_t at_once = bytes_of_values(reference) / 4;
  const auto [seen, unseen] = [&] {
    auto [some, others] = hold_out(pictures);
    return std::pair(in_passes(some, at_once), in_passes(others, at_once));
  }();
  for (const Tensor& x : seen) report.pictures += x.dim(0);
  report.f32_bytes = bytes_of(reference);
  if (options.equalize) report.equalized = equalize(reference, seen);
  const std::vector<Histogram> histograms = observe(reference, seen);
  for (const Histogram& h : histograms) {
    prepared.values.push_back(h.count() > 0 ? quantization_of(h.range(options.observer, options.percentile))
                                            : Quantization{});
  }
  const Tensor few = some_pictures(unseen, kPicturesForSensitivity);
  const Tensor for_bias = some_pictures(seen, kPicturesForBias);
  const std::vector<Tensor> more = in_passes({&for_bias, 1}, at_once);
  Quantization& input = prepared.values[static_cast<std::size_t>(reference.root(reference.input))];
  if (input.scale > 0) input = quantization_of_pictures(input, few);
  const std::size_t n = reference.nodes.size();
  const std::vector<Shape> shapes = shapes_of(reference, reference.input_shape);
  std::vector<bool> integer(n, false);
  prepared.weights.resize(n);
  const std::vector<Moments> moments = options.round_by_results ? moments_of(reference, seen) : std::vector<Moments>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const Node& node = reference.nodes[i];
    if (!can_be_integer(node)) continue;
    prepared.weights[i] = round_by_results(node, moments[i], options.weight_scale);
    integer[i] = std::find(options.keep_f32.begin(), options.keep_f32.end(), node.name) == options.keep_f32.end();
  }
  const std::vector<double> noise = options.measure_layers || options.most_loss < 1
                                        ? sensitivity(prepared, few, options.correct_bias)
                                        : std::vector<double>(n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const Node& node = reference.nodes[i];
    if (!can_be_integer(node)) continue;
    QuantizedLayer layer;
    layer.name = node.name;
    layer.kind = is_depthwise(node) ? "depthwise" : to_string(node.kind);
    layer.macs = macs_of(node, shapes[static_cast<std::size_t>(node.output)]);
    Node rounded = node;
    rounded.weight = prepared.weights[i].weight;
    rounded.weight_scale = prepared.weights[i].scale;
    layer.weight_db = signal_to_noise(node.weight, real_weight(rounded));
    layer.alone_db = noise[i] > 0 ? -10 * std::log10(noise[i]) : 200;
    if (!integer[i]) layer.reason = "as asked";
    report.layers.push_back(std::move(layer));
  }
  const Tensor f32 = logits_of(reference, in_passes(pictures, at_once)), want = logits_of(reference, unseen);
  Graph quantized;
  Tensor have;
  const auto assemble_again = [&, &unseen = unseen] {
    quantized = assemble_corrected(prepared, integer, options.correct_bias, more);
    have = logits_of(quantized, unseen);
    report.expected_loss = expected_loss(f32, want, have);
  };
  assemble_again();
  report.all_integer_loss = report.expected_loss;
  std::vector<std::string> reasons(n);
  while (options.most_loss < 1) {
    const double factor = tolerable_factor(f32, want, have, options.most_loss);
    if (!give_back(prepared, shapes, noise, report.expected_loss, options.most_loss, factor * factor, integer, reasons))
      break;
    assemble_again();
  }
  report.held_out = agreement(want, have);
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!can_be_integer(reference.nodes[i])) continue;
    QuantizedLayer& layer = report.layers[at++];
    layer.quantized = integer[i];
    if (!reasons[i].empty()) layer.reason = reasons[i];
  }
  report.bytes = bytes_of(quantized);
  if (options.measure_layers) fill_result_db(reference, quantized, few, report);
  file.graph = std::move(quantized);
  return {std::make_shared<const NetworkFile>(std::move(file)), std::move(report)};
}

QuantizedModel quantize_on_noise(const Model& model, std::uint64_t seed) {
  const image::Preprocessing& p = model.preprocessing;
  Tensor x({2, p.height, p.width, p.channels});
  Rng rng(seed, "quantize");
  for (float *v = x.mutable_data<float>(), *end = v + x.numel(); v != end; ++v) *v = static_cast<float>(rng.normal());
  QuantizeOptions options;
  options.observer = Observer::min_max;
  options.weight_scale = WeightScale::max;
  options.round_by_results = options.correct_bias = options.measure_layers = false;
  options.most_loss = 1;
  return quantize(model, {&x, 1}, options);
}

}  // namespace fovea::infer
