// The gradient of a maximum over axes. Rare in networks (CBAM-like attention), so written for clarity only.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/check_internal.h"
#include "kernels/cuda/entry.h"
#include "kernels/elementwise.h"
#include "kernels/problems.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

/// For each element of x in order, the flat index of the element of y it was reduced into.
template <class Fn>
void for_each_pair(const Shape& shape, const std::array<bool, Shape::kMaxRank>& reduced, Fn&& fn) {
  std::vector<std::int64_t> step(static_cast<std::size_t>(shape.rank()), 0),
      at(static_cast<std::size_t>(shape.rank()), 0);
  std::int64_t extent = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (reduced[static_cast<std::size_t>(i)]) continue;
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
void run(const ReduceMaxBackwardProblem& p) {
  const T *in = p.x.ptr<T>(), *greatest = p.y.ptr<T>(), *grad = p.dy.ptr<T>();
  T* out = p.dx.ptr<T>();
  const auto wins = [&](std::int64_t from, std::int64_t to) {
    return in[from] == greatest[to] || (std::isnan(in[from]) && std::isnan(greatest[to]));
  };
  std::vector<std::int64_t> ties(static_cast<std::size_t>(p.y.numel()), 0);
  for_each_pair(p.x.shape, p.reduced,
                [&](std::int64_t from, std::int64_t to) { ties[static_cast<std::size_t>(to)] += wins(from, to); });
  for_each_pair(p.x.shape, p.reduced, [&](std::int64_t from, std::int64_t to) {
    out[from] = wins(from, to) ? grad[to] / static_cast<T>(ties[static_cast<std::size_t>(to)]) : T{0};
  });
}

const char* reference_declines(const ReduceMaxBackwardProblem& p) { return needs_cpu(p.dx); }
void reference(const ReduceMaxBackwardProblem& p) {
  by_scalar(p.dx.dtype, [&](auto t) { run<decltype(t)>(p); });
}

constexpr Implementation<ReduceMaxBackwardProblem> kBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::reduce_max_backward),
    {"only", reference_declines, reference},
};

}  // namespace

void reduce_max_backward(std::span<const int> axes, ConstView x, ConstView y, ConstView dy, View dx) {
  ReduceMaxBackwardProblem p{{}, x, y, dy, dx};
  for (const int axis : axes) p.reduced[static_cast<std::size_t>(axis < 0 ? axis + x.shape.rank() : axis)] = true;
  if (dx.numel() > 0) dispatch<ReduceMaxBackwardProblem>("reduce_max_backward", kBackward, p);
}

}  // namespace fovea::kernels
