// What is worth doing together: blocks of large maps in bands, small ones row by row or by panels of channels, pictures
// of a batch one by one. The rules are measured; steps_internal.h says what each kind of step does.
#include "infer/graph/grouping_internal.h"

#include <algorithm>

namespace fovea::infer {

using kernels::simd::Element;

namespace {

// Maps up to this size are still in L2 when the next step reads them.
constexpr std::int64_t kStaysInCache = 384 << 10;
constexpr std::int64_t kLightWeights = 64 << 10;
// Pixels for each result channel from which gated weights pay: 14×14 of 480 channels to 80 took 62 beside 57 µs, 28×28
// of 240 to 40 took 61 beside 79.
constexpr std::int64_t kGatedPixels = 4;
// Weights of layers that threads take rows through: half of L2 (1 MB and more where 8 bits are multiplied).
constexpr std::size_t kNearWeights = 512 << 10;
// Weights that pictures one after the other still find in L3.
constexpr std::size_t kPictureWeights = 8 << 20;

}  // namespace

std::size_t Grouping::picture_nodes() const {
  const std::int64_t pictures = shape(graph_.input)[0];
  if (shape(graph_.input).rank() != 4 || pictures < 2 || (pictures % threads_ != 0 && pictures < 16 * threads_))
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

std::size_t Grouping::chain_length(std::size_t i) const {
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

std::size_t Grouping::rows_length(std::size_t i) const {
  const std::int64_t rows = shape(graph_.nodes[i].output).rank() == 4 ? shape(graph_.nodes[i].output)[1] : 0;
  if (threads_ < 2 || rows < 4 * threads_ || (rows % threads_ != 0 && rows < 16 * threads_) || !makes_rows(i)) return 1;
  std::size_t count = 1, weights = lowered_->packed[i].weight_bytes();
  for (; i + count < end_ && makes_rows(i + count) && !lowered_->packed[i + count].depthwise; ++count) {
    const int value = graph_.nodes[i + count - 1].output;
    weights += lowered_->packed[i + count].weight_bytes();
    if (graph_.nodes[i + count].inputs[0] != value || output_ == value || weights > kNearWeights) break;
  }
  return count;
}

bool Grouping::gates_projection(std::size_t i) const {
  const Node& gate = graph_.nodes[i];
  if (gate.kind != Kind::multiply || !projects_pixels(i + 1) || !feeds_only(i, i + 1)) return false;
  const Shape& x = shape(gate.inputs[0]);
  const bool floats =
      in_floats(i) && element(gate.output) == Element::f32 && lowered_->packed[i + 1].in == Element::f32;
  return floats && x.rank() == 4 && x == shape(gate.output) && x[0] == 1 &&
         shape(gate.inputs[1]) == Shape{1, 1, 1, x[3]} &&
         x[1] * x[2] >= kGatedPixels * graph_.nodes[i + 1].weight_shape[3];
}

bool Grouping::writes_slices(std::size_t i) const {
  const Node& node = graph_.nodes[i];
  if (node.kind == Kind::pool2d || node.kind == Kind::concat) return in_floats(i);
  const PackedNode& p = lowered_->packed[i];
  return node.kind == Kind::conv2d && p.panels && fits(i) && p.out != Element::u8 &&
         !(p.raw.defined() && winograd_pays(node)) && !(i > 0 && lowered_->packed[i - 1].depthwise);
}

bool Grouping::winograd_pays(const Node& node) const {
  const Shape &x = shape(node.inputs[0]), &y = shape(node.output);
  const std::int64_t tiles = (y[1] + 1) / 2 * ((y[2] + 1) / 2), bytes = 16 * x[3] * y[3] * 4;
  return y[0] * tiles >= (bytes > 1 << 20 ? 17 : 16) && 16 * tiles <= 7 * y[1] * y[2] &&
         element(node.inputs[0]) == Element::f32 && element(node.output) == Element::f32 &&
         (!node.residual || element(node.inputs.back()) == Element::f32);
}

bool Grouping::averages(const Node& node) {
  return node.kind == Kind::global_average_pool ||
         (node.kind == Kind::adaptive_average_pool && node.size == kernels::Size2{1, 1});
}

bool Grouping::is_gate(const Node& node) const {
  if (node.kind != Kind::multiply) return false;
  const Shape &x = shape(node.inputs[0]), &gate = shape(node.inputs[1]), &y = shape(node.output);
  return y.rank() == 4 && x == y && gate == Shape{y[0], 1, 1, y[3]} && element(node.inputs[0]) == Element::u8 &&
         element(node.inputs[1]) == Element::f32 && element(node.output) == Element::u8;
}

bool Grouping::fits(std::size_t i) const {
  const Node& node = graph_.nodes[i];
  const PackedNode& p = lowered_->packed[i];
  return p.source == element(node.inputs[0]) && p.out == element(node.output) &&
         (!node.residual || p.out == element(node.inputs.back()));
}

bool Grouping::in_floats(std::size_t i) const {
  const Node& node = graph_.nodes[i];
  const Element kept = element(node.output);
  return kept != Element::u8 &&
         std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) { return element(v) == kept; });
}

bool Grouping::is_read_behind(int value, std::size_t i) const {
  return std::any_of(graph_.nodes.begin() + static_cast<std::ptrdiff_t>(i), graph_.nodes.end(), [&](const Node& n) {
    return std::any_of(n.inputs.begin(), n.inputs.end(), [&](int v) { return graph_.root(v) == graph_.root(value); });
  });
}

bool Grouping::shares_panels(std::size_t i) const {
  const Node& first = graph_.nodes[i];
  const Element kept = element(first.output);
  const std::int64_t channels = shape(first.output)[3];
  if (channels * kernels::simd::bytes_of(kept) % 2048 != 0) return false;
  const std::int64_t width = kernels::simd::panel_width() * (kept == Element::u8 ? 2 : 1);
  const std::int64_t panels = (channels + width - 1) / width, most = (panels + threads_ - 1) / threads_;
  return panels >= threads_ && most * threads_ * 100 <= panels * 107;
}

bool Grouping::makes_rows(std::size_t i) const {
  const Node& node = graph_.nodes[i];
  if (element(node.output) == Element::f32 || shape(node.output)[0] != 1 || slices_.contains(node.output)) return false;
  if (lowered_->packed[i].depthwise) return fits(i);
  const PackedNode& p = lowered_->packed[i];
  return projects_pixels(i) && p.source == p.in && chain_length(i) == 1 &&
         !kernels::simd::pitch_competes(shape(node.inputs[0])[3] * kernels::simd::bytes_of(element(node.inputs[0])));
}

bool Grouping::is_conv(std::size_t i) const {
  return i < end_ && lowered_->packed[i].panels && graph_.nodes[i].kind == Kind::conv2d && fits(i);
}

bool Grouping::projects_pixels(std::size_t i) const {
  if (!is_conv(i)) return false;
  const Node& node = graph_.nodes[i];
  const Shape &x = shape(node.inputs[0]), &y = shape(node.output);
  return node.weight_shape[0] == 1 && node.weight_shape[1] == 1 && node.conv.stride == kernels::Size2{1, 1} &&
         y[1] == x[1] && y[2] == x[2];
}

bool Grouping::feeds_only(std::size_t a, std::size_t b) const {
  const int value = graph_.nodes[a].output;
  if (output_ == value || graph_.root(graph_.output) == value || graph_.nodes[b].inputs[0] != value) return false;
  return reads_of(graph_, value) == 1;
}

bool Grouping::only_value_across(std::size_t end) const {
  std::vector<bool> may_read(graph_.memory.size(), true);
  for (std::size_t i = 0; i + 1 < end; ++i) may_read[static_cast<std::size_t>(graph_.nodes[i].output)] = false;
  may_read[static_cast<std::size_t>(graph_.root(graph_.input))] = false;
  return std::all_of(graph_.nodes.begin() + static_cast<std::ptrdiff_t>(end), graph_.nodes.end(), [&](const Node& n) {
    return std::all_of(n.inputs.begin(), n.inputs.end(),
                       [&](int v) { return may_read[static_cast<std::size_t>(graph_.root(v))]; });
  });
}

}  // namespace fovea::infer
