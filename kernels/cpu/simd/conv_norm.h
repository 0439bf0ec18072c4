// What the parts of kernels/conv_norm.h share on the CPU: jobs whose operands are checked, and the sums over rows that
// threads gather apart.
#pragma once

#include <vector>

#include "kernels/conv_norm.h"
#include "kernels/cpu/simd/norm_rows.h"

namespace fovea::kernels::simd {

struct ConvNormForward {
  Conv2dParams params;  ///< padding resolved
  NormalizedView in;
  ConstView w;
  View y;
  std::optional<View> mean, variance;
};
struct ConvNormBackward {
  Conv2dParams params;
  NormalizedView in;
  ConstView w;
  NormGradient dy;
  std::optional<View> dw, dx, dscale, dbeta;
};

/// Pointwise, depthwise and all other convolutions; the first two say why they do not take a problem.
const char* pointwise_norm_declines(const Conv2dParams&, const Shape& x, const Shape& w);
void pointwise_norm_forward(const ConvNormForward&);
void pointwise_norm_backward(const ConvNormBackward&);
const char* depthwise_norm_declines(const Conv2dParams&, const Shape& x, const Shape& w);
void depthwise_norm_forward(const ConvNormForward&);
void depthwise_norm_backward(const ConvNormBackward&);
void any_norm_forward(const ConvNormForward&);
void any_norm_backward(const ConvNormBackward&);
/// normalize_forward and normalize_backward of kernels/conv_norm.h.
void normalize(const NormalizedView& in, OptionalView residual, View y);
void normalize_gradient(const NormalizedView& in, OptionalView result, View g, View dscale, View dbeta);

/// Maps beyond this size are not written into the caches: they would be gone before anybody reads them.
inline constexpr std::int64_t kStreamedBytes = 16 << 20;
inline Element element_of(DType dtype) { return dtype == DType::bf16 ? Element::bf16 : Element::f32; }
inline bool streamed(const View& map) { return map.numel() * bytes_of(element_of(map.dtype)) > kStreamedBytes; }
NormColumns columns_of(const NormalizedView&);
/// Rows [begin, begin + rows) of the gradient in front of the norm; where they go is the caller's to say.
GradientRows gradient_rows_of(const NormGradient&, std::int64_t begin, std::int64_t rows);
/// So many zeros and a vector more, the caller's until it asks again: for products without a bias.
const float* no_bias(std::int64_t count);

/// Sums of two quantities per channel by each of `threads` threads, in double, around a pivot per thread.
class ChannelSums {
 public:
  ChannelSums(int threads, std::int64_t channels);
  double* first(int thread) { return sums_.data() + thread * stride_; }
  double* second(int thread) { return first(thread) + channels_; }
  float* pivot(int thread) { return pivots_.data() + thread * channels_; }
  /// Takes row 0 of y as this thread's pivot: deviations are then of the size of the standard deviation, and their
  /// squares lose nothing where the mean is large.
  void begin(int thread, const void* y, Element element, std::int64_t columns, std::int64_t first_column);
  /// So many rows went into the sums of this thread.
  void count(int thread, std::int64_t rows) { rows_[static_cast<std::size_t>(thread)] += rows; }
  /// Mean and biased variance of all threads' rows (Chan et al. 1979).
  void moments(float* mean, float* variance) const;
  /// Plain totals.
  void totals(float* first, float* second) const;

 private:
  int threads_;
  std::int64_t channels_, stride_;
  std::vector<double> sums_;
  std::vector<float> pivots_;
  std::vector<std::int64_t> rows_;
};

}  // namespace fovea::kernels::simd
