// Depthwise convolution problems cut into rows for the Highway kernels.
#include <algorithm>
#include <limits>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/reduce_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Multiplications that pay for a thread.
std::int64_t rows_per_thread(const Conv2dProblem& p, std::int64_t row_pixels) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, row_pixels * p.ci() * p.kh()));
}

void forward(const Conv2dProblem& p) {
  const std::int64_t channels = p.ci(), h = p.h(), width = p.width(), kh = p.kh(), kw = p.kw(), ho = p.ho(),
                     wo = p.wo();
  const float *x = p.x.ptr<float>(), *w = p.w.ptr<float>();
  float* y = p.out.ptr<float>();
  const float* bias = p.bias ? p.bias->ptr<float>() : nullptr;
  if (!bias) {
    float* zeros = scratch<float>(Slot::columns, channels);
    std::fill(zeros, zeros + channels, 0.0f);
    bias = zeros;
  }
  const Activation kind = p.activation.kind;
  const bool clamped = kind == Activation::relu || kind == Activation::relu6;
  DepthwiseRow row;
  row.taps = kw;
  row.step = p.params.stride.w;
  row.first = -p.params.padding.left;
  row.width = width;
  row.bias = bias;
  row.low = clamped ? 0.0f : -kInfinity;
  row.high = kind == Activation::relu6 ? 6.0f : kInfinity;
  row.count = wo;
  row.channels = row.in_pitch = row.out_pitch = row.weight_pitch = channels;
  parallel_for(p.n() * ho, rows_per_thread(p, wo), [&](std::int64_t begin, std::int64_t end) {
    const void* in[kMaxKernelRows];
    const float* weights[kMaxKernelRows];
    DepthwiseRow r = row;
    r.in = in;
    r.weights = weights;
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t n = at / ho, top = at % ho * p.params.stride.h - p.params.padding.top;
      r.rows = 0;
      for (std::int64_t k = std::max<std::int64_t>(0, -top); k < std::min(kh, h - top); ++k, ++r.rows) {
        in[r.rows] = x + (n * h + top + k) * width * channels;
        weights[r.rows] = w + k * kw * channels;
      }
      float* const out = y + at * wo * channels;
      r.out = out;
      depthwise_row(r);
      if (!clamped && kind != Activation::none) {
        activation_forward_f32(kind, static_cast<float>(p.activation.alpha), out, out, wo * channels);
      }
    }
  });
}

void backward_data(const Conv2dProblem& p) {
  const std::int64_t channels = p.ci(), h = p.h(), width = p.width(), kh = p.kh(), kw = p.kw(), ho = p.ho(),
                     wo = p.wo();
  const std::int64_t sh = p.params.stride.h, sw = p.params.stride.w, top = p.params.padding.top,
                     left = p.params.padding.left;
  const float *dy = p.y.ptr<float>(), *w = p.w.ptr<float>();
  float* dx = p.out.ptr<float>();
  float* zeros = scratch<float>(Slot::columns, channels);
  std::fill(zeros, zeros + channels, 0.0f);
  DepthwisePhase phases[kMaxStep];
  float* packed = scratch<float>(Slot::weights, kh * kw * channels);
  pack_phases(w, kh, kw, channels, sw, left, packed, phases);
  parallel_for(p.n() * h, rows_per_thread(p, width), [&](std::int64_t begin, std::int64_t end) {
    const void* in[kMaxKernelRows];
    const float* weights[kMaxKernelRows];
    DepthwiseRow r;
    r.in = in;
    r.weights = weights;
    r.width = wo;
    r.bias = zeros;
    r.low = -kInfinity;
    r.high = kInfinity;
    r.channels = r.in_pitch = r.weight_pitch = channels;
    r.out_pitch = sw * channels;
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t n = at / h, row = at % h;
      for (std::int64_t q = 0; q < std::min(sw, width); ++q) {
        const DepthwisePhase& phase = phases[q];
        r.rows = 0;
        for (std::int64_t k = (row + top) % sh; k < kh && phase.taps > 0; k += sh) {
          const std::int64_t i = (row + top - k) / sh;
          if (row + top < k || i >= ho) continue;
          in[r.rows] = dy + (n * ho + i) * wo * channels;
          weights[r.rows++] = packed + phase.offset + k * phase.taps * channels;
        }
        r.taps = phase.taps;
        r.first = phase.first;
        r.out = dx + (at * width + q) * channels;
        r.count = (width - q + sw - 1) / sw;
        depthwise_row(r);
      }
    }
  });
}

void backward_weights(const Conv2dProblem& p) {
  const std::int64_t channels = p.ci(), h = p.h(), width = p.width(), kh = p.kh(), kw = p.kw(), ho = p.ho(),
                     wo = p.wo();
  const float *x = p.x.ptr<float>(), *dy = p.y.ptr<float>();
  const std::int64_t size = kh * kw * channels, rows = p.n() * ho, grain = rows_per_thread(p, wo);
  const int chunks = parallel_chunk_count(rows, grain);
  const std::int64_t stride = (size + 7) / 8 * 8;
  double* partials = scratch<double>(Slot::partials, chunks * stride);
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    double* sums = partials + chunk * stride;
    std::fill(sums, sums + size, 0.0);
    float* acc = scratch<float>(Slot::block_a, size);
    std::fill(acc, acc + size, 0.0f);
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t n = at / ho, top = at % ho * p.params.stride.h - p.params.padding.top;
      for (std::int64_t k = std::max<std::int64_t>(0, -top); k < std::min(kh, h - top); ++k) {
        depthwise_weight_row_f32(x + (n * h + top + k) * width * channels, width, dy + at * wo * channels, wo,
                                 -p.params.padding.left, p.params.stride.w, kw, channels, acc + k * kw * channels);
      }
      // An image's sum, at most some ten thousand products, is kept in f32; images are summed in double.
      if (at + 1 == end || (at + 1) % ho == 0) {
        for (std::int64_t i = 0; i < size; ++i) sums[i] += static_cast<double>(acc[i]);
        std::fill(acc, acc + size, 0.0f);
      }
    }
  });
  float* dw = p.out.ptr<float>();
  for (std::int64_t i = 0; i < size; ++i) {
    double sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk * stride + i];
    dw[i] = static_cast<float>(sum);
  }
  if (p.dbias) sum_over_rows_f32(dy, rows * wo, channels, 1.0, p.dbias->ptr<float>());
}

}  // namespace

void pack_phases(const float* weights, std::int64_t kh, std::int64_t kw, std::int64_t channels, std::int64_t step,
                 std::int64_t left, float* packed, DepthwisePhase (&phases)[kMaxStep]) {
  std::int64_t filled = 0;
  for (std::int64_t q = 0; q < step; ++q) {
    const std::int64_t first_tap = (q + left) % step;
    const std::int64_t taps = first_tap < kw ? (kw - first_tap + step - 1) / step : 0;
    phases[q] = {taps, (q + left - first_tap) / step - (taps - 1), filled};
    for (std::int64_t k = 0; k < kh; ++k) {
      for (std::int64_t t = 0; t < taps; ++t, filled += channels)
        std::copy_n(weights + (k * kw + first_tap + step * (taps - 1 - t)) * channels, channels, packed + filled);
    }
  }
}

const char* depthwise_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.x)) return reason;
  if (!p.depthwise()) return "not depthwise";
  if (p.co() != p.ci()) return "several results per channel";
  if (p.params.dilation != Size2{1, 1}) return "dilation";
  if (p.kh() > kMaxKernelRows) return "kernel higher than 16";
  if (p.params.stride.w > kMaxStep) return "stride above 8";
  return nullptr;
}

void depthwise_conv2d(const Conv2dProblem& p) {
  switch (p.direction) {
    case Conv2dProblem::Direction::forward: return forward(p);
    case Conv2dProblem::Direction::backward_data: return backward_data(p);
    case Conv2dProblem::Direction::backward_weights: return backward_weights(p);
  }
}

}  // namespace fovea::kernels::simd
