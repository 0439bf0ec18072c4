// Pooling and resizing. Every kernel gathers: one thread per element of what is written, so that gradients need no
// atomics.
#include <cmath>
#include <vector>

#include "kernels/check_internal.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"
#include "kernels/reference/resize.h"

namespace fovea::kernels::cuda {
namespace {

/// Extents of a pooling, and the part of a window that lies inside the image.
struct PoolGeometry {
  std::int64_t h, w, ho, wo, channels;
  std::int64_t window_h, window_w, stride_h, stride_w, top, left, bottom, right;
  bool max, include_pad;

  explicit PoolGeometry(const Pool2dProblem& p)
      : h(p.x_shape[1]),
        w(p.x_shape[2]),
        ho(p.y_shape[1]),
        wo(p.y_shape[2]),
        channels(p.x_shape[3]),
        window_h(p.params.window.h),
        window_w(p.params.window.w),
        stride_h(p.params.stride.h),
        stride_w(p.params.stride.w),
        top(p.params.padding.top),
        left(p.params.padding.left),
        bottom(p.params.padding.bottom),
        right(p.params.padding.right),
        max(p.params.kind == PoolKind::max),
        include_pad(p.params.count_include_pad) {}

  FOVEA_HD static std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
  FOVEA_HD static std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
  struct Window {
    std::int64_t first_row, first_column, rows_begin, rows_end, columns_begin, columns_end;
    double cells;
  };
  FOVEA_HD Window window(std::int64_t i, std::int64_t j) const {
    Window v;
    v.first_row = i * stride_h - top;
    v.first_column = j * stride_w - left;
    v.rows_begin = larger(v.first_row, 0);
    v.rows_end = smaller(v.first_row + window_h, h);
    v.columns_begin = larger(v.first_column, 0);
    v.columns_end = smaller(v.first_column + window_w, w);
    // What ceil_mode reaches beyond the padding does not count.
    v.cells = include_pad ? static_cast<double>((smaller(v.first_row + window_h, h + bottom) - v.first_row) *
                                                (smaller(v.first_column + window_w, w + right) - v.first_column))
                          : static_cast<double>((v.rows_end - v.rows_begin) * (v.columns_end - v.columns_begin));
    return v;
  }
  /// Windows along one axis that may hold cell `at`: [begin, end).
  FOVEA_HD static void holders(std::int64_t at, std::int64_t before, std::int64_t window, std::int64_t stride,
                               std::int64_t count, std::int64_t& begin, std::int64_t& end) {
    const std::int64_t low = at + before - window + 1;
    begin = low <= 0 ? 0 : divide(low + stride - 1, stride);
    end = smaller(divide(at + before, stride) + 1, count);
  }
};

/// n, row, column and channel of a flat NHWC index.
struct Pixel {
  std::int64_t n, row, column, channel;
  FOVEA_HD Pixel(std::int64_t i, std::int64_t h, std::int64_t w, std::int64_t channels) {
    const Divided c(i, channels), s(c.quotient, w), r(s.quotient, h);
    channel = c.rest;
    column = s.rest;
    row = r.rest;
    n = r.quotient;
  }
};

template <class S>
void run_pool_forward(const Pool2dProblem& p) {
  using T = Computing<S>;
  const PoolGeometry g(p);
  const Read<S> x(p.in);
  S* const y = p.out.ptr<S>();
  std::int32_t* const argmax = p.argmax_out ? p.argmax_out->ptr<std::int32_t>() : nullptr;
  for_each(
      "pool2d", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Pixel at(k, g.ho, g.wo, g.channels);
        const PoolGeometry::Window v = g.window(at.row, at.column);
        T best = T(0), sum = T(0);
        std::int32_t where = -1;
        for (std::int64_t r = v.rows_begin; r < v.rows_end; ++r) {
          for (std::int64_t s = v.columns_begin; s < v.columns_end; ++s) {
            const T value = x[((at.n * g.h + r) * g.w + s) * g.channels + at.channel];
            sum += value;
            // The first cell, a greater one, or the first NaN.
            if (where < 0 || value > best || (value != value && best == best)) {
              best = value;
              where = static_cast<std::int32_t>((r - v.first_row) * g.window_w + s - v.first_column);
            }
          }
        }
        y[k] = narrowed<S>(g.max ? best : sum / static_cast<T>(v.cells));
        if (argmax) argmax[k] = where;
      },
      p.out.device.index);
}

template <class S>
void run_pool_backward(const Pool2dProblem& p) {
  using T = Computing<S>;
  const PoolGeometry g(p);
  const Read<S> dy(p.in);
  S* const dx = p.out.ptr<S>();
  const std::int32_t* const argmax = p.argmax ? p.argmax->ptr<std::int32_t>() : nullptr;
  for_each(
      "pool2d_backward", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Pixel at(k, g.h, g.w, g.channels);
        std::int64_t row_begin, row_end, column_begin, column_end;
        PoolGeometry::holders(at.row, g.top, g.window_h, g.stride_h, g.ho, row_begin, row_end);
        PoolGeometry::holders(at.column, g.left, g.window_w, g.stride_w, g.wo, column_begin, column_end);
        T sum = T(0);
        for (std::int64_t i = row_begin; i < row_end; ++i) {
          for (std::int64_t j = column_begin; j < column_end; ++j) {
            const PoolGeometry::Window v = g.window(i, j);
            const std::int64_t from = ((at.n * g.ho + i) * g.wo + j) * g.channels + at.channel;
            if (g.max) {
              if (argmax[from] == (at.row - v.first_row) * g.window_w + at.column - v.first_column) sum += dy[from];
            } else {
              sum += dy[from] / static_cast<T>(v.cells);
            }
          }
        }
        dx[k] = narrowed<S>(sum);
      },
      p.out.device.index);
}

// ---- average over cells of an adaptive grid; cell i covers floor(i·in/out) to ceil((i+1)·in/out)

FOVEA_HD std::int64_t cell_begin(std::int64_t i, std::int64_t in, std::int64_t out) { return divide(i * in, out); }
FOVEA_HD std::int64_t cell_end(std::int64_t i, std::int64_t in, std::int64_t out) {
  return divide((i + 1) * in + out - 1, out);
}

template <class S>
void run_average_forward(const AveragePoolProblem& p) {
  using T = Computing<S>;
  const std::int64_t h = p.x_shape[1], w = p.x_shape[2], ho = p.y_shape[1], wo = p.y_shape[2], channels = p.x_shape[3];
  const int device = p.out.device.index;
  const Read<S> x(p.in);
  S* const y = p.out.ptr<S>();
  if (ho == 1 && wo == 1) {
    const std::int64_t pixels = h * w;
    const double scale = 1 / static_cast<double>(pixels);
    reduce_columns<T, 1>(
        "global_average_pool", p.x_shape[0], pixels, channels,
        [=] FOVEA_LAMBDA(std::int64_t n, std::int64_t row, std::int64_t c, T(&terms)[1]) {
          terms[0] = x[(n * pixels + row) * channels + c];
        },
        [=] FOVEA_LAMBDA(std::int64_t at, const double(&sums)[1]) {
          y[at] = narrowed<S>(static_cast<T>(sums[0] * scale));
        },
        device);
    return;
  }
  for_each(
      "adaptive_average_pool", p.y_shape.numel(),
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Pixel at(k, ho, wo, channels);
        const std::int64_t top = cell_begin(at.row, h, ho), bottom = cell_end(at.row, h, ho);
        const std::int64_t left = cell_begin(at.column, w, wo), right = cell_end(at.column, w, wo);
        double sum = 0;
        for (std::int64_t r = top; r < bottom; ++r) {
          for (std::int64_t s = left; s < right; ++s)
            sum += static_cast<double>(x[((at.n * h + r) * w + s) * channels + at.channel]);
        }
        y[k] = narrowed<S>(static_cast<T>(sum / static_cast<double>((bottom - top) * (right - left))));
      },
      device);
}

template <class S>
void run_average_backward(const AveragePoolProblem& p) {
  using T = Computing<S>;
  const std::int64_t h = p.x_shape[1], w = p.x_shape[2], ho = p.y_shape[1], wo = p.y_shape[2], channels = p.x_shape[3];
  const Read<S> dy(p.in);
  S* const dx = p.out.ptr<S>();
  for_each(
      "adaptive_average_pool_backward", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Pixel at(k, h, w, channels);
        T sum = T(0);
        // floor(row·out/in) is the first cell that ends behind the pixel; those after it that begin at or before it,
        // too.
        for (std::int64_t i = divide(at.row * ho, h); i < ho && cell_begin(i, h, ho) <= at.row; ++i) {
          const std::int64_t rows = cell_end(i, h, ho) - cell_begin(i, h, ho);
          for (std::int64_t j = divide(at.column * wo, w); j < wo && cell_begin(j, w, wo) <= at.column; ++j) {
            const std::int64_t columns = cell_end(j, w, wo) - cell_begin(j, w, wo);
            sum += dy[((at.n * ho + i) * wo + j) * channels + at.channel] / static_cast<T>(rows * columns);
          }
        }
        dx[k] = narrowed<S>(sum);
      },
      p.out.device.index);
}

// ---- resize: one table of weights per axis, forward or transposed

/// Result i along an axis is Σ_k weights[begin[i] + k]·source[first[i] + k].
struct AxisTable {
  std::vector<std::int64_t> first, begin;
  std::vector<double> weights;
};

AxisTable flat(const reference::ResizeTable& table) {
  AxisTable t;
  for (const auto& row : table.rows) {
    t.first.push_back(row.first);
    t.begin.push_back(static_cast<std::int64_t>(t.weights.size()));
    t.weights.insert(t.weights.end(), row.weights.begin(), row.weights.end());
  }
  t.begin.push_back(static_cast<std::int64_t>(t.weights.size()));
  return t;
}

/// Where each source pixel went. Results that read one source pixel are neighbours.
AxisTable transposed(const reference::ResizeTable& table, std::int64_t in) {
  AxisTable t;
  std::vector<std::vector<double>> to(static_cast<std::size_t>(in));
  t.first.assign(static_cast<std::size_t>(in), 0);
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const auto& row = table.rows[i];
    for (std::size_t k = 0; k < row.weights.size(); ++k) {
      const auto source = static_cast<std::size_t>(row.first) + k;
      auto& list = to[source];
      if (list.empty()) t.first[source] = static_cast<std::int64_t>(i);
      list.resize(i - static_cast<std::size_t>(t.first[source]) + 1, 0.0);
      list.back() = row.weights[k];
    }
  }
  for (const auto& list : to) {
    t.begin.push_back(static_cast<std::int64_t>(t.weights.size()));
    t.weights.insert(t.weights.end(), list.begin(), list.end());
  }
  t.begin.push_back(static_cast<std::int64_t>(t.weights.size()));
  return t;
}

/// y[o, i, c] = Σ_k weight·x[o, first[i] + k, c] with x [outer, in, inner] and y [outer, table, inner].
template <class From, class To>
void run_axis(const AxisTable& table, const From* x, To* y, std::int64_t outer, std::int64_t in, std::int64_t inner,
              int device) {
  const auto out = static_cast<std::int64_t>(table.first.size());
  const std::size_t bytes_first = table.first.size() * 8, bytes_begin = table.begin.size() * 8,
                    bytes_weights = table.weights.size() * 8;
  const Scratch memory(bytes_first + bytes_begin + bytes_weights, device);
  char* const base = memory.as<char>();
  copy_to_device(base, table.first.data(), bytes_first, device);
  copy_to_device(base + bytes_first, table.begin.data(), bytes_begin, device);
  copy_to_device(base + bytes_first + bytes_begin, table.weights.data(), bytes_weights, device);
  const auto* const first = reinterpret_cast<const std::int64_t*>(base);
  const auto* const begin = reinterpret_cast<const std::int64_t*>(base + bytes_first);
  const auto* const weights = reinterpret_cast<const double*>(base + bytes_first + bytes_begin);
  for_each(
      "resize", outer * out * inner,
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Divided c(k, inner), i(c.quotient, out);
        const From* const source = x + (i.quotient * in + first[i.rest]) * inner + c.rest;
        double sum = 0;
        for (std::int64_t w = begin[i.rest]; w < begin[i.rest + 1]; ++w)
          sum += weights[w] * static_cast<double>(source[(w - begin[i.rest]) * inner]);
        y[k] = static_cast<To>(sum);
      },
      device);
}

template <class T>
void run_resize(const ResizeProblem& p) {
  const Shape &xs = p.x_shape(), &ys = p.y_shape();
  const auto down = reference::resize_table(p.params, xs[1], ys[1]),
             across = reference::resize_table(p.params, xs[2], ys[2]);
  const int device = p.out.device.index;
  const std::int64_t n = xs[0], c = xs[3];
  const Scratch between(static_cast<std::size_t>(n * xs[1] * ys[2] * c) * sizeof(double), device);
  double* const rows = between.as<double>();  // [N, H of x, W of y, C]
  if (p.pass == Pass::forward) {
    run_axis(flat(across), p.in.ptr<T>(), rows, n * xs[1], xs[2], c, device);
    run_axis(flat(down), rows, p.out.ptr<T>(), n, xs[1], ys[2] * c, device);
  } else {
    run_axis(transposed(down, xs[1]), p.in.ptr<T>(), rows, n, ys[1], ys[2] * c, device);
    run_axis(transposed(across, xs[2]), rows, p.out.ptr<T>(), n * xs[1], ys[2], c, device);
  }
}

}  // namespace

void pool2d_forward(const Pool2dProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_pool_forward<decltype(t)>(p); });
}
void pool2d_backward(const Pool2dProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_pool_backward<decltype(t)>(p); });
}
void average_pool_forward(const AveragePoolProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_average_forward<decltype(t)>(p); });
}
void average_pool_backward(const AveragePoolProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_average_backward<decltype(t)>(p); });
}
void resize(const ResizeProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { run_resize<decltype(t)>(p); });
}

}  // namespace fovea::kernels::cuda
