#include "layers/ops/batch_ranks_internal.h"

#include <algorithm>

namespace fovea::ops {
namespace {

template <class T>
double merge(Communicator& ranks, T* mean, T* variance, std::int64_t channels, std::int64_t rows) {
  // Means of values and of squares, from each rank's own: in double their difference loses nothing that f32 has.
  const auto count = static_cast<std::size_t>(channels);
  std::vector<double> sums(2 * count + 1);
  const auto n = static_cast<double>(rows);
  for (std::size_t c = 0; c < count && rows > 0; ++c) {
    const double m = static_cast<double>(mean[c]);
    sums[c] = n * m;
    sums[count + c] = n * (static_cast<double>(variance[c]) + m * m);
  }
  sums.back() = n;
  ranks.sum(sums);
  const double all = sums.back();
  if (all == 0) return 0;
  for (std::size_t c = 0; c < count; ++c) {
    const double m = sums[c] / all;
    mean[c] = static_cast<T>(m);
    variance[c] = static_cast<T>(std::max(0.0, sums[count + c] / all - m * m));
  }
  return all;
}

template <class T>
void copy(const Tensor& from, double* to) {
  for (const T v : from.values<T>()) *to++ = static_cast<double>(v);
}

}  // namespace

double merge_statistics(Communicator& ranks, Tensor& mean, Tensor& variance, std::int64_t rows) {
  if (mean.dtype() == DType::f64)
    return merge(ranks, mean.mutable_data<double>(), variance.mutable_data<double>(), mean.numel(), rows);
  return merge(ranks, mean.mutable_data<float>(), variance.mutable_data<float>(), mean.numel(), rows);
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
