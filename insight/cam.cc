// Class activation maps: weighted sums of a layer's channels. They differ in the weights.
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "core/eigen.h"
#include "insight/methods_internal.h"

namespace fovea::insight {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

/// [1,h,w,C] as h·w × C.
Matrix matrix(const Tensor& t) { return eigen_map<float>(t).cast<double>(); }

Vector gradcam_weights(const Matrix& gradient) { return gradient.colwise().mean().transpose(); }

/// α_kij = g² / (2g² + Σ_ab A_ab·g³), weight_k = Σ_ij α·max(g, 0): the second and third derivatives of exp(logit) are
/// powers of the first because what is behind the layer is taken as linear (section 3.2 of the paper).
Vector gradcam_pp_weights(const Matrix& activation, const Matrix& gradient) {
  Vector weights = Vector::Zero(activation.cols());
  const Vector sums = activation.colwise().sum().transpose();
  for (Eigen::Index k = 0; k < activation.cols(); ++k) {
    for (Eigen::Index i = 0; i < activation.rows(); ++i) {
      const double g = gradient(i, k);
      if (g <= 0) continue;
      const double denominator = 2 * g * g + sums(k) * g * g * g;
      if (denominator != 0) weights(k) += g * g / denominator * g;
    }
  }
  return weights;
}

/// The target's probability where each channel in turn, drawn out and scaled to 0…1, dims the picture.
Vector score_weights(const Question& q, const Matrix& activation, std::int64_t h, std::int64_t w) {
  Vector weights = Vector::Zero(activation.cols());
  std::vector<Eigen::Index> alive;  // channels of one value have no mask
  for (Eigen::Index k = 0; k < activation.cols(); ++k) {
    if (activation.col(k).maxCoeff() > activation.col(k).minCoeff()) alive.push_back(k);
  }
  const auto count = static_cast<std::int64_t>(alive.size());
  const std::int64_t channels = q.channels(), pixels = q.height() * q.width();
  const std::vector<double> scores = target_probabilities(
      q, count,
      [&](std::int64_t i, float* out) {
        const auto column = activation.col(alive[static_cast<std::size_t>(i)]);
        const double low = column.minCoeff(), range = column.maxCoeff() - low;
        Tensor mask({h, w});
        float* m = mask.mutable_data<float>();
        for (std::int64_t p = 0; p < h * w; ++p) m[p] = static_cast<float>((column(p) - low) / range);
        const Tensor full = enlarge(mask, static_cast<int>(q.height()), static_cast<int>(q.width()));
        const float* from = q.x.data<float>();
        const float* f = full.data<float>();
        for (std::int64_t p = 0; p < pixels; ++p) {
          for (std::int64_t c = 0; c < channels; ++c) out[p * channels + c] = from[p * channels + c] * f[p];
        }
      },
      0, count);
  for (std::size_t i = 0; i < alive.size(); ++i) weights(alive[i]) = scores[i];
  return weights;
}

/// Projection on the first right singular vector of the h·w × C matrix (not centred, as in the paper), by the smaller
/// of the two Gram matrices. Its sign, which the paper leaves open, is that of the mean activation.
Vector eigen_map_of(const Matrix& activation) {
  const bool tall = activation.rows() > activation.cols();
  const Matrix gram = tall ? Matrix(activation.transpose() * activation) : Matrix(activation * activation.transpose());
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(gram);
  const Vector first = solver.eigenvectors().col(gram.cols() - 1);
  Vector map = tall ? Vector(activation * first)
                    : Vector(first * std::sqrt(std::max(0.0, solver.eigenvalues()(gram.cols() - 1))));
  if (map.dot(activation.rowwise().mean()) < 0) map = -map;
  return map;
}

}  // namespace

void cam(const Question& q, Explanation& out) {
  const std::vector<Tensor>& activations = q.activations;
  out.layer = q.cut->layer;
  const std::int64_t h = activations[0].dim(1), w = activations[0].dim(2);
  const Matrix a = matrix(activations[0]);
  Vector map;
  if (q.options.method == Method::eigen_cam) {
    map = eigen_map_of(a);
  } else if (q.options.method == Method::score_cam) {
    map = a * score_weights(q, a, h, w);
  } else {
    const Matrix g = matrix(Network::gradient(q.cut->upper, activations, q.target).gradient);
    map = a * (q.options.method == Method::gradcam_pp ? gradcam_pp_weights(a, g) : gradcam_weights(g));
  }
  out.raw = Tensor({h, w});
  float* raw = out.raw.mutable_data<float>();
  for (std::int64_t i = 0; i < h * w; ++i) raw[i] = static_cast<float>(std::max(0.0, map(i)));
  out.map = enlarge(out.raw, static_cast<int>(q.height()), static_cast<int>(q.width()));
}

}  // namespace fovea::insight
