// The gradient of a maximum over axes. Rare in networks (CBAM-like attention), so written for clarity only.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/elementwise.h"

namespace fovea::kernels {
namespace {

/// For each element of x in order, the flat index of the element of y it was reduced into.
template <class Fn>
void for_each_pair(const Shape& shape, std::span<const int> axes, Fn&& fn) {
  std::vector<std::int64_t> step(static_cast<std::size_t>(shape.rank()), 0),
      at(static_cast<std::size_t>(shape.rank()), 0);
  std::int64_t extent = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (std::find(axes.begin(), axes.end(), i) != axes.end()) continue;
    step[static_cast<std::size_t>(i)] = extent;
    extent *= shape[i];
  }
  std::int64_t to = 0;
  for (std::int64_t from = 0; from < shape.numel(); ++from) {
    fn(from, to);
    for (int i = shape.rank() - 1; i >= 0; --i) {
      const auto a = static_cast<std::size_t>(i);
      to += step[a];
      if (++at[a] < shape[i]) break;
      to -= step[a] * shape[i];
      at[a] = 0;
    }
  }
}

template <class T>
void run(std::span<const int> axes, ConstView x, ConstView y, ConstView dy, View dx) {
  const T *in = x.ptr<T>(), *greatest = y.ptr<T>(), *grad = dy.ptr<T>();
  T* out = dx.ptr<T>();
  const auto wins = [&](std::int64_t from, std::int64_t to) {
    return in[from] == greatest[to] || (std::isnan(in[from]) && std::isnan(greatest[to]));
  };
  std::vector<std::int64_t> ties(static_cast<std::size_t>(y.numel()), 0);
  for_each_pair(x.shape, axes,
                [&](std::int64_t from, std::int64_t to) { ties[static_cast<std::size_t>(to)] += wins(from, to); });
  for_each_pair(x.shape, axes, [&](std::int64_t from, std::int64_t to) {
    out[from] = wins(from, to) ? grad[to] / static_cast<T>(ties[static_cast<std::size_t>(to)]) : T{0};
  });
}

}  // namespace

void reduce_max_backward(std::span<const int> axes, ConstView x, ConstView y, ConstView dy, View dx) {
  if (x.dtype == DType::f64) {
    run<double>(axes, x, y, dy, dx);
  } else {
    run<float>(axes, x, y, dy, dx);
  }
}

}  // namespace fovea::kernels
