// How near two networks' logits are: by power, by the classes they choose, and by what a wrong choice would cost.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "infer/quantize/quantize_internal.h"

namespace fovea::infer {

void Noise::add(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) throw Error(ErrorKind::shape, "quantize", str(a.shape(), " and ", b.shape(), " differ"));
  const float *pa = a.data<float>(), *pb = b.data<float>();
  for (std::int64_t i = 0, n = a.numel(); i < n; ++i) {
    const auto x = static_cast<double>(pa[i]), e = x - static_cast<double>(pb[i]);
    signal_ += x * x;
    noise_ += e * e;
  }
}

double Noise::db() const {
  constexpr double kMost = 200;
  if (noise_ <= 0) return kMost;
  if (signal_ <= 0) return -kMost;
  return std::min(kMost, 10 * std::log10(signal_ / noise_));
}

double signal_to_noise(const Tensor& a, const Tensor& b) {
  Noise noise;
  noise.add(a, b);
  return noise.db();
}

Agreement agreement(const Tensor& f32, const Tensor& other) {
  Agreement result;
  result.db = signal_to_noise(f32, other);
  const std::int64_t classes = f32.dim(-1);
  result.pictures = classes > 0 ? f32.numel() / classes : 0;
  if (result.pictures == 0) return result;
  for (std::int64_t r = 0; r < result.pictures; ++r) {
    const float *a = f32.data<float>() + r * classes, *b = other.data<float>() + r * classes;
    const auto best = std::max_element(a, a + classes) - a;
    std::int64_t before = 0;  // classes that the other network ranks before it
    double aa = 0, bb = 0, ab = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const auto x = static_cast<double>(a[c]), y = static_cast<double>(b[c]);
      aa += x * x;
      bb += y * y;
      ab += x * y;
      if (b[c] > b[best] || (b[c] == b[best] && c < best)) ++before;
    }
    result.top1 += before == 0 ? 1 : 0;
    result.top5 += before < 5 ? 1 : 0;
    result.cosine += aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : (aa == bb ? 1 : 0);
  }
  const auto n = static_cast<double>(result.pictures);
  result.top1 /= n;
  result.top5 /= n;
  result.cosine /= n;
  return result;
}

double expected_loss(const Tensor& logits, const Tensor& want, const Tensor& have, double factor) {
  const std::int64_t classes = logits.dim(-1), pictures = logits.numel() / classes, errors = want.numel() / classes;
  double lost = 0;
  std::vector<float> moved(static_cast<std::size_t>(classes));
  for (std::int64_t i = 0; i < pictures; ++i) {
    const float* const y = logits.data<float>() + i * classes;
    const auto best = std::max_element(y, y + classes) - y;
    double sum = 0;  // of e to what is below the best
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(y[c] - y[best]));
    for (std::int64_t k = 0; k < errors; ++k) {
      const float *const a = want.data<float>() + k * classes, *const b = have.data<float>() + k * classes;
      for (std::int64_t c = 0; c < classes; ++c)
        moved[static_cast<std::size_t>(c)] = y[c] + static_cast<float>(factor) * (b[c] - a[c]);
      const auto chosen = std::max_element(moved.begin(), moved.end()) - moved.begin();
      if (chosen != best) lost += (1 - std::exp(static_cast<double>(y[chosen] - y[best]))) / sum;
    }
  }
  return lost / static_cast<double>(std::max<std::int64_t>(1, pictures * errors));
}

double tolerable_factor(const Tensor& logits, const Tensor& want, const Tensor& have, double most) {
  double low = 0, high = 1;
  for (int i = 0; i < 10; ++i) {
    const double middle = (low + high) / 2;
    (expected_loss(logits, want, have, middle) <= most ? low : high) = middle;
  }
  return low;
}

}  // namespace fovea::infer
