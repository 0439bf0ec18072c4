// Pooling as its definitions read. The oracle for every faster implementation.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/problems.h"

namespace fovea::kernels::reference {

/// The part of a window that lies inside the image, and how many cells count for an average.
struct PoolWindow {
  std::int64_t top, left;                                     ///< first cell, maybe in the padding
  std::int64_t row_begin, row_end, column_begin, column_end;  ///< inside the image
  double cells;

  PoolWindow(const Pool2dProblem& p, std::int64_t i, std::int64_t j) {
    const Pool2dParams& q = p.params;
    const std::int64_t h = p.x_shape[1], w = p.x_shape[2];
    top = i * q.stride.h - q.padding.top;
    left = j * q.stride.w - q.padding.left;
    row_begin = std::max<std::int64_t>(top, 0);
    row_end = std::min(top + q.window.h, h);
    column_begin = std::max<std::int64_t>(left, 0);
    column_end = std::min(left + q.window.w, w);
    cells = static_cast<double>((row_end - row_begin) * (column_end - column_begin));
    if (q.count_include_pad) {  // the padded image ends behind `bottom` and `right`: what ceil_mode reaches beyond does
                                // not count
      cells = static_cast<double>((std::min(top + q.window.h, h + q.padding.bottom) - top) *
                                  (std::min(left + q.window.w, w + q.padding.right) - left));
    }
  }
};

template <class T>
void pool2d_forward(const Pool2dProblem& p) {
  const std::int64_t ho = p.y_shape[1], wo = p.y_shape[2], channels = p.y_shape[3];
  const auto x = p.in.typed<T>();
  const auto y = p.out.typed<T>();
  std::int32_t* argmax = p.argmax_out ? p.argmax_out->ptr<std::int32_t>() : nullptr;
  parallel_for(p.y_shape[0] * ho, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t image_row = begin; image_row < end; ++image_row) {
      const std::int64_t n = image_row / ho, i = image_row % ho;
      for (std::int64_t j = 0; j < wo; ++j) {
        const PoolWindow window(p, i, j);
        for (std::int64_t c = 0; c < channels; ++c) {
          T best = 0;
          std::int32_t where = -1;
          double sum = 0;
          for (std::int64_t r = window.row_begin; r < window.row_end; ++r) {
            for (std::int64_t s = window.column_begin; s < window.column_end; ++s) {
              const T value = x(n, r, s, c);
              sum += value;
              // The first cell, a greater one, or the first NaN.
              if (where < 0 || value > best || (std::isnan(value) && !std::isnan(best))) {
                best = value;
                where = static_cast<std::int32_t>((r - window.top) * p.params.window.w + s - window.left);
              }
            }
          }
          y(n, i, j, c) = p.params.kind == PoolKind::max ? best : static_cast<T>(sum / window.cells);
          if (argmax) argmax[(image_row * wo + j) * channels + c] = where;
        }
      }
    }
  });
}

template <class T>
void pool2d_backward(const Pool2dProblem& p) {
  const std::int64_t ho = p.y_shape[1], wo = p.y_shape[2], channels = p.y_shape[3];
  const std::int64_t h = p.x_shape[1], w = p.x_shape[2];
  const auto dy = p.in.typed<T>();
  const auto dx = p.out.typed<T>();
  const std::int32_t* argmax = p.argmax ? p.argmax->ptr<std::int32_t>() : nullptr;
  parallel_for(p.x_shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(h * w * channels));
    for (std::int64_t n = begin; n < end; ++n) {
      sums.assign(sums.size(), 0.0);
      const auto sum_at = [&](std::int64_t r, std::int64_t s, std::int64_t c) -> double& {
        return sums[static_cast<std::size_t>((r * w + s) * channels + c)];
      };
      for (std::int64_t i = 0; i < ho; ++i) {
        for (std::int64_t j = 0; j < wo; ++j) {
          const PoolWindow window(p, i, j);
          for (std::int64_t c = 0; c < channels; ++c) {
            const double gradient = dy(n, i, j, c);
            if (argmax) {
              const std::int32_t where = argmax[((n * ho + i) * wo + j) * channels + c];
              const std::int64_t r = window.top + where / p.params.window.w,
                                 s = window.left + where % p.params.window.w;
              // An argmax that was not written by forward must not become a write outside the image.
              if (where >= 0 && r >= 0 && r < h && s >= 0 && s < w) sum_at(r, s, c) += gradient;
            } else {
              for (std::int64_t r = window.row_begin; r < window.row_end; ++r) {
                for (std::int64_t s = window.column_begin; s < window.column_end; ++s)
                  sum_at(r, s, c) += gradient / window.cells;
              }
            }
          }
        }
      }
      T* to = &dx(n, 0, 0, 0);
      for (std::size_t k = 0; k < sums.size(); ++k) to[k] = static_cast<T>(sums[k]);
    }
  });
}

/// Cell i of `out` covers rows floor(i·in/out) to ceil((i+1)·in/out).
inline std::int64_t adaptive_begin(std::int64_t i, std::int64_t in, std::int64_t out) { return i * in / out; }
inline std::int64_t adaptive_end(std::int64_t i, std::int64_t in, std::int64_t out) {
  return ((i + 1) * in + out - 1) / out;
}

template <class T>
void average_pool_forward(const AveragePoolProblem& p) {
  const std::int64_t h = p.x_shape[1], w = p.x_shape[2], ho = p.y_shape[1], wo = p.y_shape[2], channels = p.x_shape[3];
  const auto x = p.in.typed<T>();
  const TypedView<T> y(p.out.ptr<T>(), p.y_shape);
  parallel_for(p.x_shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sum(static_cast<std::size_t>(channels));
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t i = 0; i < ho; ++i) {
        for (std::int64_t j = 0; j < wo; ++j) {
          const std::int64_t top = adaptive_begin(i, h, ho), bottom = adaptive_end(i, h, ho);
          const std::int64_t left = adaptive_begin(j, w, wo), right = adaptive_end(j, w, wo);
          sum.assign(sum.size(), 0.0);
          for (std::int64_t r = top; r < bottom; ++r) {
            for (std::int64_t s = left; s < right; ++s) {
              for (std::int64_t c = 0; c < channels; ++c) sum[static_cast<std::size_t>(c)] += x(n, r, s, c);
            }
          }
          const double cells = static_cast<double>((bottom - top) * (right - left));
          for (std::int64_t c = 0; c < channels; ++c)
            y(n, i, j, c) = static_cast<T>(sum[static_cast<std::size_t>(c)] / cells);
        }
      }
    }
  });
}

template <class T>
void average_pool_backward(const AveragePoolProblem& p) {
  const std::int64_t h = p.x_shape[1], w = p.x_shape[2], ho = p.y_shape[1], wo = p.y_shape[2], channels = p.x_shape[3];
  const TypedView<const T> dy(p.in.ptr<T>(), p.y_shape);
  const auto dx = p.out.typed<T>();
  parallel_for(p.x_shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(h * w * channels));
    for (std::int64_t n = begin; n < end; ++n) {
      sums.assign(sums.size(), 0.0);
      for (std::int64_t i = 0; i < ho; ++i) {
        for (std::int64_t j = 0; j < wo; ++j) {
          const std::int64_t top = adaptive_begin(i, h, ho), bottom = adaptive_end(i, h, ho);
          const std::int64_t left = adaptive_begin(j, w, wo), right = adaptive_end(j, w, wo);
          const double cells = static_cast<double>((bottom - top) * (right - left));
          for (std::int64_t r = top; r < bottom; ++r) {
            for (std::int64_t s = left; s < right; ++s) {
              for (std::int64_t c = 0; c < channels; ++c) {
                sums[static_cast<std::size_t>((r * w + s) * channels + c)] += dy(n, i, j, c) / cells;
              }
            }
          }
        }
      }
      T* to = &dx(n, 0, 0, 0);
      for (std::size_t k = 0; k < sums.size(); ++k) to[k] = static_cast<T>(sums[k]);
    }
  });
}

}  // namespace fovea::kernels::reference
