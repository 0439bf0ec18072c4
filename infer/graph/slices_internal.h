// Parts of a concatenation that are made where they belong: no copy.
#pragma once

#include <functional>
#include <map>

#include "infer/graph/graph_internal.h"

namespace fovea::infer {

/// Where a value lies: from `offset` on in each pixel of `value`, which has `pitch` channels.
struct Slice {
  int value;
  std::int64_t offset, pitch;
};

/// For the nodes [begin, end): values that only one concatenation over channels reads and whose node can leave a
/// distance between its results' pixels (`can`), and concatenations of concatenations. `shapes` by value.
std::map<int, Slice> find_slices(const Graph& graph, const std::vector<Shape>& shapes, std::size_t begin,
                                 std::size_t end, const std::function<bool(std::size_t)>& can);

/// Concatenates over the channels of maps.
bool joins_channels(const Graph& graph, const Node& node, const std::vector<Shape>& shapes);

}  // namespace fovea::infer
