// Sums, means and maxima over axes, sums for broadcasting, and scans of whole tensors.
#include <algorithm>

#include "kernels/check_internal.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"
#include "kernels/cuda/strides-inl.h"
#include "kernels/cuda/tensor_table.h"
#include "kernels/reference/elementwise.h"

namespace fovea::kernels::cuda {
namespace {

/// A shape with some axes reduced as [outer, rows, inner], where the reduced axes are neighbours.
struct Folded {
  std::int64_t outer = 1, rows = 1, inner = 1;
  bool neighbours = true;

  Folded(const Shape& shape, const std::array<bool, Shape::kMaxRank>& reduced) {
    bool begun = false, ended = false;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == 1) continue;
      if (reduced[static_cast<std::size_t>(axis)]) {
        neighbours = neighbours && !ended;
        begun = true;
        rows *= shape[axis];
      } else {
        ended = begun;
        (begun ? inner : outer) *= shape[axis];
      }
    }
  }
};

/// y = (Σ or max over the reduced axes of x)·scale.
template <class S, Combine how>
void run_reduce(const ConstView& in, const View& out, const std::array<bool, Shape::kMaxRank>& reduced, double scale) {
  using T = Computing<S>;
  const Read<S> x(in);
  S* const y = out.ptr<S>();
  const Folded f(in.shape, reduced);
  const int device = out.device.index;
  if (f.neighbours) {
    const std::int64_t rows = f.rows, inner = f.inner;
    reduce_columns<T, 1, how>(
        "reduce", f.outer, f.rows, f.inner,
        [=] FOVEA_LAMBDA(std::int64_t b, std::int64_t row, std::int64_t c, T(&terms)[1]) {
          terms[0] = x[(b * rows + row) * inner + c];
        },
        [=] FOVEA_LAMBDA(std::int64_t at, const double(&results)[1]) {
          y[at] = narrowed<S>(static_cast<T>(results[0] * scale));
        },
        device);
    return;
  }
  // Rare: a thread walks all that goes into its result.
  std::array<bool, Shape::kMaxRank> kept{};
  Shape kept_shape = in.shape, reduced_shape = in.shape;
  for (int axis = 0; axis < in.shape.rank(); ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    kept[a] = !reduced[a];
    if (reduced[a]) kept_shape = kept_shape.with_dim(axis, 1);
    if (kept[a]) reduced_shape = reduced_shape.with_dim(axis, 1);
  }
  const Strides from_kept = Strides::selected(kept_shape, in.shape),
                from_reduced = Strides::selected(reduced_shape, in.shape);
  const std::int64_t count = reduced_shape.numel();
  for_each(
      "reduce (apart)", out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const std::int64_t base = from_kept.offset(i);
        double sum = neutral<how>();
        for (std::int64_t k = 0; k < count; ++k)
          sum = combined<how>(sum, static_cast<double>(x[base + from_reduced.offset(k)]));
        y[i] = narrowed<S>(static_cast<T>(sum * scale));
      },
      device);
}

template <class T>
void run_reduce_backward(const ReduceProblem& p) {
  const T* const dy = p.in.ptr<T>();
  T* const dx = p.out.ptr<T>();
  const Strides in = Strides::without(p.out.shape, p.reduced);
  const T scale = static_cast<T>(p.kind == Reduction::mean ? 1 / reference::reduced_count(p) : 1);
  for_each(
      "reduce_backward", p.out.numel(), [=] FOVEA_LAMBDA(std::int64_t i) { dx[i] = dy[in.offset(i)] * scale; },
      p.out.device.index);
}

template <class T>
void run_reduce_max_backward(const ReduceMaxBackwardProblem& p) {
  const T *const x = p.x.ptr<T>(), *const y = p.y.ptr<T>(), *const dy = p.dy.ptr<T>();
  T* const dx = p.dx.ptr<T>();
  const int device = p.dx.device.index;
  const Strides in = Strides::without(p.dx.shape, p.reduced);
  // 1 where an element is the greatest (or NaN, as the greatest then is), counted per result.
  const Scratch wins(static_cast<std::size_t>(p.dx.numel()) * sizeof(T), device),
      ties(static_cast<std::size_t>(p.y.numel()) * sizeof(T), device);
  T *const win = wins.as<T>(), *const tie = ties.as<T>();
  for_each(
      "reduce_max_backward", p.dx.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const T a = x[i], b = y[in.offset(i)];
        win[i] = a == b || (a != a && b != b) ? T(1) : T(0);
      },
      device);
  run_reduce<T, Combine::sum>({win, p.dx.shape, p.dx.dtype, p.dx.device, 0, 0},
                              {tie, p.y.shape, p.y.dtype, p.y.device, 0, 0}, p.reduced, 1);
  for_each(
      "reduce_max_backward", p.dx.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const std::int64_t at = in.offset(i);
        dx[i] = win[i] != T(0) ? dy[at] / tie[at] : T(0);
      },
      device);
}

/// Σx², or how many elements are not finite, of each block's part of a table, in double.
template <class T>
struct ScanParts {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads];
  };
  struct Thread {};
  TableView table;
  bool finite;
  double* partial;  ///< one per block

  FOVEA_HD int phases() const { return BlockTotal::kSteps + 2; }
  FOVEA_HD void phase(int p, std::int64_t block, int thread, Shared& s, Thread&) const {
    if (p == 0) {
      const TableRow row = table.row_of(block);
      const T* const x = static_cast<const T*>(row.at[0]);
      double sum = 0;
      for (std::int64_t k = 0; k < kTablePart; k += kThreads) {
        const std::int64_t i = (block - row.first_block) * kTablePart + k + thread;
        if (i >= row.count) break;
        const double v = static_cast<double>(x[i]);
        sum += !finite ? v * v : v - v == 0 ? 0.0 : 1.0;
      }
      s.values[thread] = sum;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::sum>(p - 1, thread, s.values);
    } else if (thread == 0) {
      partial[block] = s.values[0];
    }
  }
};

/// Adds up what the blocks of each row found: a block per row.
struct ScanRows {
  static constexpr int kThreads = cuda::kThreads;
  struct Shared {
    double values[kThreads];
  };
  struct Thread {};
  TableView table;
  const double* partial;
  double* results;  ///< at the row's `set`

  FOVEA_HD int phases() const { return BlockTotal::kSteps + 2; }
  FOVEA_HD void phase(int p, std::int64_t block, int thread, Shared& s, Thread&) const {
    const TableRow row = table.row(static_cast<int>(block));
    if (p == 0) {
      const std::int64_t parts = (row.count + kTablePart - 1) / kTablePart;
      double sum = 0;
      for (std::int64_t i = thread; i < parts; i += kThreads) sum += partial[row.first_block + i];
      s.values[thread] = sum;
    } else if (p <= BlockTotal::kSteps) {
      BlockTotal::step<Combine::sum>(p - 1, thread, s.values);
    } else if (thread == 0) {
      results[row.set] = s.values[0];
    }
  }
};

/// Those of one element type: two launches.
template <class T>
void run_scan(const ScanManyProblem& p, double* results) {
  const int device = p.x.front().device.index;
  TensorTable table;
  for (std::size_t i = 0; i < p.x.size(); ++i) {
    if (p.x[i].dtype != dtype_of<T>) continue;
    table.add({.count = p.x[i].numel(), .at = {const_cast<T*>(p.x[i].ptr<T>())}, .set = static_cast<std::int64_t>(i)});
  }
  if (table.empty()) return;
  const auto memory = table.on_device(device);
  const TableView view(table, memory.get());
  const Scratch partial(static_cast<std::size_t>(table.blocks()) * sizeof(double), device);
  run_blocks(p.finite ? "all_finite" : "sum_of_squares", table.blocks(),
             ScanParts<T>{view, p.finite, partial.as<double>()}, device, table.rows().data(),
             table.rows().size_bytes());
  run_blocks("scan (rows)", view.count, ScanRows{view, partial.as<double>(), results}, device);
}

template <class S>
void run_column_sums(const ConstView& view, std::int64_t rows, std::int64_t channels, const View& sums) {
  using T = Computing<S>;
  const Read<S> x(view);
  T* const to = sums.ptr<T>();
  reduce_columns<T, 1>(
      "column_sums", 1, rows, channels,
      [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t c, T(&terms)[1]) {
        terms[0] = x[row * channels + c];
      },
      [=] FOVEA_LAMBDA(std::int64_t c, const double(&results)[1]) { to[c] = static_cast<T>(results[0]); },
      view.device.index);
}

}  // namespace

void reduce_forward(const ReduceProblem& p) {
  const double scale = p.kind == Reduction::mean ? 1 / reference::reduced_count(p) : 1;
  by_scalar(p.out.dtype, [&](auto t) {
    if (p.kind == Reduction::max) {
      run_reduce<decltype(t), Combine::max>(p.in, p.out, p.reduced, 1);
    } else {
      run_reduce<decltype(t), Combine::sum>(p.in, p.out, p.reduced, scale);
    }
  });
}
void reduce_backward(const ReduceProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { run_reduce_backward<decltype(t)>(p); });
}
void reduce_max_backward(const ReduceMaxBackwardProblem& p) {
  by_scalar(p.dx.dtype, [&](auto t) { run_reduce_max_backward<decltype(t)>(p); });
}
void reduce_to(const ReduceToProblem& p) {
  // The axes that y lacks, or has only one of.
  std::array<bool, Shape::kMaxRank> reduced{};
  const int ahead = p.x.shape.rank() - p.y.shape.rank();
  for (int axis = 0; axis < p.x.shape.rank(); ++axis)
    reduced[static_cast<std::size_t>(axis)] = axis < ahead || p.y.shape[axis - ahead] != p.x.shape[axis];
  by_storage(p.y.dtype, [&](auto t) { run_reduce<decltype(t), Combine::sum>(p.x, p.y, reduced, 1); });
}
void scan_many(const ScanManyProblem& p) {
  const int device = p.x.front().device.index;
  const Scratch found(p.x.size() * sizeof(double), device);
  run_scan<float>(p, found.as<double>());
  run_scan<double>(p, found.as<double>());
  copy_to_host(p.results, found.data(), p.x.size() * sizeof(double), device);
  for (std::size_t i = 0; p.finite && i < p.x.size(); ++i) p.results[i] = p.results[i] == 0 ? 1 : 0;
}
void sum_of_squares(const ScanProblem& p) { scan_many({false, {&p.x, 1}, p.result}); }
void all_finite(const ScanProblem& p) { scan_many({true, {&p.x, 1}, p.result}); }
void column_sums(const ConstView& x, std::int64_t rows, std::int64_t channels, const View& sums) {
  by_storage(x.dtype, [&](auto t) { run_column_sums<decltype(t)>(x, rows, channels, sums); });
}

}  // namespace fovea::kernels::cuda
