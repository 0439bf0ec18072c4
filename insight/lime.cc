// LIME: a linear model of what the network answers when superpixels are taken away.
#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "insight/methods_internal.h"
#include "insight/superpixels.h"

namespace fovea::insight {
namespace {

struct Fit {
  Eigen::VectorXd coefficients;
  double r2 = 0;
};

/// Weighted ridge regression with an intercept that is not penalised.
Fit ridge(const Eigen::MatrixXd& x, const Eigen::VectorXd& y, const Eigen::VectorXd& weights, double penalty) {
  const double total = weights.sum();
  const Eigen::RowVectorXd mean = weights.transpose() * x / total;
  const double y_mean = weights.dot(y) / total;
  const Eigen::MatrixXd centred = x.rowwise() - mean;
  const Eigen::VectorXd target = y.array() - y_mean;
  Eigen::MatrixXd gram = centred.transpose() * weights.asDiagonal() * centred;
  gram.diagonal().array() += penalty;
  Fit fit;
  fit.coefficients = gram.ldlt().solve(centred.transpose() * weights.cwiseProduct(target));
  const Eigen::VectorXd residual = target - centred * fit.coefficients;
  const double spread = weights.dot(target.cwiseAbs2());
  fit.r2 = spread > 0 ? 1 - weights.dot(residual.cwiseAbs2()) / spread : 1;
  return fit;
}

std::vector<int> highest(const Eigen::VectorXd& values, int count) {
  std::vector<int> order(static_cast<std::size_t>(values.size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values(a) > values(b); });
  order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
  return order;
}

/// |a ∩ b| / |a ∪ b|.
double jaccard(const std::vector<int>& a, const std::vector<int>& b) {
  const auto common = static_cast<double>(
      std::count_if(a.begin(), a.end(), [&](int v) { return std::find(b.begin(), b.end(), v) != b.end(); }));
  return common / (static_cast<double>(a.size() + b.size()) - common);
}

/// What a pixel becomes where its superpixel is taken away.
std::vector<float> replacement(const Question& q, const std::int32_t* segment, int segments) {
  const float* x = q.x.data<float>();
  const std::int64_t channels = q.channels(), pixels = q.height() * q.width();
  if (q.options.lime.fill != Fill::mean) {
    const Tensor fill = filled(q.x, q.network.model().preprocessing, q.options.lime.fill);
    return fill.to_vector<float>();
  }
  std::vector<double> sum(static_cast<std::size_t>(segments * channels), 0.0),
      count(static_cast<std::size_t>(segments), 0.0);
  for (std::int64_t p = 0; p < pixels; ++p) {
    count[static_cast<std::size_t>(segment[p])] += 1;
    for (std::int64_t c = 0; c < channels; ++c)
      sum[static_cast<std::size_t>(segment[p] * channels + c)] += static_cast<double>(x[p * channels + c]);
  }
  std::vector<float> out(static_cast<std::size_t>(pixels * channels));
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (std::int64_t c = 0; c < channels; ++c) {
      out[static_cast<std::size_t>(p * channels + c)] = static_cast<float>(
          sum[static_cast<std::size_t>(segment[p] * channels + c)] / count[static_cast<std::size_t>(segment[p])]);
    }
  }
  return out;
}

}  // namespace

void lime(const Question& q, Explanation& out) {
  const LimeOptions& o = q.options.lime;
  out.segments =
      slic(picture_of(q.x, q.network.model().preprocessing), {.segments = o.segments, .compactness = o.compactness});
  const std::int32_t* segment = out.segments.data<std::int32_t>();
  const std::int64_t pixels = q.height() * q.width(), channels = q.channels();
  const int segments = *std::max_element(segment, segment + pixels) + 1;
  const std::vector<float> replaced = replacement(q, segment, segments);
  const float* x = q.x.data<float>();
  Eigen::VectorXd mean = Eigen::VectorXd::Zero(segments);
  const std::int64_t total = std::int64_t{o.samples} * o.seeds;
  for (int s = 0; s < o.seeds; ++s) {
    Rng rng(q.options.seed, "lime", static_cast<std::uint64_t>(s));
    Eigen::MatrixXd z(o.samples, segments);
    for (int i = 0; i < o.samples; ++i) {
      // The first is the picture itself. Where half of it is missing, as in the authors' code, the network answers
      // about scraps, by what pieces do together more than by each: keep says how far that goes (docs/explain.md has
      // numbers).
      for (int k = 0; k < segments; ++k) z(i, k) = i == 0 || rng.chance(o.keep) ? 1 : 0;
    }
    const std::vector<double> scores = target_probabilities(
        q, o.samples,
        [&](std::int64_t i, float* to) {
          for (std::int64_t p = 0; p < pixels; ++p) {
            const float* from = z(i, segment[p]) != 0 ? x : replaced.data();
            std::copy(from + p * channels, from + (p + 1) * channels, to + p * channels);
          }
        },
        std::int64_t{s} * o.samples, total);
    const Eigen::VectorXd y = Eigen::Map<const Eigen::VectorXd>(scores.data(), o.samples);
    Eigen::VectorXd weights(o.samples);
    for (int i = 0; i < o.samples; ++i) {
      // Cosine distance to all ones, exponential kernel, as in the authors' code.
      const double distance = 1 - std::sqrt(z.row(i).sum() / segments);
      weights(i) = std::sqrt(std::exp(-distance * distance / (o.kernel_width * o.kernel_width)));
    }
    const Fit fit = ridge(z, y, weights, o.ridge);
    mean += fit.coefficients / o.seeds;
    out.fit += fit.r2 / o.seeds;
    out.top.push_back(highest(fit.coefficients, o.top));
  }
  if (o.seeds > 1) {
    double sum = 0;
    for (std::size_t a = 0; a < out.top.size(); ++a) {
      for (std::size_t b = a + 1; b < out.top.size(); ++b) sum += jaccard(out.top[a], out.top[b]);
    }
    out.stability = sum / (o.seeds * (o.seeds - 1) / 2.0);
  }
  out.raw = Tensor(Shape{segments});
  float* raw = out.raw.mutable_data<float>();
  for (int k = 0; k < segments; ++k) raw[k] = static_cast<float>(mean(k));
  out.map = Tensor(Shape{q.height(), q.width()});
  float* map = out.map.mutable_data<float>();
  for (std::int64_t p = 0; p < pixels; ++p) map[p] = raw[segment[p]];
  out.is_signed = true;
}

}  // namespace fovea::insight
