// Convolution as its definition reads, NHWC by HWIO, sums in double. The oracle for every faster implementation.
//   y[n,i,j,o] = act(bias[o] + Σ x[n, i·s+a·d−top, j·s+b·d−left, c] · w[a,b,c,o])  over a, b and the input channels c
//   of o's group
#pragma once

#include <vector>

#include "core/threads/parallel.h"
#include "kernels/conv2d.h"
#include "kernels/reference/activation.h"

namespace fovea::kernels::reference {

/// Extents and the map from a result's row or column and a tap to the input's.
struct ConvGeometry {
  std::int64_t n, h, w, ci, kh, kw, ho, wo, co, groups, group_in, group_out;
  Conv2dParams params;

  explicit ConvGeometry(const Conv2dProblem& p)
      : n(p.n()),
        h(p.h()),
        w(p.width()),
        ci(p.ci()),
        kh(p.kh()),
        kw(p.kw()),
        ho(p.ho()),
        wo(p.wo()),
        co(p.co()),
        groups(p.params.groups),
        group_in(ci / groups),
        group_out(co / groups),
        params(p.params) {}

  std::int64_t row(std::int64_t i, std::int64_t a) const {
    return i * params.stride.h + a * params.dilation.h - params.padding.top;
  }
  std::int64_t column(std::int64_t j, std::int64_t b) const {
    return j * params.stride.w + b * params.dilation.w - params.padding.left;
  }
  bool inside(std::int64_t r, std::int64_t c) const { return r >= 0 && r < h && c >= 0 && c < w; }
};

template <class T>
void conv2d_forward(const Conv2dProblem& p) {
  const ConvGeometry g(p);
  const auto x = p.x.typed<T>(), weights = p.w.typed<T>();
  const auto y = p.out.typed<T>();
  const T* bias = p.bias ? p.bias->ptr<T>() : nullptr;
  parallel_for(g.n * g.ho, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sum(static_cast<std::size_t>(g.co));
    for (std::int64_t image_row = begin; image_row < end; ++image_row) {
      const std::int64_t n = image_row / g.ho, i = image_row % g.ho;
      for (std::int64_t j = 0; j < g.wo; ++j) {
        for (std::int64_t o = 0; o < g.co; ++o) sum[static_cast<std::size_t>(o)] = bias ? bias[o] : 0.0;
        for (std::int64_t a = 0; a < g.kh; ++a) {
          for (std::int64_t b = 0; b < g.kw; ++b) {
            const std::int64_t r = g.row(i, a), c = g.column(j, b);
            if (!g.inside(r, c)) continue;
            for (std::int64_t in = 0; in < g.ci; ++in) {
              const std::int64_t first = in / g.group_in * g.group_out;
              const double value = x(n, r, c, in);
              const T* tap = &weights(a, b, in % g.group_in, first);
              double* to = sum.data() + first;
              for (std::int64_t o = 0; o < g.group_out; ++o) to[o] += value * tap[o];
            }
          }
        }
        for (std::int64_t o = 0; o < g.co; ++o) {
          y(n, i, j, o) = static_cast<T>(activate(p.activation, sum[static_cast<std::size_t>(o)]));
        }
      }
    }
  });
}

/// dx[n,r,c,in] = Σ dy[n,i,j,o] · w[a,b,in,o] over all i, j, a, b whose tap reads (r,c).
template <class T>
void conv2d_backward_data(const Conv2dProblem& p) {
  const ConvGeometry g(p);
  const auto dy = p.y.typed<T>(), weights = p.w.typed<T>();
  const auto dx = p.out.typed<T>();
  parallel_for(g.n, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(g.h * g.w * g.ci));
    for (std::int64_t n = begin; n < end; ++n) {
      sums.assign(sums.size(), 0.0);
      for (std::int64_t i = 0; i < g.ho; ++i) {
        for (std::int64_t j = 0; j < g.wo; ++j) {
          for (std::int64_t a = 0; a < g.kh; ++a) {
            for (std::int64_t b = 0; b < g.kw; ++b) {
              const std::int64_t r = g.row(i, a), c = g.column(j, b);
              if (!g.inside(r, c)) continue;
              for (std::int64_t in = 0; in < g.ci; ++in) {
                const std::int64_t first = in / g.group_in * g.group_out;
                const T* tap = &weights(a, b, in % g.group_in, first);
                const T* gradient = &dy(n, i, j, first);
                double sum = 0;
                for (std::int64_t o = 0; o < g.group_out; ++o) sum += static_cast<double>(gradient[o]) * tap[o];
                sums[static_cast<std::size_t>((r * g.w + c) * g.ci + in)] += sum;
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

/// dw[a,b,in,o] = Σ x[n, row(i,a), column(j,b), in] · dy[n,i,j,o] over n, i, j; dbias[o] = Σ dy[n,i,j,o].
template <class T>
void conv2d_backward_weights(const Conv2dProblem& p) {
  const ConvGeometry g(p);
  const auto x = p.x.typed<T>(), dy = p.y.typed<T>();
  const auto dw = p.out.typed<T>();
  parallel_for(g.kh * g.kw, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(g.group_in * g.co));
    for (std::int64_t tap = begin; tap < end; ++tap) {
      const std::int64_t a = tap / g.kw, b = tap % g.kw;
      sums.assign(sums.size(), 0.0);
      for (std::int64_t n = 0; n < g.n; ++n) {
        for (std::int64_t i = 0; i < g.ho; ++i) {
          for (std::int64_t j = 0; j < g.wo; ++j) {
            const std::int64_t r = g.row(i, a), c = g.column(j, b);
            if (!g.inside(r, c)) continue;
            for (std::int64_t in = 0; in < g.ci; ++in) {
              const std::int64_t first = in / g.group_in * g.group_out;
              const double value = x(n, r, c, in);
              const T* gradient = &dy(n, i, j, first);
              double* to = sums.data() + in % g.group_in * g.co + first;
              for (std::int64_t o = 0; o < g.group_out; ++o) to[o] += value * gradient[o];
            }
          }
        }
      }
      T* to = &dw(a, b, 0, 0);
      for (std::size_t k = 0; k < sums.size(); ++k) to[k] = static_cast<T>(sums[k]);
    }
  });
  if (p.dbias) {
    std::vector<double> sums(static_cast<std::size_t>(g.co));
    for (std::int64_t k = 0; k < dy.size(); ++k) sums[static_cast<std::size_t>(k % g.co)] += dy[k];
    T* dbias = p.dbias->ptr<T>();
    for (std::int64_t o = 0; o < g.co; ++o) dbias[o] = static_cast<T>(sums[static_cast<std::size_t>(o)]);
  }
}

}  // namespace fovea::kernels::reference
