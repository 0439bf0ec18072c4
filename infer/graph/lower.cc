// Planning, once per input shape: which nodes make one step, which kernel runs it, where values lie.
#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "infer/graph/lower_internal.h"
#include "infer/graph/slices_internal.h"
#include "infer/runtime/steps_internal.h"

namespace fovea::infer {
namespace {

using detail::Places;
using detail::Pointers;
using detail::Program;
using kernels::Activation;
using kernels::simd::Element;

/// What a listing says, in few words because three stand on a line: "conv + bn + relu6".
std::string text_of(const Node& node) {
  std::string text(node.kind != Kind::conv2d ? to_string(node.kind)
                   : node.conv.groups > 1    ? (node.weight_shape[2] == 1 ? "depthwise" : "grouped conv")
                                             : "conv");
  for (const std::string& part : node.fused) text += " + " + (part == "batch_norm" ? "bn" : part);
  return text;
}

/// Plans one graph for one input shape.
class Planner {
 public:
  /// The nodes up to `end` (0: all) on so many threads.
  Planner(std::shared_ptr<const Lowered> lowered, const Shape& input, int threads, std::size_t end = 0)
      : lowered_(std::move(lowered)),
        graph_(lowered_->graph),
        program_(std::make_shared<Program>()),
        threads_(threads),
        end_(end > 0 ? end : graph_.nodes.size()) {
    shapes_ = shapes_of(graph_, input);
    const int output = end > 0 ? graph_.nodes[end - 1].output : graph_.output;
    program_->input_shape = input;
    program_->output_shape = shape(output);
    program_->input = graph_.root(graph_.input);
    program_->output = graph_.root(output);
    if (program_->input == program_->output) {
      throw Error(ErrorKind::usage, "compile", "the network computes nothing");
    }
    program_->weight_bytes = lowered_->weight_bytes;
  }

  std::shared_ptr<const Program> run() {
    std::size_t start = 0;
    if (end_ == graph_.nodes.size()) start = picture_nodes();
    if (start > 0) by_picture(start);
    slices_ = find_slices(graph_, shapes_, start, end_, [&](std::size_t i) { return writes_slices(i); });
    for (std::size_t i = start; i < end_;) {
      if (is_in_place(graph_.nodes[i])) {
        ++i;
        continue;
      }
      const bool gates = gates_projection(i);
      const std::size_t count = gates ? 2 : chain_length(i);
      const Node &first = graph_.nodes[i], &last = graph_.nodes[i + count - 1];
      std::unique_ptr<detail::Step> step = gates ? gated_projection(i) : count > 1 ? chain(i, count) : make(i);
      step->info.name = (gates ? last : first).name;  // whoever looks for the multiply-adds looks for the convolution
      step->info.output = shape(last.output);
      step->info.type = type_of(i);
      for (std::size_t k = i; k < i + count; ++k) {
        step->info.op += (k > i ? " → " : "") + text_of(graph_.nodes[k]);
        step->info.macs += macs(graph_.nodes[k]);
      }
      program_->steps.push_back(std::move(step));
      spans_.push_back({i, i + count});
      i += count;
    }
    for (const auto& [node, forms] : lowered_->forms) {
      for (const Tensor& form : {forms.panels, forms.winograd})
        program_->weight_bytes += form.defined() ? form.nbytes() : 0;
    }
    plan_memory();
    return program_;
  }

 private:
  const Shape& shape(int value) const { return shapes_[static_cast<std::size_t>(value)]; }

  std::int64_t macs(const Node& node) const {
    if (node.kind == Kind::conv2d || node.kind == Kind::dense)
      return shape(node.output).numel() * node.weight_shape.numel() / node.weight_shape.dim(-1);
    return 0;
  }

  /// What node i multiplies; where it has no weights, what it reads: all but the average is computed in f32.
  std::string type_of(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    const bool as_it_lies = averages(node) || is_gate(node) ||
                            ((node.kind == Kind::pool2d || joins_channels(graph_, node, shapes_)) && in_floats(i));
    const Element e = as_it_lies ? element(node.inputs[0]) : lowered_->packed[i].in;
    return e == Element::u8 ? "int8" : e == Element::bf16 ? "bf16" : "f32";
  }

  /// How many nodes from the first on are done picture by picture: those whose maps, of a batch, would leave the caches
  /// while their weights do not. 0: none.
  std::size_t picture_nodes() const {
    const std::int64_t pictures = program_->input_shape[0];
    if (program_->input_shape.rank() != 4 || pictures < 2 || (pictures % threads_ != 0 && pictures < 16 * threads_))
      return 0;
    std::size_t end = 0;
    std::size_t weights = 0;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const std::size_t own = lowered_->packed[i].weight_bytes();
      weights += own;
      if (weights > kPictureWeights) break;
      const std::size_t maps = bytes_of(node.output) + bytes_of(node.inputs[0]);
      if (maps / static_cast<std::size_t>(pictures) > std::max<std::size_t>(own, kStaysInCache)) end = i + 1;
    }
    // Then up to where one value goes on, not inside an inverted residual.
    for (; end > 0 && end < graph_.nodes.size(); ++end) {
      if (lowered_->packed[end].depthwise || lowered_->packed[end - 1].depthwise) continue;
      if (only_value_across(end) && graph_.root(graph_.output) != graph_.nodes[end - 1].output) break;
    }
    if (end == graph_.nodes.size() && graph_.nodes.back().output != graph_.root(graph_.output)) return 0;
    return end;
  }

  /// Nodes from `end` on read nothing of what is there before but the result of the node before them.
  bool only_value_across(std::size_t end) const {
    std::vector<bool> may_read(graph_.memory.size(), true);
    for (std::size_t i = 0; i + 1 < end; ++i) may_read[static_cast<std::size_t>(graph_.nodes[i].output)] = false;
    may_read[static_cast<std::size_t>(graph_.root(graph_.input))] = false;
    return std::all_of(graph_.nodes.begin() + static_cast<std::ptrdiff_t>(end), graph_.nodes.end(), [&](const Node& n) {
      return std::all_of(n.inputs.begin(), n.inputs.end(),
                         [&](int v) { return may_read[static_cast<std::size_t>(graph_.root(v))]; });
    });
  }

  std::size_t bytes_of(int value) const {
    return static_cast<std::size_t>(shape(value).numel() * kernels::simd::bytes_of(element(value)));
  }

  void by_picture(std::size_t end) {
    const std::int64_t pictures = program_->input_shape[0];
    const int lanes = static_cast<int>(std::min<std::int64_t>(threads_, pictures));
    const Shape& all = program_->input_shape;
    const Shape one{1, all[1], all[2], all[3]};
    std::shared_ptr<const Program> each = Planner(lowered_, one, 1, end).run();
    const int output = graph_.nodes[end - 1].output;
    const auto count = static_cast<std::size_t>(pictures);
    const std::size_t memory = detail::picture_lane_bytes(*each) * static_cast<std::size_t>(lanes);
    auto step = detail::picture_step(each, pictures, lanes, bytes_of(graph_.input) / count, bytes_of(output) / count,
                                     temporary(static_cast<std::int64_t>(memory / sizeof(float))),
                                     {program_->input, graph_.root(output), -1});
    step->info.name = "each picture";
    step->info.op = str(each->steps.size(), " steps");
    step->info.type = each->steps.back()->info.type;
    step->info.output = shape(output);
    for (std::size_t k = 0; k < end; ++k) step->info.macs += macs(graph_.nodes[k]);
    program_->steps.push_back(std::move(step));
    spans_.push_back({0, end});
  }

  /// How many nodes from i on run as one step: a convolution, a depthwise one and a 1×1 one (or only the first two)
  /// where the map between them would leave the caches, or where each thread has pictures of its own.
  std::size_t chain_length(std::size_t i) const {
    if (!is_conv(i) || i + 1 >= end_ || !lowered_->packed[i + 1].depthwise || !fits(i + 1)) return 1;
    const Node &first = graph_.nodes[i], &second = graph_.nodes[i + 1];
    if (first.residual || !feeds_only(i, i + 1)) return 1;
    const Shape& mid = shape(first.output);
    const std::int64_t map_bytes = mid[1] * mid[2] * mid[3] * kernels::simd::bytes_of(element(first.output));
    // A thread that has few rows passes all weights over them once more for each band, and makes more rows twice.
    const std::int64_t rows = shape(second.output)[1];
    const std::int64_t weight_bytes = first.weight_shape.numel() * kernels::simd::bytes_of(lowered_->packed[i].in);
    const bool large =
        map_bytes > kStaysInCache && (rows >= 8 * threads_ || (rows >= 7 * threads_ && weight_bytes <= kLightWeights));
    const bool pictures = mid[0] >= threads_ && mid[0] * map_bytes > kStaysInCache;
    if (!large && !pictures) return shares_panels(i) ? 2 : 1;
    const bool projects = projects_pixels(i + 2) && feeds_only(i + 1, i + 2);
    // MobileNetV1: the projection of one block is the expansion of the next.
    const bool expands = i + 3 < end_ && lowered_->packed[i + 3].depthwise && feeds_only(i + 2, i + 3);
    return projects && !expands ? 3 : 2;
  }

  /// A small map's convolution and the depthwise one behind it where pixels lie a multiple of 2048 bytes apart: they
  /// compete for the same places of L1 (14×14×512 alone: 29 GFLOP/s on a core, 62 with another pitch, and MobileNetV1
  /// consists of such). Elsewhere two steps are as fast. Panels of channels must divide among the threads.
  bool shares_panels(std::size_t i) const {
    const Node& first = graph_.nodes[i];
    const Element kept = element(first.output);
    const std::int64_t channels = shape(first.output)[3];
    if (channels * kernels::simd::bytes_of(kept) % 2048 != 0) return false;
    const std::int64_t width = kernels::simd::panel_width() * (kept == Element::u8 ? 2 : 1);
    const std::int64_t panels = (channels + width - 1) / width, most = (panels + threads_ - 1) / threads_;
    return panels >= threads_ && most * threads_ * 100 <= panels * 107;
  }

  /// Node i is a convolution with a planned kernel.
  bool is_conv(std::size_t i) const {
    return i < end_ && lowered_->packed[i].panels && graph_.nodes[i].kind == Kind::conv2d && fits(i);
  }

  /// A 1×1 one of each pixel.
  bool projects_pixels(std::size_t i) const {
    if (!is_conv(i)) return false;
    const Node& node = graph_.nodes[i];
    const Shape &x = shape(node.inputs[0]), &y = shape(node.output);
    return node.weight_shape[0] == 1 && node.weight_shape[1] == 1 && node.conv.stride == kernels::Size2{1, 1} &&
           y[1] == x[1] && y[2] == x[2];
  }

  /// Node i multiplies the channels of one picture, which the 1×1 convolution behind it alone reads, and the
  /// convolution's weights are fewer values.
  bool gates_projection(std::size_t i) const {
    const Node& gate = graph_.nodes[i];
    if (gate.kind != Kind::multiply || !projects_pixels(i + 1) || !feeds_only(i, i + 1)) return false;
    const Shape& x = shape(gate.inputs[0]);
    const bool floats =
        in_floats(i) && element(gate.output) == Element::f32 && lowered_->packed[i + 1].in == Element::f32;
    return floats && x.rank() == 4 && x == shape(gate.output) && x[0] == 1 &&
           shape(gate.inputs[1]) == Shape{1, 1, 1, x[3]} &&
           x[1] * x[2] >= kGatedPixels * graph_.nodes[i + 1].weight_shape[3];
  }

  std::unique_ptr<detail::Step> gated_projection(std::size_t i) {
    const Node &gate = graph_.nodes[i], &conv = graph_.nodes[i + 1];
    const Shape& w = conv.weight_shape;
    Places places = places_of(conv);
    places.in = graph_.root(gate.inputs[0]);
    return detail::gated_conv_step(conv_part(i + 1), places, graph_.root(gate.inputs[1]),
                                   temporary(kernels::simd::planned_floats(w[2], w[2], w[3])));
  }

  /// Node i's operand and result lie in memory as its kernel takes and gives them.
  bool fits(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    const PackedNode& p = lowered_->packed[i];
    return p.source == element(node.inputs[0]) && p.out == element(node.output) &&
           (!node.residual || p.out == element(node.inputs.back()));
  }

  /// Node b's picture is node a's result, which nothing else reads.
  bool feeds_only(std::size_t a, std::size_t b) const {
    const int value = graph_.nodes[a].output;
    if (program_->output == value || graph_.root(graph_.output) == value || graph_.nodes[b].inputs[0] != value)
      return false;
    return reads_of(graph_, value) == 1;
  }

  detail::ConvGeometry geometry(const Node& node) const {
    const Shape &x = shape(node.inputs[0]), &w = node.weight_shape;
    detail::ConvGeometry g{x, shape(node.output), w[0], w[1], node.conv};
    g.params.padding =
        kernels::resolve_padding(node.conv.padding, x[1], x[2], w[0], w[1], node.conv.stride, node.conv.dilation);
    return g;
  }

  detail::ConvPart conv_part(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    const PackedNode& p = lowered_->packed[i];
    return {geometry(node), panels_of(i), p.bias, node.activation, p.source, p.in, p.out, p.int8};
  }

  std::unique_ptr<detail::Step> chain(std::size_t i, std::size_t count) {
    const Node &first = graph_.nodes[i], &second = graph_.nodes[i + 1], &last = graph_.nodes[i + count - 1];
    const PackedNode& filters = lowered_->packed[i + 1];
    detail::DepthwisePart depthwise(geometry(second), filters.weights, filters.bias, second.activation, filters.in,
                                    filters.int8);
    const Places places{graph_.root(first.inputs[0]), last.output,
                        last.residual ? graph_.root(last.inputs.back()) : -1};
    return detail::chain_step(conv_part(i), std::move(depthwise),
                              count == 3 ? std::optional(conv_part(i + 2)) : std::nullopt, places);
  }

  std::unique_ptr<detail::Step> make(std::size_t i) {
    const Node& node = graph_.nodes[i];
    const PackedNode& packed = lowered_->packed[i];
    if (packed.raw.defined() && winograd_pays(node)) {
      Tensor& transformed = lowered_->forms[i].winograd;
      if (!transformed.defined()) transformed = detail::pack_winograd_weights(packed.raw);
      return detail::winograd_step(geometry(node), transformed, packed.bias, node.activation, places_of(node));
    }
    if (node.kind == Kind::pool2d && in_floats(i)) {
      const Shape& x = shape(node.inputs[0]);
      return detail::pool_step(x, shape(node.output), kernels::resolve_pool2d(node.pool, x), element(node.output),
                               places_of(node));
    }
    if (joins_channels(graph_, node, shapes_) && in_floats(i)) return concatenation(node);
    if (packed.panels && fits(i)) return convolution(i, places_of(node));
    if (packed.depthwise && fits(i)) return depthwise(i, places_of(node));
    if (averages(node) && element(node.inputs[0]) != Element::f32) {
      return detail::average_step(shape(node.inputs[0]), element(node.inputs[0]), element(node.output),
                                  graph_.quantization_of(node.inputs[0]), graph_.quantization_of(node.output),
                                  places_of(node));
    }
    if (is_gate(node)) {
      return detail::gate_step(shape(node.output), graph_.quantization_of(node.inputs[0]),
                               graph_.quantization_of(node.output), places_of(node), graph_.root(node.inputs[1]));
    }
    return converted(i);
  }

  /// The mean over all pixels.
  static bool averages(const Node& node) {
    return node.kind == Kind::global_average_pool ||
           (node.kind == Kind::adaptive_average_pool && node.size == kernels::Size2{1, 1});
  }

  /// A map in u8 times one f32 for each channel.
  bool is_gate(const Node& node) const {
    if (node.kind != Kind::multiply) return false;
    const Shape &x = shape(node.inputs[0]), &gate = shape(node.inputs[1]), &y = shape(node.output);
    return y.rank() == 4 && x == y && gate == Shape{y[0], 1, 1, y[3]} && element(node.inputs[0]) == Element::u8 &&
           element(node.inputs[1]) == Element::f32 && element(node.output) == Element::u8;
  }

  Places places_of(const Node& node) const {
    Places places{graph_.root(node.inputs[0]), node.output, node.residual ? graph_.root(node.inputs.back()) : -1};
    if (const auto slice = slices_.find(node.output); slice != slices_.end()) {
      places.out = slice->second.value;
      places.out_offset = slice->second.offset;
      places.out_pitch = slice->second.pitch;
    }
    return places;
  }

  /// Operands and result of node i are all f32 or all bf16.
  bool in_floats(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    const Element kept = element(node.output);
    return kept != Element::u8 &&
           std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) { return element(v) == kept; });
  }

  /// Node i's kernel can leave room between the pixels of its result.
  bool writes_slices(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    if (node.kind == Kind::pool2d || node.kind == Kind::concat) return in_floats(i);
    const PackedNode& p = lowered_->packed[i];
    return node.kind == Kind::conv2d && p.panels && fits(i) && p.out != Element::u8 &&
           !(p.raw.defined() && winograd_pays(node)) && !(i > 0 && lowered_->packed[i - 1].depthwise);
  }

  /// A concatenation all of whose parts are made where they belong.
  bool is_in_place(const Node& node) const {
    return node.kind == Kind::concat &&
           std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) { return slices_.contains(graph_.root(v)); });
  }

  std::unique_ptr<detail::Step> concatenation(const Node& node) const {
    std::vector<detail::Part> parts;
    std::int64_t offset = 0;
    for (const int v : node.inputs) {
      const std::int64_t channels = shape(v)[3];
      if (!slices_.contains(graph_.root(v))) parts.push_back({graph_.root(v), channels, offset});
      offset += channels;
    }
    const Shape& y = shape(node.output);
    return detail::concat_step(std::move(parts), y[0] * y[1] * y[2], y[3], element(node.output), places_of(node));
  }

  /// Measured: twice as fast as directly from 14×14 on. At 7×7 only while its weights, 16/9 of the plain ones, stay in
  /// L2: 512 channels took 1.18 ms beside 0.86 on an Intel Xeon. Tiles of 2×2 that hang over the edge are computed
  /// whole.
  bool winograd_pays(const Node& node) const {
    const Shape &x = shape(node.inputs[0]), &y = shape(node.output);
    const std::int64_t tiles = (y[1] + 1) / 2 * ((y[2] + 1) / 2), bytes = 16 * x[3] * y[3] * 4;
    return y[0] * tiles >= (bytes > 1 << 20 ? 17 : 16) && 16 * tiles <= 7 * y[1] * y[2] &&
           element(node.inputs[0]) == Element::f32 && element(node.output) == Element::f32 &&
           (!node.residual || element(node.inputs.back()) == Element::f32);
  }

  Tensor panels_of(std::size_t i) const {
    const PackedNode& packed = lowered_->packed[i];
    if (!packed.raw.defined()) return packed.weights;
    Tensor& panels = lowered_->forms[i].panels;
    const Shape& w = packed.raw.shape();
    if (!panels.defined())
      panels = detail::pack_panels(packed.raw.data<float>(), w[0], w[1] * w[2], w[3], Element::f32);
    return panels;
  }

  std::unique_ptr<detail::Step> convolution(std::size_t i, Places places) const {
    const Node& node = graph_.nodes[i];
    if (node.kind == Kind::conv2d) return detail::conv_step(conv_part(i), places);
    const PackedNode& p = lowered_->packed[i];
    const std::int64_t k = node.weight_shape[0], n = node.weight_shape[1];
    const std::int64_t rows = shape(node.output).numel() / std::max<std::int64_t>(1, n);
    const detail::ConvGeometry g{Shape{rows, 1, 1, k}, Shape{rows, 1, 1, n}, 1, 1, {}};
    return detail::conv_step({g, panels_of(i), p.bias, node.activation, p.source, p.in, p.out, p.int8}, places);
  }

  std::unique_ptr<detail::Step> depthwise(std::size_t i, Places places) const {
    const Node& node = graph_.nodes[i];
    const PackedNode& p = lowered_->packed[i];
    return detail::depthwise_step({geometry(node), p.weights, p.bias, node.activation, p.in, p.int8}, places);
  }

  /// A step whose operands or result are not kept as its kernel takes and gives them: they are converted before and
  /// after, in places of their own. What has no planned kernel computes in f32.
  std::unique_ptr<detail::Step> converted(std::size_t i) {
    const Node& node = graph_.nodes[i];
    const PackedNode& packed = lowered_->packed[i];
    const bool planned = packed.panels || packed.depthwise;
    struct Copy {
      std::size_t from, to;
      Element have, wanted;
      Quantization quantization;
      std::int64_t count;
    };
    std::vector<Copy> before;
    std::optional<Copy> after;
    std::map<std::pair<int, Element>, int> moved;
    const auto as = [&](int v, Element wanted) {
      const int root = graph_.root(v);
      if (element(v) == wanted) return root;
      const auto [found, fresh] = moved.try_emplace({root, wanted}, -1);
      if (fresh) {
        found->second = temporary(shape(v).numel());
        before.push_back({static_cast<std::size_t>(root), static_cast<std::size_t>(found->second), element(v), wanted,
                          graph_.quantization_of(v), shape(v).numel()});
      }
      return found->second;
    };
    const Element gives = planned ? packed.out : Element::f32;
    Places places{as(node.inputs[0], planned ? packed.source : Element::f32), node.output,
                  node.residual ? as(node.inputs.back(), gives) : -1};
    if (!planned) {
      for (const int v : node.inputs) as(v, Element::f32);
    }
    if (element(node.output) != gives) {
      places.out = temporary(shape(node.output).numel());
      after = {static_cast<std::size_t>(places.out),
               static_cast<std::size_t>(node.output),
               gives,
               element(node.output),
               graph_.quantization_of(node.output),
               shape(node.output).numel()};
    }
    std::unique_ptr<detail::Step> step =
        packed.panels      ? convolution(i, places)
        : packed.depthwise ? depthwise(i, places)
                           : library_step(node, packed, operands_of(node, [&](int v) { return as(v, Element::f32); }),
                                          {places.out, shape(node.output)},
                                          node.kind == Kind::conv2d ? geometry(node).params : node.conv);
    if (before.empty() && !after) return step;
    std::shared_ptr<detail::Step> inner = std::move(step);
    std::unique_ptr<detail::Step> wrapped = detail::kernel_step([inner, before, after](Pointers at) {
      const auto copy = [&](const Copy& c) {
        detail::convert(at[c.from], c.have, at[c.to], c.wanted, c.quantization, c.count);
      };
      for (const Copy& c : before) copy(c);
      inner->run(at);
      if (after) copy(*after);
    });
    wrapped->info.kernel = inner->info.kernel + " (f32)";
    return wrapped;
  }

  std::vector<StepOperand> operands_of(const Node& node, const std::function<int(int)>& place_of) const {
    std::vector<StepOperand> operands;
    for (const int v : node.inputs) operands.push_back({place_of(v), shape(v)});
    return operands;
  }

  /// The value in whose memory a value lies.
  int home_of(int value) const {
    const auto slice = slices_.find(value);
    return slice == slices_.end() ? value : slice->second.value;
  }

  /// A place that only the step being made uses.
  int temporary(std::int64_t count) {
    const int step = static_cast<int>(program_->steps.size());
    temporaries_.push_back({static_cast<int>(graph_.memory.size() + temporaries_.size()), step, step,
                            static_cast<std::size_t>(count) * sizeof(float)});
    return temporaries_.back().value;
  }

  Element element(int value) const { return lowered_->element_of(value); }

  void plan_memory() {
    const std::size_t values = graph_.memory.size() + temporaries_.size();
    std::vector<detail::Interval> alive(values);
    for (std::size_t step = 0; step < spans_.size(); ++step) {
      const int home = home_of(graph_.nodes[spans_[step].end - 1].output);
      detail::Interval& made = alive[static_cast<std::size_t>(home)];
      if (made.bytes == 0) made.first = static_cast<int>(step);  // else its first part was made before
      made.value = home;
      made.last = static_cast<int>(step);
      made.bytes = bytes_of(home);
      for (std::size_t i = spans_[step].begin; i < spans_[step].end; ++i) {
        for (const int v : graph_.nodes[i].inputs)
          alive[static_cast<std::size_t>(home_of(graph_.root(v)))].last = static_cast<int>(step);
      }
    }
    for (const detail::Interval& t : temporaries_) alive[static_cast<std::size_t>(t.value)] = t;
    program_->offsets.assign(values, Program::kNowhere);
    std::erase_if(alive, [&](const detail::Interval& i) { return i.bytes == 0 || i.value == program_->output; });
    program_->arena_bytes = detail::place(std::move(alive), program_->offsets);
  }

  /// Nodes that make up one step.
  struct Span {
    std::size_t begin, end;
  };
  /// Maps up to this size are still in L2 when the next step reads them.
  static constexpr std::int64_t kStaysInCache = 384 << 10;
  static constexpr std::int64_t kLightWeights = 64 << 10;
  /// Pixels for each result channel from which gated weights pay: 14×14 of 480 channels to 80 took 62 beside 57 µs,
  /// 28×28 of 240 to 40 took 61 beside 79.
  static constexpr std::int64_t kGatedPixels = 4;
  /// Weights that pictures one after the other still find in L3.
  static constexpr std::size_t kPictureWeights = 8 << 20;
  std::shared_ptr<const Lowered> lowered_;
  const Graph& graph_;
  std::shared_ptr<Program> program_;
  int threads_;
  std::size_t end_;
  std::vector<Shape> shapes_;
  std::vector<Span> spans_;
  std::map<int, Slice> slices_;
  std::vector<detail::Interval> temporaries_;
};

}  // namespace

std::shared_ptr<const detail::Program> plan_for(const std::shared_ptr<const Lowered>& lowered, const Shape& input) {
  return Planner(lowered, input, num_threads()).run();
}

}  // namespace fovea::infer
