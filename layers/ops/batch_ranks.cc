#include "layers/ops/batch_ranks_internal.h"

#include "kernels/norm.h"

namespace fovea::ops {
namespace {

template <class T>
void copy(const Tensor& from, double* to) {
  for (const T v : from.values<T>()) *to++ = static_cast<double>(v);
}

}  // namespace

std::int64_t merge_statistics(Communicator& ranks, Tensor& mean, Tensor& variance, std::int64_t rows) {
  const std::int64_t channels = mean.numel();
  // Sums of values and of squares, from each rank's own mean and variance.
  Tensor sums({2 * channels + 1}, DType::f64, mean.device());
  kernels::batch_moments(mean.view(), variance.view(), rows, sums.mutable_view());
  auto all = static_cast<double>(rows);
  if (mean.device() == kCpu) {
    ranks.sum(sums.mutable_view());
    all = sums.data<double>()[2 * channels];
  } else {  // the number is asked for apart, as not to wait for the GPU
    ranks.sum({&all, 1});
    ranks.sum(sums.mutable_view());
  }
  if (all > 0) kernels::batch_statistics(sums.view(), mean.mutable_view(), variance.mutable_view());
  return static_cast<std::int64_t>(all);
}

Tensor joined_sum(Communicator& ranks, const Tensor& a, const Tensor& b) {
  const std::int64_t channels = a.numel();
  Tensor both({2 * channels}, a.dtype(), a.device());
  both.slice(0, channels).copy_from(a);
  both.slice(channels, 2 * channels).copy_from(b);
  ranks.sum(both.mutable_view());
  return both;
}

std::vector<double> sum_over_ranks(Communicator& ranks, const Tensor& a, const Tensor& b, std::int64_t channels) {
  std::vector<double> sums(2 * static_cast<std::size_t>(channels));
  double* to = sums.data();
  for (const Tensor* t : {&a, &b}) {
    if (t->defined()) t->dtype() == DType::f64 ? copy<double>(*t, to) : copy<float>(*t, to);
    to += channels;
  }
  ranks.sum(sums);
  return sums;
}

}  // namespace fovea::ops
