// Matrix products as their definition reads, sums in double. The oracle for every faster implementation.
#pragma once

#include <vector>

#include "core/threads/parallel.h"
#include "kernels/problems.h"
#include "kernels/reference/activation.h"

namespace fovea::kernels::reference {

/// c[i,j] = finish(Σ_k op(a)[i,k]·op(b)[k,j], i, j).
template <class T, class Finish>
void product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, bool transpose_a, const T* b, bool transpose_b,
             T* c, Finish&& finish) {
  parallel_for(m, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> row(static_cast<std::size_t>(n));
    for (std::int64_t i = begin; i < end; ++i) {
      row.assign(row.size(), 0.0);
      double* const sum = row.data();
      for (std::int64_t l = 0; l < k; ++l) {
        const double value = transpose_a ? a[l * m + i] : a[i * k + l];
        if (transpose_b) {
          for (std::int64_t j = 0; j < n; ++j) sum[j] += value * b[j * k + l];
        } else {
          for (std::int64_t j = 0; j < n; ++j) sum[j] += value * b[l * n + j];
        }
      }
      for (std::int64_t j = 0; j < n; ++j) c[i * n + j] = static_cast<T>(finish(sum[j], i, j));
    }
  });
}

template <class T>
void matmul(const MatmulProblem& p) {
  T* const c = p.c.ptr<T>();
  const std::int64_t n = p.n();
  product(p.m(), n, p.k(), p.a.ptr<T>(), p.transpose_a, p.b.ptr<T>(), p.transpose_b, c,
          [&](double sum, std::int64_t i, std::int64_t j) { return p.accumulate ? sum + c[i * n + j] : sum; });
}

template <class T>
void dense(const DenseProblem& p) {
  const std::int64_t m = p.m(), k = p.k(), n = p.n();
  const auto plain = [](double sum, std::int64_t, std::int64_t) { return sum; };
  T* const out = p.out.ptr<T>();
  switch (p.direction) {
    case DenseProblem::Direction::forward: {
      const T* bias = p.bias ? p.bias->ptr<T>() : nullptr;
      product(m, n, k, p.x.ptr<T>(), false, p.w.ptr<T>(), false, out, [&](double sum, std::int64_t, std::int64_t j) {
        return activate(p.activation, bias ? sum + bias[j] : sum);
      });
      break;
    }
    case DenseProblem::Direction::backward_data:
      product(m, k, n, p.y.ptr<T>(), false, p.w.ptr<T>(), true, out, plain);
      break;
    case DenseProblem::Direction::backward_weights: {
      const T* dy = p.y.ptr<T>();
      product(k, n, m, p.x.ptr<T>(), true, dy, false, out, plain);
      if (!p.dbias) break;
      T* dbias = p.dbias->ptr<T>();
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < m; ++i) sum += dy[i * n + j];
        dbias[j] = static_cast<T>(sum);
      }
      break;
    }
  }
}

}  // namespace fovea::kernels::reference
