// Maps made of the gradient at the picture itself.
#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "insight/methods_internal.h"

namespace fovea::insight {
namespace {

/// Σ over `count` pictures that make(i, pixels) writes of d(logit)/d(picture), per element.
std::vector<double> summed_gradients(const Question& q, std::int64_t count,
                                     const std::function<void(std::int64_t, double*)>& make, DType dtype) {
  const std::int64_t size = q.x.numel();
  std::vector<double> sum(static_cast<std::size_t>(size), 0.0);
  for (std::int64_t begin = 0; begin < count; begin += q.options.batch_size) {
    q.progress(begin, count);
    const std::int64_t n = std::min<std::int64_t>(q.options.batch_size, count - begin);
    Tensor batch({n, q.height(), q.width(), q.channels()}, DType::f64);
    double* pixels = batch.mutable_data<double>();
    for (std::int64_t i = 0; i < n; ++i) make(begin + i, pixels + i * size);
    const Tensor gradient = q.network.input_gradient(batch.to(dtype), q.target).gradient.to(DType::f64);
    const double* g = gradient.data<double>();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t e = 0; e < size; ++e) sum[static_cast<std::size_t>(e)] += g[i * size + e];
    }
  }
  q.progress(count, count);
  return sum;
}

/// raw [H,W,C] of values, map [H,W] of term(value) summed over the channels.
template <class Term>
void fill_maps(const Question& q, Explanation& out, const std::vector<double>& values, Term term) {
  out.raw = Tensor({q.height(), q.width(), q.channels()});
  out.map = Tensor({q.height(), q.width()});
  float* raw = out.raw.mutable_data<float>();
  float* map = out.map.mutable_data<float>();
  const auto channels = static_cast<std::size_t>(q.channels());
  for (std::size_t p = 0; p < values.size() / channels; ++p) {
    double sum = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      const double v = values[p * channels + c];
      raw[p * channels + c] = static_cast<float>(v);
      sum += term(v);
    }
    map[p] = static_cast<float>(sum);
  }
}

}  // namespace

void integrated_gradients(const Question& q, Explanation& out) {
  const int steps = q.options.integrated_gradients.steps;
  const Tensor baseline = filled(q.x, q.network.model().preprocessing, q.options.integrated_gradients.baseline);
  const float* x = q.x.data<float>();
  const float* b = baseline.data<float>();
  const std::int64_t size = q.x.numel();
  const DType dtype = q.options.integrated_gradients.precise ? DType::f64 : DType::f32;
  const auto point = [&](std::int64_t k, double* pixels) {
    const double t = (static_cast<double>(k) + 0.5) / steps;
    for (std::int64_t e = 0; e < size; ++e) {
      const auto from = static_cast<double>(b[e]);
      pixels[e] = from + t * (static_cast<double>(x[e]) - from);
    }
  };
  std::vector<double> values = summed_gradients(q, steps, point, dtype);
  double total = 0;
  for (std::int64_t e = 0; e < size; ++e) {
    double& v = values[static_cast<std::size_t>(e)];
    v *= (static_cast<double>(x[e]) - static_cast<double>(b[e])) / steps;
    total += v;
  }
  fill_maps(q, out, values, [](double v) { return v; });
  out.is_signed = true;
  const Tensor logits = q.network.logits(baseline);
  const double difference = out.logit - static_cast<double>(logits.data<float>()[q.target]);
  out.completeness = difference == 0 ? (total == 0 ? 1 : 0) : total / difference;
}

void smooth_grad(const Question& q, Explanation& out) {
  const int samples = q.options.smooth_grad.samples;
  const auto values = q.x.values<float>();
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double deviation = q.options.smooth_grad.noise * static_cast<double>(*high - *low);
  const auto noisy = [&](std::int64_t i, double* pixels) {
    Rng rng(q.options.seed, "smoothgrad", static_cast<std::uint64_t>(i));
    for (std::size_t e = 0; e < values.size(); ++e)
      pixels[e] = static_cast<double>(values[e]) + deviation * rng.normal();
  };
  std::vector<double> sum = summed_gradients(q, samples, noisy, DType::f32);
  for (double& v : sum) v /= samples;
  fill_maps(q, out, sum, [](double v) { return std::abs(v); });
}

}  // namespace fovea::insight
