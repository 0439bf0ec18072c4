// Shape rules of the nodes: the shapes of all values for a picture of any size.
#include "core/error.h"
#include "infer/graph/graph_internal.h"
#include "kernels/elementwise.h"

namespace fovea::infer {
namespace {

[[noreturn]] void misfit(const Node& node, const Shape& x, std::string_view expected) {
  throw Error(ErrorKind::shape, to_string(node.kind), str(node.name, ": expected ", expected, ", got ", x));
}

Shape concatenated(const Node& node, const std::vector<const Shape*>& in) {
  const Shape& first = *in[0];
  const int axis = node.axis < 0 ? node.axis + first.rank() : node.axis;
  if (axis < 0 || axis >= first.rank()) misfit(node, first, str("an axis ", node.axis));
  std::int64_t extent = 0;
  for (const Shape* x : in) {
    if (x->rank() != first.rank() || x->with_dim(axis, 0) != first.with_dim(axis, 0))
      misfit(node, *x, str("what joins ", first, " along axis ", axis));
    extent += (*x)[axis];
  }
  return first.with_dim(axis, extent);
}

Shape result_of(const Node& node, const std::vector<const Shape*>& in) {
  const Shape &x = *in[0], &w = node.weight_shape;
  switch (node.kind) {
    case Kind::conv2d: {
      const Shape y = kernels::conv2d_shape(node.conv, x, w);
      if (node.residual && *in[1] != y) misfit(node, *in[1], str("a residual ", y));
      return y;
    }
    case Kind::dense:
      if (x.rank() < 1 || x.dim(-1) != w[0]) misfit(node, x, str(w[0], " features"));
      return x.with_dim(-1, w[1]);
    case Kind::scale_shift:
      if (x.rank() < 1 || x.dim(-1) != w.numel()) misfit(node, x, str(w.numel(), " channels"));
      return x;
    case Kind::affine:
    case Kind::activation: return x;
    case Kind::add:
    case Kind::multiply: return kernels::broadcast_shape(to_string(node.kind), x, *in[1]);
    case Kind::concat: return concatenated(node, in);
    case Kind::pool2d:
      if (x.rank() != 4) misfit(node, x, "NHWC");
      return kernels::pool2d_shape(node.pool, x);
    case Kind::global_average_pool:
    case Kind::adaptive_average_pool:
      if (x.rank() != 4 || x[1] * x[2] == 0) misfit(node, x, "NHWC with pixels");
      return node.kind == Kind::global_average_pool ? Shape{x[0], x[3]} : Shape{x[0], node.size.h, node.size.w, x[3]};
    case Kind::softmax:
    case Kind::log_softmax:
      if (x.rank() < 1) misfit(node, x, "classes");
      return x;
  }
  return x;
}

Shape renamed(const Alias& alias, const Shape& x) {
  const auto misshapen = [&] {
    throw Error(ErrorKind::shape, "reshape", str(x, " does not make ", alias.extents.size(), " such axes"));
  };
  std::vector<std::int64_t> extents = alias.extents;
  if (alias.rule == Alias::Rule::same) return x;
  if (alias.rule == Alias::Rule::flatten) {
    if (x.rank() < 1) misshapen();
    std::int64_t rest = 1;
    for (int i = 1; i < x.rank(); ++i) rest *= x[i];
    return {x[0], rest};
  }
  std::int64_t known = 1;
  std::size_t open = extents.size();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] == 0) {
      if (static_cast<int>(i) >= x.rank()) misshapen();
      extents[i] = x[static_cast<int>(i)];
    }
    if (extents[i] < 0) {
      if (extents[i] < -1 || open < extents.size()) misshapen();
      open = i;
    } else {
      known = checked_mul(known, extents[i], "reshape");
    }
  }
  if (open < extents.size()) extents[open] = known == 0 ? 0 : x.numel() / known;
  const Shape y{std::span<const std::int64_t>(extents)};
  if (y.numel() != x.numel()) misshapen();
  return y;
}

}  // namespace

std::vector<Shape> shapes_of(const Graph& graph, const Shape& input) {
  std::vector<Shape> shapes(graph.memory.size());
  std::vector<char> known(shapes.size(), 0);
  const auto at = [](int value) { return static_cast<std::size_t>(value); };
  shapes[at(graph.input)] = input;
  known[at(graph.input)] = 1;
  // An alias may be of an alias: down to what is known, and back.
  std::vector<int> chain;
  const auto settle = [&](int value) -> const Shape& {
    for (int v = value; !known[at(v)]; v = graph.aliases[at(v)].of) {
      if (graph.aliases[at(v)].rule == Alias::Rule::none)
        throw Error(ErrorKind::format, "compile", str("value ", v, " is used before it is made"));
      chain.push_back(v);
    }
    for (; !chain.empty(); chain.pop_back()) {
      const Alias& alias = graph.aliases[at(chain.back())];
      shapes[at(chain.back())] = renamed(alias, shapes[at(alias.of)]);
      known[at(chain.back())] = 1;
    }
    return shapes[at(value)];
  };
  std::vector<const Shape*> operands;
  for (const Node& node : graph.nodes) {
    operands.clear();
    for (const int v : node.inputs) operands.push_back(&settle(v));
    shapes[at(node.output)] = result_of(node, operands);
    known[at(node.output)] = 1;
  }
  settle(graph.output);
  return shapes;
}

}  // namespace fovea::infer
