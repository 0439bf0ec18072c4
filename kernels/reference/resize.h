// Separable resize: one table of weights per axis, the same for forward and backward. The oracle for every faster
// implementation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/problems.h"

namespace fovea::kernels::reference {

/// Result i is Σ_k weight[i][k] · source[first[i] + k].
struct ResizeTable {
  struct Row {
    std::int64_t first;
    std::vector<double> weights;
  };
  std::vector<Row> rows;
};

/// Keys' (1981) cubic convolution kernel.
inline double cubic(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// The weights along one axis. Sources: antialias as Pillow's Resample.c (triangle; cubic with a = −0.5), otherwise as
/// PyTorch's interpolate (cubic with a = −0.75, the border pixel repeated). Nearest takes the pixel under the centre
/// (PyTorch's "nearest-exact", Pillow's NEAREST).
inline ResizeTable resize_table(const ResizeParams& params, std::int64_t in, std::int64_t out) {
  // Pixel centres lie at index + ½; with align_corners the first and last centres of both images coincide.
  const double scale = params.align_corners
                           ? (out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0.0)
                           : static_cast<double>(in) / static_cast<double>(out);
  const bool cubic_filter = params.filter == ResizeFilter::bicubic;
  ResizeTable table;
  for (std::int64_t i = 0; i < out; ++i) {
    const double index = static_cast<double>(i);
    const double centre = params.align_corners ? index * scale + 0.5 : (index + 0.5) * scale;
    if (params.filter == ResizeFilter::nearest) {
      table.rows.push_back({std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(centre)), 0, in - 1), {1.0}});
      continue;
    }
    ResizeTable::Row row;
    if (params.antialias) {
      const double stretch = std::max(scale, 1.0);
      const double support = (cubic_filter ? 2 : 1) * stretch;
      row.first = std::max<std::int64_t>(static_cast<std::int64_t>(std::floor(centre - support + 0.5)), 0);
      const std::int64_t end = std::min(static_cast<std::int64_t>(std::floor(centre + support + 0.5)), in);
      double total = 0;
      for (std::int64_t k = row.first; k < end; ++k) {
        const double x = (static_cast<double>(k) + 0.5 - centre) / stretch;
        row.weights.push_back(cubic_filter ? cubic(x, -0.5) : std::max(0.0, 1 - std::fabs(x)));
        total += row.weights.back();
      }
      for (double& w : row.weights) w /= total;
    } else {
      const std::int64_t reach = cubic_filter ? 2 : 1;
      const auto base = static_cast<std::int64_t>(std::floor(centre - 0.5));
      const auto inside = [&](std::int64_t k) { return std::clamp<std::int64_t>(k, 0, in - 1); };
      row.first = inside(base - reach + 1);
      row.weights.assign(static_cast<std::size_t>(inside(base + reach) - row.first + 1), 0.0);
      for (std::int64_t k = base - reach + 1; k <= base + reach; ++k) {
        const double x = static_cast<double>(k) + 0.5 - centre;
        row.weights[static_cast<std::size_t>(inside(k) - row.first)] +=
            cubic_filter ? cubic(x, -0.75) : 1 - std::fabs(x);
      }
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

template <class T>
void resize_forward(const ResizeProblem& p) {
  const Shape &xs = p.in.shape, &ys = p.out.shape;
  const ResizeTable down = resize_table(p.params, xs[1], ys[1]), across = resize_table(p.params, xs[2], ys[2]);
  const auto x = p.in.typed<T>();
  const auto y = p.out.typed<T>();
  parallel_for(xs[0], 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> rows(static_cast<std::size_t>(xs[1] * ys[2]));  // one channel, resized across
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t c = 0; c < xs[3]; ++c) {
        for (std::int64_t r = 0; r < xs[1]; ++r) {
          for (std::int64_t j = 0; j < ys[2]; ++j) {
            const auto& row = across.rows[static_cast<std::size_t>(j)];
            double sum = 0;
            for (std::size_t k = 0; k < row.weights.size(); ++k)
              sum += row.weights[k] * x(n, r, row.first + static_cast<std::int64_t>(k), c);
            rows[static_cast<std::size_t>(r * ys[2] + j)] = sum;
          }
        }
        for (std::int64_t i = 0; i < ys[1]; ++i) {
          const auto& row = down.rows[static_cast<std::size_t>(i)];
          for (std::int64_t j = 0; j < ys[2]; ++j) {
            double sum = 0;
            for (std::size_t k = 0; k < row.weights.size(); ++k) {
              sum += row.weights[k] *
                     rows[static_cast<std::size_t>((row.first + static_cast<std::int64_t>(k)) * ys[2] + j)];
            }
            y(n, i, j, c) = static_cast<T>(sum);
          }
        }
      }
    }
  });
}

/// The transpose of forward: every gradient goes back to where its value came from, with the same weight.
template <class T>
void resize_backward(const ResizeProblem& p) {
  const Shape &ys = p.in.shape, &xs = p.out.shape;
  const ResizeTable down = resize_table(p.params, xs[1], ys[1]), across = resize_table(p.params, xs[2], ys[2]);
  const auto dy = p.in.typed<T>();
  const auto dx = p.out.typed<T>();
  parallel_for(xs[0], 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> rows(static_cast<std::size_t>(xs[1] * ys[2])), sums(static_cast<std::size_t>(xs[1] * xs[2]));
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t c = 0; c < xs[3]; ++c) {
        rows.assign(rows.size(), 0.0);
        sums.assign(sums.size(), 0.0);
        for (std::int64_t i = 0; i < ys[1]; ++i) {
          const auto& row = down.rows[static_cast<std::size_t>(i)];
          for (std::int64_t j = 0; j < ys[2]; ++j) {
            for (std::size_t k = 0; k < row.weights.size(); ++k) {
              rows[static_cast<std::size_t>((row.first + static_cast<std::int64_t>(k)) * ys[2] + j)] +=
                  row.weights[k] * dy(n, i, j, c);
            }
          }
        }
        for (std::int64_t r = 0; r < xs[1]; ++r) {
          for (std::int64_t j = 0; j < ys[2]; ++j) {
            const auto& row = across.rows[static_cast<std::size_t>(j)];
            for (std::size_t k = 0; k < row.weights.size(); ++k) {
              sums[static_cast<std::size_t>(r * xs[2] + row.first + static_cast<std::int64_t>(k))] +=
                  row.weights[k] * rows[static_cast<std::size_t>(r * ys[2] + j)];
            }
          }
        }
        for (std::int64_t r = 0; r < xs[1]; ++r) {
          for (std::int64_t s = 0; s < xs[2]; ++s)
            dx(n, r, s, c) = static_cast<T>(sums[static_cast<std::size_t>(r * xs[2] + s)]);
        }
      }
    }
  });
}

}  // namespace fovea::kernels::reference
