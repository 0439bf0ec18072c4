// Weights, biases and scales as the kernels want them.
#include <algorithm>

#include "core/threads/parallel.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/simd/conv2d_winograd.h"

namespace fovea::infer::detail {

namespace simd = kernels::simd;

namespace {
constexpr std::int64_t kPackedPerThread = 32 << 10;  // values; packing 64 000 takes some 40 µs
}  // namespace

void convert(const void* from, simd::Element have, void* to, simd::Element wanted, Quantization q, std::int64_t count) {
  using simd::Element;
  const auto real = [&](const void* source, float* result, std::int64_t n) {
    if (have == Element::bf16) return simd::from_bf16(static_cast<const std::uint16_t*>(source), result, n);
    simd::from_u8(static_cast<const std::uint8_t*>(source), result, n, q.scale, q.zero);
  };
  const auto kept = [&](const float* source, void* result, std::int64_t n) {
    if (wanted == Element::bf16) return simd::to_bf16(source, static_cast<std::uint16_t*>(result), n);
    simd::to_u8(source, static_cast<std::uint8_t*>(result), n, 1.0f / q.scale, q.zero);
  };
  if (wanted == Element::f32) return real(from, static_cast<float*>(to), count);
  if (have == Element::f32) return kept(static_cast<const float*>(from), to, count);
  constexpr std::int64_t kBlock = 1024;
  float block[kBlock];
  for (std::int64_t i = 0; i < count; i += kBlock) {
    const std::int64_t n = std::min(kBlock, count - i);
    real(simd::element_at(from, i, have), block, n);
    kept(block, simd::element_at(to, i, wanted), n);
  }
}

Tensor pack_panels(const float* weights, std::int64_t runs, std::int64_t run, std::int64_t n, simd::Element in) {
  // Prefetches may reach a few KB past the end: harmless.
  if (in == simd::Element::f32) {
    const std::int64_t k = runs * run;
    Tensor packed({std::max<std::int64_t>(1, simd::planned_floats(k, run, n))});
    float* const to = packed.mutable_data<float>();
    // On all cores: half of the time goes into fresh pages.
    const std::int64_t grain =
        std::max<std::int64_t>(1, kPackedPerThread / std::max<std::int64_t>(1, k * simd::panel_width()));
    parallel_for(simd::panel_count(n), grain, [&](std::int64_t begin, std::int64_t end) {
      simd::pack_planned({weights, n, 0, k, k, n, begin, end, to}, run);
    });
    return packed;
  }
  const std::int64_t even = (run + 1) / 2 * 2;
  Tensor filled = Tensor::zeros({std::max<std::int64_t>(1, runs * even * n)});
  for (std::int64_t r = 0; r < runs; ++r)
    std::copy_n(weights + r * run * n, run * n, filled.mutable_data<float>() + r * even * n);
  Tensor packed({std::max<std::int64_t>(1, simd::packed_floats(runs * even, n))}, DType::bf16);
  simd::pack_bf16(filled.data<float>(), runs * even, n, static_cast<std::uint16_t*>(packed.mutable_view().data));
  return packed;
}

Tensor pack_winograd_weights(const Tensor& weights) {
  const std::int64_t ci = weights.shape()[2], co = weights.shape()[3];
  Tensor packed({simd::winograd_packed_floats(ci, co)});
  simd::pack_winograd(weights.data<float>(), ci, co, packed.mutable_data<float>());
  return packed;
}

Tensor pad_bias(const float* bias, std::int64_t n) {
  Tensor padded = Tensor::zeros({simd::padded_columns(n) + 16});
  if (bias) std::copy_n(bias, n, padded.mutable_data<float>());
  return padded;
}

Tensor pack_panels_int8(const std::int8_t* weights, std::int64_t runs, std::int64_t run, std::int64_t n) {
  const std::int64_t filled_run = (run + 3) / 4 * 4, k = runs * filled_run;
  Tensor filled = Tensor::zeros({std::max<std::int64_t>(1, k * n)}, DType::i8);
  for (std::int64_t r = 0; r < runs; ++r)
    std::copy_n(weights + r * run * n, run * n, filled.mutable_data<std::int8_t>() + r * filled_run * n);
  Tensor packed({std::max<std::int64_t>(1, simd::packed_floats(k, n))}, DType::i8);
  simd::pack_int8(filled.data<std::int8_t>(), k, n, packed.mutable_data<std::int8_t>());
  return packed;
}

Tensor pack_depthwise_int8(const Tensor& weights) {
  const std::int64_t size = weights.shape()[0], channels = weights.shape()[3];
  Tensor packed({simd::depthwise_int8_bytes(size, channels)}, DType::i8);
  simd::pack_depthwise_int8(weights.data<std::int8_t>(), size, channels, packed.mutable_data<std::int8_t>());
  return packed;
}

Tensor order_channels(const Tensor& values, std::int64_t channels) {
  Tensor ordered({(channels + 15) / 16 * 16});
  simd::order_channels(values.data<float>(), channels, ordered.mutable_data<float>());
  return ordered;
}

Tensor pack_depthwise_bf16(const Tensor& weights) {
  const std::int64_t size = weights.shape()[0], channels = weights.shape()[3];
  Tensor packed({simd::depthwise_bf16_count(size, channels)}, DType::bf16);
  simd::pack_depthwise_bf16(weights.data<float>(), size, channels,
                            static_cast<std::uint16_t*>(packed.mutable_view().data));
  return packed;
}

Tensor order_channels_bf16(const Tensor& values, std::int64_t channels) {
  Tensor ordered({(channels + 15) / 16 * 16});
  simd::order_channels_bf16(values.data<float>(), channels, ordered.mutable_data<float>());
  return ordered;
}

std::pair<Tensor, Tensor> fold_scales(const std::int8_t* weights, std::int64_t k, std::int64_t n,
                                      const float* weight_scale, const float* bias, Quantization in, Quantization out,
                                      Quantization residual) {
  Tensor scale = pad_bias(nullptr, n), shift = pad_bias(nullptr, n);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) sums[static_cast<std::size_t>(j)] += weights[i * n + j];
  }
  const double to = out.scale > 0 ? static_cast<double>(out.scale) : 1.0;
  const double offset = (out.scale > 0 ? out.zero : 0) - residual.zero * static_cast<double>(residual.scale) / to;
  for (std::int64_t j = 0; j < n; ++j) {
    const double s = static_cast<double>(in.scale) * static_cast<double>(weight_scale[j]) / to;
    scale.mutable_data<float>()[j] = static_cast<float>(s);
    shift.mutable_data<float>()[j] =
        static_cast<float>((bias ? static_cast<double>(bias[j]) : 0.0) / to + offset -
                           in.zero * static_cast<double>(sums[static_cast<std::size_t>(j)]) * s);
  }
  return {scale, shift};
}

}  // namespace fovea::infer::detail
