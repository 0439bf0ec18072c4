// Post-training quantisation, all steps: equalise, observe, round, correct, and give back to f32 what hurts.
#include "infer/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "infer/quantize/captured_internal.h"
#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {
namespace {

/// Sensitivity holds all values of so many pictures, some 27 MB each for EfficientNet-Lite0 at 224; bias correction
/// those of two networks that are still needed.
constexpr std::int64_t kPicturesForSensitivity = 16, kPicturesForBias = 32;

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
Graph assemble_corrected(const Prepared& prepared, const std::vector<bool>& integer, bool correct, const Tensor& few) {
  Graph graph = assemble(prepared, integer);
  if (correct) correct_bias(graph, prepared.reference, few);
  return graph;
}

/// Takes layers out of `integer` until the noise that is left should reach the target: those first that make the most
/// noise for the time that they cost in f32. False where none is left that makes any.
bool give_back(const Prepared& prepared, const std::vector<Shape>& shapes, const std::vector<double>& noise,
               double target, std::vector<bool>& integer, std::vector<std::string>& reasons) {
  const auto value_of = [&](std::size_t i) {
    const Node& node = prepared.reference.nodes[i];
    // Multiply-adds in f32 take some four times as long; turning what it reads and gives is some 30 of them a value.
    const Shape &y = shapes[static_cast<std::size_t>(node.output)],
                &x = shapes[static_cast<std::size_t>(node.inputs[0])];
    return noise[i] / static_cast<double>(macs_of(node, y) + 30 * (y.numel() + x.numel()));
  };
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < integer.size(); ++i) {
    if (integer[i] && noise[i] > 0) order.push_back(i);
  }
  if (order.empty()) return false;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return value_of(a) > value_of(b); });
  // Noises add up where they are small; where they do not, the next call goes on.
  double left = 0;
  for (const std::size_t i : order) left += noise[i];
  const double wanted = std::pow(10.0, -target / 10);
  for (const std::size_t i : order) {
    integer[i] = false;
    char text[64];
    std::snprintf(text, sizeof text, "alone %.1f dB at the logits", -10 * std::log10(noise[i]));
    reasons[i] = text;
    left -= noise[i];
    if (left <= wanted) break;
  }
  return true;
}

void fill_result_db(const Graph& reference, const Graph& quantized, const Tensor& few, QuantizeReport& report) {
  const Simulation f32(reference), rounded(quantized);
  Simulation::Values a = f32.start(few), b = rounded.start(few);
  std::size_t at = 0;
  for (std::size_t i = 0; i < reference.nodes.size(); ++i) {
    f32.step(i, a);
    rounded.step(i, b);
    if (can_be_integer(reference.nodes[i])) {
      const auto root = static_cast<std::size_t>(reference.root(reference.nodes[i].output));
      report.layers[at++].result_db = signal_to_noise(a[root], b[root]);
    }
    f32.release(i, a);
    rounded.release(i, b);
  }
}

}  // namespace

Agreement agreement(const Tensor& f32, const Tensor& other) {
  Agreement result;
  result.db = signal_to_noise(f32, other);
  const std::int64_t classes = f32.dim(-1);
  result.pictures = classes > 0 ? f32.numel() / classes : 0;
  if (result.pictures == 0) return result;
  for (std::int64_t r = 0; r < result.pictures; ++r) {
    const float *a = f32.data<float>() + r * classes, *b = other.data<float>() + r * classes;
    const auto best = std::max_element(a, a + classes) - a;
    std::int64_t before = 0;  // classes that the other network ranks before it
    double aa = 0, bb = 0, ab = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const auto x = static_cast<double>(a[c]), y = static_cast<double>(b[c]);
      aa += x * x;
      bb += y * y;
      ab += x * y;
      if (b[c] > b[best] || (b[c] == b[best] && c < best)) ++before;
    }
    result.top1 += before == 0 ? 1 : 0;
    result.top5 += before < 5 ? 1 : 0;
    result.cosine += aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : (aa == bb ? 1 : 0);
  }
  const auto n = static_cast<double>(result.pictures);
  result.top1 /= n;
  result.top5 /= n;
  result.cosine /= n;
  return result;
}

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
  for (const Tensor& x : pictures) report.pictures += x.dim(0);
  report.f32_bytes = bytes_of(reference);
  if (options.equalize) report.equalized = equalize(reference, pictures);
  const std::vector<Histogram> histograms = observe(reference, pictures);
  for (const Histogram& h : histograms) {
    prepared.values.push_back(h.count() > 0 ? quantization_of(h.range(options.observer, options.percentile))
                                            : Quantization{});
  }
  const Tensor few = some_pictures(pictures, kPicturesForSensitivity), more = some_pictures(pictures, kPicturesForBias);
  Quantization& input = prepared.values[static_cast<std::size_t>(reference.root(reference.input))];
  if (input.scale > 0) input = quantization_of_pictures(input, few);
  const std::size_t n = reference.nodes.size();
  const std::vector<Shape> shapes = shapes_of(reference, reference.input_shape);
  std::vector<bool> integer(n, false);
  prepared.weights.resize(n);
  const std::vector<Moments> moments =
      options.round_by_results ? moments_of(reference, pictures) : std::vector<Moments>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const Node& node = reference.nodes[i];
    if (!can_be_integer(node)) continue;
    prepared.weights[i] = round_by_results(node, moments[i], options.weight_scale);
    integer[i] = std::find(options.keep_f32.begin(), options.keep_f32.end(), node.name) == options.keep_f32.end();
  }
  const std::vector<double> noise = options.measure_layers || options.target_db > 0
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
  const Tensor f32 = logits_of(reference, pictures);
  Graph quantized = assemble_corrected(prepared, integer, options.correct_bias, more);
  report.calibration = agreement(f32, logits_of(quantized, pictures));
  report.all_integer_db = report.calibration.db;
  std::vector<std::string> reasons(n);
  while (options.target_db > 0 && report.calibration.db < options.target_db) {
    if (!give_back(prepared, shapes, noise, options.target_db, integer, reasons)) break;
    quantized = assemble_corrected(prepared, integer, options.correct_bias, more);
    report.calibration = agreement(f32, logits_of(quantized, pictures));
  }
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
  options.target_db = 0;
  return quantize(model, {&x, 1}, options);
}

}  // namespace fovea::infer
