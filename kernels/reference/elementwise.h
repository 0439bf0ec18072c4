// Broadcasting, reductions, concatenation, softmax and dropout as their definitions read. The oracle for every faster
// implementation.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/problems.h"
#include "kernels/reference/activation.h"

namespace fovea::kernels::reference {

/// Walks a shape in row-major order and keeps the offset of the element in a tensor that lacks or repeats some of its
/// axes.
class BroadcastWalk {
 public:
  /// @param part a shape that broadcasts to `whole` (aligned at the last axis)
  BroadcastWalk(const Shape& whole, const Shape& part) : whole_(whole) {
    std::int64_t stride = 1;
    for (int axis = part.rank() - 1; axis >= 0; --axis) {
      const int at = axis + whole.rank() - part.rank();
      strides_[static_cast<std::size_t>(at)] = part[axis] == 1 ? 0 : stride;
      stride *= part[axis];
    }
  }
  /// @param repeated axes of `whole` that the other tensor lacks
  BroadcastWalk(const Shape& whole, const std::array<bool, Shape::kMaxRank>& repeated) : whole_(whole) {
    std::int64_t stride = 1;
    for (int axis = whole.rank() - 1; axis >= 0; --axis) {
      if (repeated[static_cast<std::size_t>(axis)]) continue;
      strides_[static_cast<std::size_t>(axis)] = stride;
      stride *= whole[axis];
    }
  }

  std::int64_t offset() const { return offset_; }
  void next() {
    for (int axis = whole_.rank() - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      offset_ += strides_[a];
      if (++index_[a] < whole_[axis]) return;
      offset_ -= strides_[a] * whole_[axis];
      index_[a] = 0;
    }
  }

 private:
  Shape whole_;
  std::array<std::int64_t, Shape::kMaxRank> strides_{}, index_{};
  std::int64_t offset_ = 0;
};

template <class T>
void binary(const BinaryProblem& p) {
  const T *a = p.a.ptr<T>(), *b = p.b.ptr<T>();
  T* y = p.y.ptr<T>();
  BroadcastWalk in_a(p.y.shape, p.a.shape), in_b(p.y.shape, p.b.shape);
  for (std::int64_t i = 0; i < p.y.numel(); ++i, in_a.next(), in_b.next()) {
    const T left = a[in_a.offset()], right = b[in_b.offset()];
    switch (p.kind) {
      case Binary::add: y[i] = left + right; break;
      case Binary::subtract: y[i] = left - right; break;
      case Binary::multiply: y[i] = left * right; break;
    }
  }
}

template <class T>
void reduce_to(const ReduceToProblem& p) {
  const T* x = p.x.ptr<T>();
  std::vector<double> sums(static_cast<std::size_t>(p.y.numel()));
  BroadcastWalk in_y(p.x.shape, p.y.shape);
  for (std::int64_t i = 0; i < p.x.numel(); ++i, in_y.next()) sums[static_cast<std::size_t>(in_y.offset())] += x[i];
  std::transform(sums.begin(), sums.end(), p.y.ptr<T>(), [](double v) { return static_cast<T>(v); });
}

template <class T>
void affine(const AffineProblem& p) {
  const T* x = p.x.ptr<T>();
  T* y = p.y.ptr<T>();
  for (std::int64_t i = 0; i < p.y.numel(); ++i) y[i] = static_cast<T>(p.scale * x[i] + p.shift);
}

/// Copies bytes, so every element type is served.
inline void concat(const ConcatProblem& p) {
  const bool forward = p.pass == Pass::forward;
  const Shape& whole = forward ? p.whole_out.shape : p.whole_in.shape;
  const std::size_t element = dtype_size(forward ? p.whole_out.dtype : p.whole_in.dtype);
  const std::size_t whole_row = static_cast<std::size_t>(whole[p.axis] * p.inner) * element;
  std::size_t at = 0;
  const std::size_t parts = forward ? p.parts_in.size() : p.parts_out.size();
  for (std::size_t k = 0; k < parts; ++k) {
    const Shape& part = forward ? p.parts_in[k].shape : p.parts_out[k].shape;
    const std::size_t row = static_cast<std::size_t>(part[p.axis] * p.inner) * element;
    for (std::int64_t o = 0; row > 0 && o < p.outer; ++o) {
      const auto outer = static_cast<std::size_t>(o);
      if (forward) {
        std::memcpy(static_cast<char*>(p.whole_out.data) + outer * whole_row + at,
                    static_cast<const char*>(p.parts_in[k].data) + outer * row, row);
      } else {
        std::memcpy(static_cast<char*>(p.parts_out[k].data) + outer * row,
                    static_cast<const char*>(p.whole_in.data) + outer * whole_row + at, row);
      }
    }
    at += row;
  }
}

/// How many elements go into one result.
inline double reduced_count(const ReduceProblem& p) {
  double count = 1;
  for (int axis = 0; axis < p.full().rank(); ++axis) {
    if (p.reduced[static_cast<std::size_t>(axis)]) count *= static_cast<double>(p.full()[axis]);
  }
  return count;
}

template <class T>
void reduce_forward(const ReduceProblem& p) {
  const T* x = p.in.ptr<T>();
  const bool max = p.kind == Reduction::max;
  std::vector<double> results(static_cast<std::size_t>(p.out.numel()),
                              max ? -std::numeric_limits<double>::infinity() : 0.0);
  BroadcastWalk in_result(p.in.shape, p.reduced);
  for (std::int64_t i = 0; i < p.in.numel(); ++i, in_result.next()) {
    double& result = results[static_cast<std::size_t>(in_result.offset())];
    if (!max) {
      result += x[i];
    } else if (x[i] > result || std::isnan(x[i])) {  // NaN wins and stays
      result = x[i];
    }
  }
  const double scale = p.kind == Reduction::mean ? reduced_count(p) : 1;
  std::transform(results.begin(), results.end(), p.out.ptr<T>(), [&](double v) { return static_cast<T>(v / scale); });
}

template <class T>
void reduce_backward(const ReduceProblem& p) {
  const T* dy = p.in.ptr<T>();
  T* dx = p.out.ptr<T>();
  const double scale = p.kind == Reduction::mean ? reduced_count(p) : 1;
  BroadcastWalk in_result(p.out.shape, p.reduced);
  for (std::int64_t i = 0; i < p.out.numel(); ++i, in_result.next())
    dx[i] = static_cast<T>(dy[in_result.offset()] / scale);
}

/// y = e^(x−max) / Σ e^(x−max), or its logarithm (x−max) − log Σ e^(x−max).
template <class T>
void softmax_forward(const SoftmaxProblem& p) {
  const std::int64_t classes = p.classes();
  parallel_for(p.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* x = p.x.ptr<T>() + r * classes;
      T* y = p.out.ptr<T>() + r * classes;
      const double greatest = *std::max_element(x, x + classes);
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(x[c] - greatest);
      for (std::int64_t c = 0; c < classes; ++c) {
        y[c] = static_cast<T>(p.log ? (x[c] - greatest) - std::log(sum) : std::exp(x[c] - greatest) / sum);
      }
    }
  });
}

/// dx = y·(dy − Σ dy·y); of the logarithm dx = dy − e^y·Σ dy.
template <class T>
void softmax_backward(const SoftmaxProblem& p) {
  const std::int64_t classes = p.classes();
  parallel_for(p.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T *y = p.y.ptr<T>() + r * classes, *dy = p.dy.ptr<T>() + r * classes;
      T* dx = p.out.ptr<T>() + r * classes;
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sum += p.log ? dy[c] : static_cast<double>(dy[c]) * y[c];
      for (std::int64_t c = 0; c < classes; ++c)
        dx[c] = static_cast<T>(p.log ? dy[c] - std::exp(y[c]) * sum : y[c] * (dy[c] - sum));
    }
  });
}

/// Element i is dropped where its 32 random bits are below rate·2³². Two elements share one number of the stream: the
/// even one takes its lower half. All backends draw so.
class DropoutBits {
 public:
  DropoutBits(Rng rng, std::int64_t first) : rng_(rng), next_(first) {
    rng_.skip(static_cast<std::uint64_t>(first / 2));
    if (first % 2 == 1) bits_ = rng_.next();
  }
  std::uint32_t next() {
    if (next_++ % 2 == 0) {
      bits_ = rng_.next();
      return static_cast<std::uint32_t>(bits_);
    }
    return static_cast<std::uint32_t>(bits_ >> 32);
  }
  static std::uint64_t threshold(double rate) { return static_cast<std::uint64_t>(std::llround(rate * 0x1p32)); }

 private:
  Rng rng_;
  std::int64_t next_;
  std::uint64_t bits_ = 0;
};

/// What kept elements are multiplied by: 1/(1−rate); 0 at rate 1, which keeps none.
inline double dropout_scale(double rate) { return rate < 1 ? 1 / (1 - rate) : 0; }

template <class T>
void dropout_forward(const DropoutProblem& p) {
  const T* x = p.in.ptr<T>();
  T* y = p.out.ptr<T>();
  std::uint8_t* mask = p.mask_out.ptr<std::uint8_t>();
  const T scale = static_cast<T>(dropout_scale(p.rate));
  const std::uint64_t threshold = DropoutBits::threshold(p.rate);
  parallel_for(p.out.numel(), kElementGrain, [&](std::int64_t begin, std::int64_t end) {
    DropoutBits bits(p.rng, p.first + begin);
    for (std::int64_t i = begin; i < end; ++i) {
      mask[i] = bits.next() >= threshold;
      y[i] = mask[i] ? x[i] * scale : T{0};
    }
  });
}

template <class T>
void dropout_backward(const DropoutProblem& p) {
  const T* dy = p.in.ptr<T>();
  T* dx = p.out.ptr<T>();
  const std::uint8_t* mask = p.mask.ptr<std::uint8_t>();
  const T scale = static_cast<T>(dropout_scale(p.rate));
  for (std::int64_t i = 0; i < p.out.numel(); ++i) dx[i] = mask[i] ? dy[i] * scale : T{0};
}

}  // namespace fovea::kernels::reference
