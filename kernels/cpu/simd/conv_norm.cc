// Shared parts of the fused convolutions, and the one that takes any: a normalised copy of the input that lives only as
// long as the call, and the library's own convolutions between the row passes.
#include "kernels/cpu/simd/conv_norm.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/tensor.h"
#include "core/threads/parallel.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

NormColumns columns_of(const NormalizedView& in) {
  if (!in.mean) return {nullptr, nullptr, nullptr, in.activation.kind};
  return {in.mean->ptr<float>(), in.scale->ptr<float>(), in.beta->ptr<float>(), in.activation.kind};
}

GradientRows gradient_rows_of(const NormGradient& dy, std::int64_t begin, std::int64_t rows) {
  const std::int64_t channels = dy.g.shape.dim(-1);
  GradientRows out;
  out.element = element_of(dy.g.dtype);
  out.g = element_at(dy.g.data, begin * channels, out.element);
  out.y = element_at(dy.y.data, begin * channels, out.element);
  out.rows = rows;
  out.channels = channels;
  out.a = dy.a.ptr<float>();
  if (dy.b) {
    out.b = dy.b->ptr<float>();
    out.mean = dy.mean->ptr<float>();
    out.c = dy.c->ptr<float>();
  }
  return out;
}

const float* no_bias(std::int64_t count) {
  float* const to = scratch<float>(Slot::columns, count + 32);
  std::fill(to, to + count + 32, 0.0f);
  return to;
}

ChannelSums::ChannelSums(int threads, std::int64_t channels)
    : threads_(threads),
      channels_(channels),
      stride_((2 * channels + 15) / 8 * 8),
      sums_(static_cast<std::size_t>(threads * stride_)),
      pivots_(static_cast<std::size_t>(threads * channels)),
      rows_(static_cast<std::size_t>(threads)) {}

void ChannelSums::begin(int thread, const void* y, Element element, std::int64_t columns, std::int64_t first_column) {
  float* const to = pivot(thread) + first_column;
  if (element == Element::bf16) return from_bf16(static_cast<const std::uint16_t*>(y), to, columns);
  std::memcpy(to, y, static_cast<std::size_t>(columns) * sizeof(float));
}

void ChannelSums::moments(float* mean, float* variance) const {
  for (std::int64_t c = 0; c < channels_; ++c) {
    double n = 0, m = 0, squares = 0;
    for (int t = 0; t < threads_; ++t) {
      const auto rows = static_cast<double>(rows_[static_cast<std::size_t>(t)]);
      if (rows == 0) continue;
      const double* const sums = sums_.data() + t * stride_;
      const double shift = sums[c] / rows;
      const double mean_t = static_cast<double>(pivots_[static_cast<std::size_t>(t * channels_ + c)]) + shift;
      const double squares_t = std::max(0.0, sums[channels_ + c] - shift * sums[c]);
      const double delta = mean_t - m, total = n + rows;
      m += delta * rows / total;
      squares += squares_t + delta * delta * n * rows / total;
      n = total;
    }
    mean[c] = static_cast<float>(m);
    variance[c] = n > 0 ? static_cast<float>(squares / n) : 0.0f;
  }
}

void ChannelSums::totals(float* first, float* second) const {
  for (std::int64_t c = 0; c < channels_; ++c) {
    double a = 0, b = 0;
    for (int t = 0; t < threads_; ++t) {
      a += sums_[static_cast<std::size_t>(t * stride_ + c)];
      b += sums_[static_cast<std::size_t>(t * stride_ + channels_ + c)];
    }
    first[c] = static_cast<float>(a);
    second[c] = static_cast<float>(b);
  }
}

namespace {

constexpr std::int64_t kRows = 64;  // of a map per pass: 64 × 512 floats are 128 KB

RowsTo plain_rows(void* data, Element element, std::int64_t channels) { return {data, element, channels, channels, 0}; }

/// f(begin, end, thread) over rows of channels.
template <class F>
void over_rows(std::int64_t rows, std::int64_t channels, F f) {
  parallel_for(rows, std::max<std::int64_t>(1, kGrain / channels),
               [&](std::int64_t begin, std::int64_t end, int thread) {
                 for (std::int64_t row = begin; row < end; row += kRows) f(row, std::min(end, row + kRows), thread);
               });
}

std::int64_t rows_of(const Shape& shape) { return shape.numel() / shape.dim(-1); }

/// z in f32; x itself where that is what it would be.
ConstView normalized(const NormalizedView& in, Tensor& memory) {
  if (!in.mean && in.activation.kind == Activation::none && in.x.dtype == DType::f32) return in.x;
  memory = Tensor(in.x.shape, DType::f32);
  normalize(in, std::nullopt, memory.mutable_view());
  return memory.view();
}

}  // namespace

void normalize(const NormalizedView& in, OptionalView residual, View y) {
  const Element from = element_of(in.x.dtype), element = element_of(y.dtype);
  const std::int64_t channels = y.shape.dim(-1);
  over_rows(rows_of(y.shape), channels, [&](std::int64_t begin, std::int64_t end, int) {
    const std::int64_t at = begin * channels;
    NormalizedRows job{element_at(in.x.data, at, from), from, end - begin, channels, columns_of(in)};
    if (residual) job.residual = element_at(residual->data, at, from);
    job.to = plain_rows(element_at(y.data, at, element), element, channels);
    load_normalized(job);
  });
}

void normalize_gradient(const NormalizedView& in, OptionalView result, View g, View dscale, View dbeta) {
  const Element element = element_of(g.dtype);
  const std::int64_t channels = g.shape.dim(-1);
  ChannelSums sums(num_threads(), channels);
  over_rows(rows_of(g.shape), channels, [&](std::int64_t begin, std::int64_t end, int thread) {
    const std::int64_t at = begin * channels;
    void* const here = element_at(g.data, at, element);
    MaskedRows job;
    job.g = {here, element, channels, here, element, channels, end - begin, channels, false};
    if (in.activation.kind == Activation::none) job.g.to = nullptr;
    job.x = element_at(in.x.data, at, element);
    if (result) job.result = element_at(result->data, at, element);
    job.x_stride = channels;
    job.norm = columns_of(in);
    job.sum = sums.first(thread);
    job.product = sums.second(thread);
    mask_rows(job);
  });
  sums.totals(dbeta.ptr<float>(), dscale.ptr<float>());
}

void any_norm_forward(const ConvNormForward& job) {
  Tensor z_memory, y_memory;
  const ConstView z = normalized(job.in, z_memory);
  const bool direct = job.y.dtype == DType::f32;
  if (!direct) y_memory = Tensor(job.y.shape, DType::f32);
  const View y = direct ? job.y : y_memory.mutable_view();
  conv2d_forward(job.params, z, job.w, std::nullopt, y);
  z_memory = Tensor();
  if (direct && !job.mean) return;
  const std::int64_t channels = y.shape.dim(-1), rows = rows_of(y.shape);
  const Element element = element_of(job.y.dtype);
  ChannelSums sums(num_threads(), channels);
  std::vector<char> begun(static_cast<std::size_t>(num_threads()));
  over_rows(rows, channels, [&](std::int64_t begin, std::int64_t end, int thread) {
    const std::int64_t at = begin * channels;
    const float* const from = y.ptr<float>() + at;
    RowsOut out{from, Element::f32, channels, nullptr, element, channels, end - begin, channels, false};
    if (!direct) out.to = element_at(job.y.data, at, element);
    if (job.mean && !std::exchange(begun[static_cast<std::size_t>(thread)], 1))
      sums.begin(thread, from, Element::f32, channels, 0);
    sum_rows({out, job.mean ? sums.pivot(thread) : nullptr, sums.first(thread), sums.second(thread)});
    sums.count(thread, end - begin);
  });
  if (job.mean) sums.moments(job.mean->ptr<float>(), job.variance->ptr<float>());
}

void any_norm_backward(const ConvNormBackward& job) {
  const Shape& shape = job.dy.g.shape;
  const std::int64_t channels = shape.dim(-1);
  Tensor dy(shape, DType::f32);
  over_rows(rows_of(shape), channels, [&](std::int64_t begin, std::int64_t end, int) {
    GradientRows rows = gradient_rows_of(job.dy, begin, end - begin);
    rows.to = plain_rows(dy.mutable_data<float>() + begin * channels, Element::f32, channels);
    load_gradient(rows);
  });
  if (job.dw) {
    Tensor memory;
    conv2d_backward_weights(job.params, normalized(job.in, memory), dy.view(), *job.dw, std::nullopt);
  }
  if (!job.dx) return;
  const bool direct = job.dx->dtype == DType::f32;
  Tensor memory;
  if (!direct) memory = Tensor(job.dx->shape, DType::f32);
  const View dx = direct ? *job.dx : memory.mutable_view();
  conv2d_backward_data(job.params, dy.view(), job.w, dx);
  if (!direct) {
    over_rows(rows_of(dx.shape), dx.shape.dim(-1), [&](std::int64_t begin, std::int64_t end, int) {
      const std::int64_t at = begin * dx.shape.dim(-1), n = (end - begin) * dx.shape.dim(-1);
      to_bf16(dx.ptr<float>() + at, static_cast<std::uint16_t*>(job.dx->data) + at, n);
    });
  }
  if (job.in.mean) normalize_gradient(job.in, std::nullopt, *job.dx, *job.dscale, *job.dbeta);
}

}  // namespace fovea::kernels::simd
