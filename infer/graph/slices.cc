#include "infer/graph/slices_internal.h"

namespace fovea::infer {
namespace {

const Shape& shape_of(const std::vector<Shape>& shapes, int value) { return shapes[static_cast<std::size_t>(value)]; }

}  // namespace

bool joins_channels(const Graph& graph, const Node& node, const std::vector<Shape>& shapes) {
  const Shape& y = shape_of(shapes, node.output);
  return node.kind == Kind::concat && y.rank() == 4 && (node.axis == 3 || node.axis == -1) &&
         !graph.at_the_edge(node.output);
}

std::map<int, Slice> find_slices(const Graph& graph, const std::vector<Shape>& shapes, std::size_t begin,
                                 std::size_t end, const std::function<bool(std::size_t)>& can) {
  std::map<int, Slice> slices;
  // The last first: by then it is known where an inner one lies itself.
  for (std::size_t i = end; i-- > begin;) {
    const Node& node = graph.nodes[i];
    if (!joins_channels(graph, node, shapes) || !can(i)) continue;
    const auto outer = slices.find(node.output);
    std::int64_t offset = outer == slices.end() ? 0 : outer->second.offset;
    const int value = outer == slices.end() ? node.output : outer->second.value;
    const std::int64_t pitch = shape_of(shapes, value)[3];
    for (const int v : node.inputs) {
      const int maker = maker_of(graph, v);
      const auto m = static_cast<std::size_t>(maker);
      if (maker >= 0 && m >= begin && m < i && graph.root(v) == v && !graph.at_the_edge(v) && reads_of(graph, v) == 1 &&
          can(m))
        slices[v] = {value, offset, pitch};
      offset += shape_of(shapes, v)[3];
    }
  }
  return slices;
}

}  // namespace fovea::infer
