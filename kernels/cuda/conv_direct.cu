// Convolution as its definition reads, one thread per result: for what no faster implementation takes (f64 for gradient
// checks, kernels that cuDNN refuses). Far from any limit of the machine.
#include "kernels/check_internal.h"
#include "kernels/cuda/activation-inl.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"

namespace fovea::kernels::cuda {
namespace {

using Direction = Conv2dProblem::Direction;

template <class S>
void run_forward(const Conv2dProblem& p) {
  using T = Computing<S>;
  const ConvGeometry g(p);
  const Read<S> x(p.x), w(p.w);
  const T* const bias = optional_ptr<T>(p.bias);
  S* const y = p.out.ptr<S>();
  const Activation kind = p.activation.kind;
  const T alpha = static_cast<T>(p.activation.alpha);
  for_each(
      "conv2d (direct)", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t index) {
        const Divided channel(index, g.co), j(channel.quotient, g.wo), i(j.quotient, g.ho);
        const std::int64_t o = channel.rest, first = divide(o, g.group_out) * g.group_in;
        double sum = bias ? static_cast<double>(bias[o]) : 0.0;
        for (std::int64_t a = 0; a < g.kh; ++a) {
          const std::int64_t r = g.row(i.rest, a);
          if (r < 0 || r >= g.h) continue;
          for (std::int64_t b = 0; b < g.kw; ++b) {
            const std::int64_t s = g.column(j.rest, b);
            if (s < 0 || s >= g.w) continue;
            const Read<S> from = x + ((i.quotient * g.h + r) * g.w + s) * g.ci + first;
            const Read<S> taps = w + (a * g.kw + b) * g.group_in * g.co + o;
            for (std::int64_t c = 0; c < g.group_in; ++c)
              sum += static_cast<double>(from[c]) * static_cast<double>(taps[c * g.co]);
          }
        }
        y[index] = narrowed<S>(activate(kind, alpha, static_cast<T>(sum)));
      },
      p.out.device.index);
}

template <class S>
void run_backward_data(const Conv2dProblem& p) {
  using T = Computing<S>;
  const ConvGeometry g(p);
  const Read<S> dy(p.y), w(p.w);
  S* const dx = p.out.ptr<S>();
  for_each(
      "conv2d_backward_data (direct)", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t index) {
        const Divided channel(index, g.ci), column(channel.quotient, g.w), row(column.quotient, g.h),
            group(channel.rest, g.group_in);
        double sum = 0;
        for (std::int64_t a = 0; a < g.kh; ++a) {
          const std::int64_t r = row.rest + g.top - a * g.dilation_h;
          if (r < 0) break;
          const Divided i(r, g.stride_h);
          if (i.rest != 0 || i.quotient >= g.ho) continue;
          for (std::int64_t b = 0; b < g.kw; ++b) {
            const std::int64_t s = column.rest + g.left - b * g.dilation_w;
            if (s < 0) break;
            const Divided j(s, g.stride_w);
            if (j.rest != 0 || j.quotient >= g.wo) continue;
            const Read<S> from =
                dy + ((row.quotient * g.ho + i.quotient) * g.wo + j.quotient) * g.co + group.quotient * g.group_out;
            const Read<S> taps = w + ((a * g.kw + b) * g.group_in + group.rest) * g.co + group.quotient * g.group_out;
            for (std::int64_t o = 0; o < g.group_out; ++o)
              sum += static_cast<double>(from[o]) * static_cast<double>(taps[o]);
          }
        }
        dx[index] = narrowed<S>(static_cast<T>(sum));
      },
      p.out.device.index);
}

template <class S>
void run_backward_weights(const Conv2dProblem& p) {
  using T = Computing<S>;
  const ConvGeometry g(p);
  const Read<S> x(p.x), dy(p.y);
  S* const dw = p.out.ptr<S>();
  const std::int64_t rows = g.n * g.ho * g.wo;
  for_each(
      "conv2d_backward_weights (direct)", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t index) {
        const Divided o(index, g.co), in(o.quotient, g.group_in), b(in.quotient, g.kw);
        const std::int64_t c = divide(o.rest, g.group_out) * g.group_in + in.rest, a = b.quotient;
        double sum = 0;
        for (std::int64_t row = 0; row < rows; ++row) {
          const Divided j(row, g.wo), i(j.quotient, g.ho);
          const std::int64_t r = g.row(i.rest, a);
          const std::int64_t s = g.column(j.rest, b.rest);
          if (r < 0 || r >= g.h || s < 0 || s >= g.w) continue;
          sum += static_cast<double>(x[((i.quotient * g.h + r) * g.w + s) * g.ci + c]) *
                 static_cast<double>(dy[row * g.co + o.rest]);
        }
        dw[index] = narrowed<S>(static_cast<T>(sum));
      },
      p.out.device.index);
  if (p.dbias) column_sums(p.y, rows, g.co, *p.dbias);
}

}  // namespace

const char* direct_declines(const Conv2dProblem& p) { return needs_cuda(p.out); }

void direct_conv2d(const Conv2dProblem& p) {
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
