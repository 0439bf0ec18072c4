// Depthwise convolution, forward and both gradients. Bound by memory: a multiply-add per tap and element is little, so
// a thread makes a strip of results along the row and keeps the input's columns in registers, neighbours in a warp read
// neighbouring channels, and taps come from the L1 cache.
#include "kernels/check_internal.h"
#include "kernels/cuda/activation-inl.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"

namespace fovea::kernels::cuda {
namespace {

using Direction = Conv2dProblem::Direction;

constexpr int kLargestKernel = 7;
constexpr int kStrip = 4;

/// A strip of kStrip results of one row and channel. kKw and kStride are known at compile time where they are usual (0:
/// they are not), so that the columns stay in registers.
template <class S, int kKw, int kStride>
struct Forward {
  using T = Computing<S>;
  ConvGeometry g;
  std::int64_t strips;
  Activation kind;
  T alpha;
  Read<S> x, w;
  const T* bias;
  S* y;

  FOVEA_HD void operator()(std::int64_t index) const {
    const Divided channel(index, g.co), strip(channel.quotient, strips), row(strip.quotient, g.ho);
    const std::int64_t o = channel.rest, c = g.group_out == 1 ? o : divide(o, g.group_out);
    const std::int64_t j0 = strip.rest * kStrip;
    T sum[kStrip];
    for (int k = 0; k < kStrip; ++k) sum[k] = bias ? bias[o] : T(0);
    for (int a = 0; a < g.kh; ++a) {
      const std::int64_t r = g.row(row.rest, a);
      if (r < 0 || r >= g.h) continue;
      const Read<S> line = x + (row.quotient * g.h + r) * g.w * g.ci + c;
      const Read<S> taps = w + a * g.kw * g.co + o;
      if constexpr (kKw > 0) {
        constexpr int kColumns = (kStrip - 1) * kStride + kKw;
        T column[kColumns];
        for (int k = 0; k < kColumns; ++k) {
          const std::int64_t s = j0 * kStride - g.left + k;
          column[k] = s >= 0 && s < g.w ? line[s * g.ci] : T(0);
        }
        for (int b = 0; b < kKw; ++b) {
          const T tap = taps[b * g.co];
          for (int k = 0; k < kStrip; ++k) sum[k] += column[k * kStride + b] * tap;
        }
      } else {
        for (int b = 0; b < g.kw; ++b) {
          const T tap = taps[b * g.co];
          for (int k = 0; k < kStrip; ++k) {
            const std::int64_t s = g.column(j0 + k, b);
            if (s >= 0 && s < g.w) sum[k] += line[s * g.ci] * tap;
          }
        }
      }
    }
    S* const to = y + (strip.quotient * g.wo + j0) * g.co + o;
    for (int k = 0; k < kStrip; ++k) {
      if (j0 + k < g.wo) to[k * g.co] = narrowed<S>(activate(kind, alpha, sum[k]));
    }
  }
};

template <class S>
void run_forward(const Conv2dProblem& p) {
  using T = Computing<S>;
  const ConvGeometry g(p);
  const std::int64_t strips = (g.wo + kStrip - 1) / kStrip, count = p.n() * g.ho * strips * g.co;
  const int device = p.out.device.index;
  const auto run = [&]<int kKw, int kStride>() {
    for_each("depthwise", count,
             Forward<S, kKw, kStride>{g, strips, p.activation.kind, static_cast<T>(p.activation.alpha), Read<S>(p.x),
                                      Read<S>(p.w), optional_ptr<T>(p.bias), p.out.ptr<S>()},
             device);
  };
  if (g.dilation_w == 1 && g.kw == 3 && g.stride_w == 1) return run.template operator()<3, 1>();
  if (g.dilation_w == 1 && g.kw == 3 && g.stride_w == 2) return run.template operator()<3, 2>();
  if (g.dilation_w == 1 && g.kw == 5 && g.stride_w == 1) return run.template operator()<5, 1>();
  if (g.dilation_w == 1 && g.kw == 5 && g.stride_w == 2) return run.template operator()<5, 2>();
  run.template operator()<0, 0>();
}

/// dx of a strip of kStrip elements of one row and channel, gathered from the results whose taps read them: their
/// columns are read once. kOdd: padding on the left is odd, which at a stride of 2 decides what tap meets what column.
template <class S, int kKw, int kStride, bool kOdd>
struct BackwardStrip {
  using T = Computing<S>;
  ConvGeometry g;
  std::int64_t strips;
  Read<S> dy, w;
  S* dx;

  FOVEA_HD void operator()(std::int64_t index) const {
    constexpr int kParity = kOdd && kStride == 2 ? 1 : 0;
    // Element s0 + k meets tap b in column (s0 + left + k - b) / kStride, where that is a whole number.
    constexpr int kFirst = -((kKw - 1 - kParity) / kStride), kColumns = (kStrip - 1 + kParity) / kStride - kFirst + 1;
    const Divided channel(index, g.ci), strip(channel.quotient, strips), row(strip.quotient, g.h);
    const std::int64_t c = channel.rest, s0 = strip.rest * kStrip, j0 = (s0 + g.left - kParity) / kStride + kFirst;
    T sum[kStrip] = {};
    for (int a = 0; a < g.kh; ++a) {
      const std::int64_t r = row.rest + g.top - a * g.dilation_h;
      if (r < 0) break;
      const Divided i(r, g.stride_h);
      if (i.rest != 0 || i.quotient >= g.ho) continue;
      const Read<S> line = dy + (row.quotient * g.ho + i.quotient) * g.wo * g.co + c, taps = w + a * g.kw * g.co + c;
      T column[kColumns];
      for (int k = 0; k < kColumns; ++k) {
        const std::int64_t j = j0 + k;
        column[k] = j >= 0 && j < g.wo ? line[j * g.co] : T(0);
      }
      for (int b = 0; b < kKw; ++b) {
        const T tap = taps[b * g.co];
        for (int k = 0; k < kStrip; ++k) {
          const int at = k + kParity - b - kFirst * kStride;
          if (at % kStride == 0) sum[k] += column[at / kStride] * tap;
        }
      }
    }
    S* const to = dx + (strip.quotient * g.w + s0) * g.ci + c;
    for (int k = 0; k < kStrip; ++k) {
      if (s0 + k < g.w) to[k * g.ci] = narrowed<S>(sum[k]);
    }
  }
};

/// dx of one element, for the kernels, strides and multipliers that no strip is made for.
template <class S>
struct BackwardData {
  using T = Computing<S>;
  ConvGeometry g;
  Read<S> dy, w;
  S* dx;

  FOVEA_HD void operator()(std::int64_t index) const {
    const Divided channel(index, g.ci), column(channel.quotient, g.w), row(column.quotient, g.h);
    const std::int64_t c = channel.rest;
    T sum = T(0);
    for (int a = 0; a < g.kh; ++a) {
      const std::int64_t r = row.rest + g.top - a * g.dilation_h;
      if (r < 0) break;
      const Divided i(r, g.stride_h);
      if (i.rest != 0 || i.quotient >= g.ho) continue;
      for (int b = 0; b < g.kw; ++b) {
        const std::int64_t s = column.rest + g.left - b * g.dilation_w;
        if (s < 0) break;
        const Divided j(s, g.stride_w);
        if (j.rest != 0 || j.quotient >= g.wo) continue;
        const Read<S> from = dy + ((row.quotient * g.ho + i.quotient) * g.wo + j.quotient) * g.co + c * g.group_out;
        const Read<S> taps = w + (a * g.kw + b) * g.co + c * g.group_out;
        for (std::int64_t m = 0; m < g.group_out; ++m) sum += from[m] * taps[m];
      }
    }
    dx[index] = narrowed<S>(sum);
  }
};

template <class S>
void run_backward_data(const Conv2dProblem& p) {
  const ConvGeometry g(p);
  const Read<S> dy(p.y), w(p.w);
  S* const dx = p.out.ptr<S>();
  const std::int64_t strips = (g.w + kStrip - 1) / kStrip, count = p.n() * g.h * strips * g.ci;
  const auto run = [&]<int kKw, int kStride, bool kOdd>() {
    for_each("depthwise_backward_data", count, BackwardStrip<S, kKw, kStride, kOdd>{g, strips, dy, w, dx},
             p.out.device.index);
  };
  if (g.group_out == 1 && g.dilation_w == 1) {
    if (g.kw == 3 && g.stride_w == 1) return run.template operator()<3, 1, false>();
    if (g.kw == 5 && g.stride_w == 1) return run.template operator()<5, 1, false>();
    const bool odd = g.left % 2 == 1;
    if (g.kw == 3 && g.stride_w == 2)
      return odd ? run.template operator()<3, 2, true>() : run.template operator()<3, 2, false>();
    if (g.kw == 5 && g.stride_w == 2)
      return odd ? run.template operator()<5, 2, true>() : run.template operator()<5, 2, false>();
  }
  for_each("depthwise_backward_data", p.out.numel(), BackwardData<S>{g, dy, w, dx}, p.out.device.index);
}

/// dw of kRows rows of taps from row a on: kRows·kKw sums per channel over all results, a strip of which at a time
/// reads its columns once.
template <class S, int kRows, int kKw, int kStride>
void weights_strips(const ConvGeometry& g, int a, Read<S> x, Read<S> dy, S* dw, int device) {
  using T = Computing<S>;
  constexpr int kTaps = kRows * kKw, kColumns = (kStrip - 1) * kStride + kKw;
  const std::int64_t strips = (g.wo + kStrip - 1) / kStrip;
  reduce_columns<T, kTaps, Combine::sum, kRun / kStrip>(
      "depthwise_backward_weights", 1, g.n * g.ho * strips, g.co,
      [=] FOVEA_LAMBDA(std::int64_t, std::int64_t index, std::int64_t o, T(&terms)[kTaps]) {
        const Divided strip(index, strips), i(strip.quotient, g.ho);
        const std::int64_t j0 = strip.rest * kStrip, c = g.group_out == 1 ? o : divide(o, g.group_out);
        const Read<S> gradients = dy + (strip.quotient * g.wo + j0) * g.co + o;
        T gradient[kStrip];
        for (int k = 0; k < kStrip; ++k) gradient[k] = j0 + k < g.wo ? gradients[k * g.co] : T(0);
        for (int d = 0; d < kRows; ++d) {
          const std::int64_t r = g.row(i.rest, a + d);
          const bool inside = r >= 0 && r < g.h;
          const Read<S> line = x + (i.quotient * g.h + r) * g.w * g.ci + c;
          T column[kColumns];
          for (int k = 0; k < kColumns; ++k) {
            const std::int64_t s = j0 * kStride - g.left + k;
            column[k] = inside && s >= 0 && s < g.w ? line[s * g.ci] : T(0);
          }
          for (int b = 0; b < kKw; ++b) {
            T sum = T(0);
            for (int k = 0; k < kStrip; ++k) sum += column[k * kStride + b] * gradient[k];
            terms[d * kKw + b] = sum;
          }
        }
      },
      [=] FOVEA_LAMBDA(std::int64_t o, const double(&sums)[kTaps]) {
        for (int t = 0; t < kTaps; ++t) dw[(a * kKw + t) * g.co + o] = narrowed<S>(static_cast<T>(sums[t]));
      },
      device);
}

/// dw of one row of taps, for strides and dilations that no strip is made for.
template <class S, int kKw>
void weights_row(const ConvGeometry& g, int a, Read<S> x, Read<S> dy, S* dw, int device) {
  using T = Computing<S>;
  reduce_columns<T, kKw>(
      "depthwise_backward_weights", 1, g.n * g.ho * g.wo, g.co,
      [=] FOVEA_LAMBDA(std::int64_t, std::int64_t row, std::int64_t o, T(&terms)[kKw]) {
        const Divided j(row, g.wo), i(j.quotient, g.ho);
        const std::int64_t r = g.row(i.rest, a);
        const bool row_inside = r >= 0 && r < g.h;
        const T gradient = row_inside ? dy[row * g.co + o] : T(0);
        const Read<S> line = x + (i.quotient * g.h + r) * g.w * g.ci + (g.group_out == 1 ? o : divide(o, g.group_out));
        for (int b = 0; b < kKw; ++b) {
          const std::int64_t s = g.column(j.rest, b);
          terms[b] = row_inside && s >= 0 && s < g.w ? line[s * g.ci] * gradient : T(0);
        }
      },
      [=] FOVEA_LAMBDA(std::int64_t o, const double(&sums)[kKw]) {
        for (int b = 0; b < kKw; ++b) dw[(a * kKw + b) * g.co + o] = narrowed<S>(static_cast<T>(sums[b]));
      },
      device);
}

/// All rows of a kernel of kKw columns.
template <class S, int kKw>
void weights(const ConvGeometry& g, Read<S> x, Read<S> dy, S* dw, int device) {
  if constexpr (kKw == 3 || kKw == 5) {
    if (g.dilation_w == 1 && (g.stride_w == 1 || g.stride_w == 2)) {
      const auto run = [&]<int kRows>(int a) {
        g.stride_w == 1 ? weights_strips<S, kRows, kKw, 1>(g, a, x, dy, dw, device)
                        : weights_strips<S, kRows, kKw, 2>(g, a, x, dy, dw, device);
      };
      if (kKw == 3 && g.kh == 3) return run.template operator()<3>(0);
      for (int a = 0; a < g.kh; ++a) run.template operator()<1>(a);
      return;
    }
  }
  for (int a = 0; a < g.kh; ++a) weights_row<S, kKw>(g, a, x, dy, dw, device);
}

template <class S>
void run_backward_weights(const Conv2dProblem& p) {
  const ConvGeometry g(p);
  const Read<S> x(p.x), dy(p.y);
  S* const dw = p.out.ptr<S>();
  const int device = p.out.device.index;
  switch (g.kw) {
    case 1: weights<S, 1>(g, x, dy, dw, device); break;
    case 2: weights<S, 2>(g, x, dy, dw, device); break;
    case 3: weights<S, 3>(g, x, dy, dw, device); break;
    case 4: weights<S, 4>(g, x, dy, dw, device); break;
    case 5: weights<S, 5>(g, x, dy, dw, device); break;
    case 6: weights<S, 6>(g, x, dy, dw, device); break;
    default: weights<S, 7>(g, x, dy, dw, device); break;
  }
  if (p.dbias) column_sums(p.y, p.n() * g.ho * g.wo, g.co, *p.dbias);
}

}  // namespace

const char* depthwise_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cuda(p.out)) return reason;
  if (!p.depthwise()) return "not depthwise";
  if (p.kw() > kLargestKernel) return "more than 7 columns of taps";
  return nullptr;
}

void depthwise(const Conv2dProblem& p) {
  by_storage(p.out.dtype, [&](auto t) {
    using S = decltype(t);
    switch (p.direction) {
      case Direction::forward: run_forward<S>(p); break;
      case Direction::backward_data: run_backward_data<S>(p); break;
      case Direction::backward_weights: run_backward_weights<S>(p); break;
    }
  });
}

}  // namespace fovea::kernels::cuda
