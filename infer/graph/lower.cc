// Planning, once per input shape: which nodes make one step, which kernel runs it, where values lie.
#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "infer/graph/grouping_internal.h"
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
class Planner : private Grouping {
 public:
  /// The nodes up to `end` (0: all) on so many threads.
  Planner(const std::shared_ptr<const Lowered>& lowered, const Shape& input, int threads, std::size_t end = 0)
      : Grouping(lowered, input, threads, end > 0 ? end : lowered->graph.nodes.size()),
        program_(std::make_shared<Program>()) {
    program_->input_shape = input;
    program_->output_shape = shape(output_);
    program_->input = graph_.root(graph_.input);
    program_->output = output_;
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
      const std::size_t chained = chain_length(i), together = rows_length(i);
      const std::size_t count = gates ? 2 : std::max(chained, together);
      const Node &first = graph_.nodes[i], &last = graph_.nodes[i + count - 1];
      std::unique_ptr<detail::Step> step = gates          ? gated_projection(i)
                                           : chained > 1  ? chain(i, count)
                                           : together > 1 ? rows(i, count)
                                                          : make(i);
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

  std::unique_ptr<detail::Step> gated_projection(std::size_t i) {
    const Node &gate = graph_.nodes[i], &conv = graph_.nodes[i + 1];
    const Shape& w = conv.weight_shape;
    Places places = places_of(conv);
    places.in = graph_.root(gate.inputs[0]);
    return detail::gated_conv_step(conv_part(i + 1), places, graph_.root(gate.inputs[1]),
                                   temporary(kernels::simd::planned_floats(w[2], w[2], w[3])));
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

  detail::DepthwisePart depthwise_part(std::size_t i) const {
    const Node& node = graph_.nodes[i];
    const PackedNode& p = lowered_->packed[i];
    return {geometry(node), p.weights, p.bias, node.activation, p.in, p.int8};
  }

  std::unique_ptr<detail::Step> chain(std::size_t i, std::size_t count) const {
    const Node &first = graph_.nodes[i], &last = graph_.nodes[i + count - 1];
    const Places places{graph_.root(first.inputs[0]), last.output,
                        last.residual ? graph_.root(last.inputs.back()) : -1};
    return detail::chain_step(conv_part(i), depthwise_part(i + 1),
                              count == 3 ? std::optional(conv_part(i + 2)) : std::nullopt, places);
  }

  std::unique_ptr<detail::Step> rows(std::size_t i, std::size_t count) const {
    std::optional<detail::DepthwisePart> depthwise;
    if (lowered_->packed[i].depthwise) depthwise = depthwise_part(i);
    std::vector<detail::RowsConv> convs;
    for (std::size_t k = i + (depthwise ? 1 : 0); k < i + count; ++k) {
      const Node& node = graph_.nodes[k];
      const bool kept = k + 1 == i + count || is_read_behind(node.output, i + count);
      convs.push_back({conv_part(k), kept ? node.output : -1, node.residual ? graph_.root(node.inputs.back()) : -1});
    }
    return detail::rows_step(std::move(depthwise), std::move(convs), graph_.root(graph_.nodes[i].inputs[0]));
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

  Places places_of(const Node& node) const {
    Places places{graph_.root(node.inputs[0]), node.output, node.residual ? graph_.root(node.inputs.back()) : -1};
    if (const auto slice = slices_.find(node.output); slice != slices_.end()) {
      places.out = slice->second.value;
      places.out_offset = slice->second.offset;
      places.out_pitch = slice->second.pitch;
    }
    return places;
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
    return detail::depthwise_step(depthwise_part(i), places);
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

  void plan_memory() {
    const std::size_t values = graph_.memory.size() + temporaries_.size();
    std::vector<detail::Interval> alive(values);
    for (std::size_t step = 0; step < spans_.size(); ++step) {
      for (std::size_t i = spans_[step].begin; i < spans_[step].end; ++i) {
        const int value = graph_.nodes[i].output;
        if (i + 1 < spans_[step].end && !is_read_behind(value, spans_[step].end)) continue;
        const int home = home_of(value);
        detail::Interval& made = alive[static_cast<std::size_t>(home)];
        if (made.bytes == 0) made.first = static_cast<int>(step);  // else its first part was made before
        made.value = home;
        made.last = static_cast<int>(step);
        made.bytes = bytes_of(home);
      }
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
  std::shared_ptr<Program> program_;
  std::vector<Span> spans_;
  std::vector<detail::Interval> temporaries_;
};

}  // namespace

std::shared_ptr<const detail::Program> plan_for(const std::shared_ptr<const Lowered>& lowered, const Shape& input) {
  return Planner(lowered, input, num_threads()).run();
}

}  // namespace fovea::infer
