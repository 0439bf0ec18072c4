// Batch norm backward with the activation's gradient fused: one pass over x and dy for the two sums, one for dx;
// nothing but x and the statistics was kept from the forward pass.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/batch_norm_backward.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/batch_norm_raw.h"
#include "kernels/cpu/simd/columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

/// dy where the activation behind the normalisation passes it. ReLU's and ReLU6's gradients ask for the result, but its
/// operand z answers as well: 0 < act(z) < 6 is 0 < z < 6.
struct PassAll {
  template <class D, class V>
  HWY_INLINE V operator()(D, V, const float*, const float*, V dy) const {
    return dy;
  }
};
template <class Grad>
struct Masked {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V centered, const float* scale, const float* shift, V dy) const {
    return Grad()(d, hn::MulAdd(centered, hn::LoadU(d, scale), hn::LoadU(d, shift)), dy);
  }
};

template <class Mask>
HWY_INLINE void sums_with(const float* x, const float* dy, std::int64_t n, std::int64_t period, const float* mean,
                          const float* scale, const float* shift, float* acc, double* const* sums, Mask mask) {
  sum_columns<2>(n, period, acc, sums, [&](auto d, std::int64_t i, std::int64_t c, auto* out) HWY_ATTR {
    const auto centered = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, mean + c));
    out[0] = mask(d, centered, scale + c, shift + c, hn::LoadU(d, dy + i));
    out[1] = hn::Mul(out[0], centered);
  });
}

/// sums[0] += Σ g, sums[1] += Σ g·(x − mean), per column.
void gradient_sums(Activation fused, const float* x, const float* dy, std::int64_t n, std::int64_t period,
                   const float* mean, const float* scale, const float* shift, float* acc, double* const* sums) {
  if (fused == Activation::relu) return sums_with(x, dy, n, period, mean, scale, shift, acc, sums, Masked<ReluGrad>());
  if (fused == Activation::relu6)
    return sums_with(x, dy, n, period, mean, scale, shift, acc, sums, Masked<Relu6Grad>());
  sums_with(x, dy, n, period, mean, scale, shift, acc, sums, PassAll());
}

template <class Mask>
HWY_INLINE void dx_with(const float* x, const float* dy, std::int64_t n, std::int64_t period, const float* mean,
                        const float* scale, const float* shift, const float* slope, const float* offset, float* dx,
                        Mask mask) {
  const auto row_at = [&](auto d, std::int64_t i, std::int64_t c) HWY_ATTR {
    const auto centered = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, mean + c));
    const auto g = mask(d, centered, scale + c, shift + c, hn::LoadU(d, dy + i));
    return hn::MulAdd(g, hn::LoadU(d, scale + c),
                      hn::MulAdd(centered, hn::LoadU(d, slope + c), hn::LoadU(d, offset + c)));
  };
  std::int64_t row = 0;
  for (; row + 2 * period <= n; row += 2 * period) {  // the parameters are loaded once for two rows
    each_vector(period, [&](auto d, std::int64_t c) HWY_ATTR {
      const auto a = row_at(d, row + c, c);
      const auto b = row_at(d, row + period + c, c);
      hn::StoreU(a, d, dx + row + c);
      hn::StoreU(b, d, dx + row + period + c);
    });
  }
  each_row(n - row, period, [&](auto d, std::int64_t i, std::int64_t c) HWY_ATTR {
    hn::StoreU(row_at(d, row + i, c), d, dx + row + i);
  });
}

/// dx = scale·g + slope·(x − mean) + offset.
void gradient(Activation fused, const float* x, const float* dy, std::int64_t n, std::int64_t period, const float* mean,
              const float* scale, const float* shift, const float* slope, const float* offset, float* dx) {
  if (fused == Activation::relu)
    return dx_with(x, dy, n, period, mean, scale, shift, slope, offset, dx, Masked<ReluGrad>());
  if (fused == Activation::relu6)
    return dx_with(x, dy, n, period, mean, scale, shift, slope, offset, dx, Masked<Relu6Grad>());
  dx_with(x, dy, n, period, mean, scale, shift, slope, offset, dx, PassAll());
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
namespace {
HWY_EXPORT(gradient_sums);
HWY_EXPORT(gradient);

/// Gives use(x, g, n, at, fused) either the whole range with an activation the kernels mask themselves, or, for the
/// others, blocks of 16 KB whose gradient behind the activation has been computed into scratch.
template <class Use>
void with_activation(const BatchNormShape& shape, const BatchNormColumns& columns, const float* x, const float* dy,
                     std::int64_t begin, std::int64_t end, Use use) {
  const Activation kind = shape.activation.kind;
  if (kind == Activation::none || kind == Activation::relu || kind == Activation::relu6) {
    return use(x + begin, dy + begin, end - begin, begin, kind);
  }
  const std::int64_t period = columns.fold.period;
  const std::int64_t block = std::max<std::int64_t>(1, 4096 / period) * period;
  const float alpha = static_cast<float>(shape.activation.alpha);
  float* source = scratch<float>(Slot::block_b, block);
  float* g = scratch<float>(Slot::block_c, block);
  for (std::int64_t at = begin; at < end; at += block) {
    const std::int64_t n = std::min(block, end - at);
    normalize_f32(Activation::none, x + at, n, columns, source);
    if (derivative_from_result(kind)) activation_forward_f32(kind, alpha, source, source, n);
    activation_backward_f32(kind, alpha, source, dy + at, g, n);
    use(x + at, g, n, at, Activation::none);
  }
}

}  // namespace

void batch_norm_backward_f32(const BatchNormShape& shape, bool batch_statistics, const float* x, const float* dy,
                             const float* gamma, const float* beta, const float* mean, const float* variance, float* dx,
                             float* dgamma, float* dbeta) {
  if (shape.channels == 0) return;
  const std::int64_t channels = shape.channels, total = shape.rows * channels;
  const BatchNormColumns columns(shape, gamma, beta, mean, variance, 2);
  const Fold& fold = columns.fold;
  const std::int64_t period = fold.period;
  const std::int64_t super_rows = (total + period - 1) / period;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / period);
  float* slope = columns.extra;
  float* offset = slope + period;

  if (dgamma || dbeta || (batch_statistics && dx)) {
    const int chunks = total == 0 ? 0 : parallel_chunk_count(super_rows, grain);
    double* partials = scratch<double>(Slot::partials, (2 * chunks + 1) * period + 2 * channels);
    double* sum_g = partials + 2 * chunks * period;
    double* sum_gx = sum_g + channels;
    parallel_for(super_rows, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
      double* const sums[] = {partials + chunk * 2 * period, partials + (chunk * 2 + 1) * period};
      std::fill(sums[0], sums[0] + 2 * period, 0.0);
      float* acc = scratch<float>(Slot::block_a, 2 * period);
      with_activation(shape, columns, x, dy, begin * period, std::min(end * period, total),
                      [&](const float* xs, const float* gs, std::int64_t n, std::int64_t, Activation fused) {
                        HWY_DYNAMIC_DISPATCH(gradient_sums)
                        (fused, xs, gs, n, period, columns.mean, columns.scale, columns.shift, acc, sums);
                      });
    });
    fold_columns(partials, chunks, 2 * period, channels, fold, sum_g);
    fold_columns(partials + period, chunks, 2 * period, channels, fold, sum_gx);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double inv_std = 1.0 / std::sqrt(static_cast<double>(variance[c]) + shape.epsilon);
      if (dgamma) dgamma[c] = static_cast<float>(sum_gx[c] * inv_std);
      if (dbeta) dbeta[c] = static_cast<float>(sum_g[c]);
      if (!batch_statistics) continue;
      const double scale = (gamma ? static_cast<double>(gamma[c]) : 1.0) * inv_std, m = static_cast<double>(shape.rows);
      slope[c] = static_cast<float>(-scale * inv_std * inv_std * sum_gx[c] / m);
      offset[c] = static_cast<float>(-scale * sum_g[c] / m);
    }
  }
  if (!dx || total == 0) return;
  if (!batch_statistics) std::fill(slope, slope + 2 * period, 0.0f);
  for (std::int64_t c = channels; c < period; ++c) {
    slope[c] = slope[c - channels];
    offset[c] = offset[c - channels];
  }
  parallel_for(super_rows, grain, [&](std::int64_t begin, std::int64_t end) {
    with_activation(shape, columns, x, dy, begin * period, std::min(end * period, total),
                    [&](const float* xs, const float* gs, std::int64_t n, std::int64_t at, Activation fused) {
                      HWY_DYNAMIC_DISPATCH(gradient)
                      (fused, xs, gs, n, period, columns.mean, columns.scale, columns.shift, slope, offset, dx + at);
                    });
  });
}

}  // namespace fovea::kernels::simd
#endif
