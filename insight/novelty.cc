#include "insight/novelty.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/eigen.h"
#include "core/error.h"
#include "core/io/safetensors.h"
#include "image/views.h"
#include "insight/rows_internal.h"

namespace fovea::insight {
namespace {

constexpr const char* kFormat = "fovea features 1";

/// ln Σ exp of a row.
template <class T>
double log_sum_exp(const T* row, std::size_t count) {
  const auto top = static_cast<double>(*std::max_element(row, row + count));
  double sum = 0;
  for (std::size_t k = 0; k < count; ++k) sum += std::exp(static_cast<double>(row[k]) - top);
  return top + std::log(sum);
}

/// Moved by (dy, dx) pixels, edges repeated.
Tensor moved(const Tensor& x, std::int64_t dy, std::int64_t dx) {
  const std::int64_t n = x.dim(0), height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  Tensor out(x.shape());
  const float* from = x.data<float>();
  float* to = out.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t y = 0; y < height; ++y) {
      const std::int64_t sy = std::clamp<std::int64_t>(y - dy, 0, height - 1);
      for (std::int64_t col = 0; col < width; ++col) {
        const std::int64_t sx = std::clamp<std::int64_t>(col - dx, 0, width - 1);
        const float* pixel = from + ((i * height + sy) * width + sx) * channels;
        to = std::copy(pixel, pixel + channels, to);
      }
    }
  }
  return out;
}

}  // namespace

std::vector<double> energy_scores(const Tensor& logits) {
  check_rows(logits, nullptr, "energy");
  const std::vector<double> z = logits.to_vector<double>();
  const auto classes = static_cast<std::size_t>(logits.dim(1));
  std::vector<double> out;
  for (std::size_t begin = 0; begin < z.size(); begin += classes)
    out.push_back(-log_sum_exp(z.data() + begin, classes));
  return out;
}

struct MahalanobisScore::Impl {
  Eigen::MatrixXd means;   // classes × F; of classes with pictures
  Eigen::MatrixXd factor;  // lower triangular: factor · factorᵀ is the covariance
};

MahalanobisScore::MahalanobisScore(const Tensor& features, const std::vector<std::int64_t>& labels, int classes,
                                   double shrinkage)
    : impl_(std::make_unique<Impl>()) {
  check_rows(features, nullptr, "mahalanobis");
  if (features.dim(0) != static_cast<std::int64_t>(labels.size()))
    throw Error(ErrorKind::shape, "mahalanobis",
                str("features ", features.to_string(), " for ", labels.size(), " labels"));
  if (!(shrinkage > 0 && shrinkage <= 1) || classes < 1)
    throw Error(ErrorKind::usage, "mahalanobis",
                str("expected a shrinkage above 0 to 1 and classes, got ", shrinkage, " and ", classes));
  Eigen::MatrixXd x = eigen_map<float>(features).cast<double>();
  Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(classes, x.cols());
  Eigen::VectorXd counts = Eigen::VectorXd::Zero(classes);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const std::int64_t label = labels[static_cast<std::size_t>(i)];
    if (label < 0 || label >= classes)
      throw Error(ErrorKind::usage, "mahalanobis", str("label ", label), str("labels are 0 to ", classes - 1));
    sums.row(label) += x.row(i);
    counts(label) += 1;
  }
  Eigen::Index present = 0;
  impl_->means.resize(classes, x.cols());
  for (Eigen::Index k = 0; k < classes; ++k) {
    if (counts(k) == 0) continue;
    sums.row(k) /= counts(k);
    impl_->means.row(present++) = sums.row(k);
  }
  impl_->means.conservativeResize(present, Eigen::NoChange);
  for (Eigen::Index i = 0; i < x.rows(); ++i) x.row(i) -= sums.row(labels[static_cast<std::size_t>(i)]);
  Eigen::MatrixXd covariance = x.transpose() * x / static_cast<double>(x.rows());
  const double variance = std::max(covariance.trace() / static_cast<double>(x.cols()), 1e-300);
  covariance *= 1 - shrinkage;
  covariance.diagonal().array() += shrinkage * variance;
  impl_->factor = Eigen::LLT<Eigen::MatrixXd>(covariance).matrixL();
}
MahalanobisScore::~MahalanobisScore() = default;
MahalanobisScore::MahalanobisScore(MahalanobisScore&&) noexcept = default;
MahalanobisScore& MahalanobisScore::operator=(MahalanobisScore&&) noexcept = default;

std::vector<double> MahalanobisScore::operator()(const Tensor& features) const {
  check_rows(features, nullptr, "mahalanobis");
  if (features.dim(1) != impl_->means.cols())
    throw Error(
        ErrorKind::shape, "mahalanobis",
        str("expected ", static_cast<std::int64_t>(impl_->means.cols()), " features, got ", features.to_string()));
  const Eigen::MatrixXd x = eigen_map<float>(features).cast<double>();
  std::vector<double> out(static_cast<std::size_t>(x.rows()), std::numeric_limits<double>::infinity());
  for (Eigen::Index k = 0; k < impl_->means.rows(); ++k) {
    const Eigen::MatrixXd difference = (x.rowwise() - impl_->means.row(k)).transpose();
    const Eigen::VectorXd distance =
        impl_->factor.triangularView<Eigen::Lower>().solve(difference).colwise().squaredNorm();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::min(out[i], distance(static_cast<Eigen::Index>(i)));
  }
  return out;
}

MahalanobisScore::MahalanobisScore() : impl_(std::make_unique<Impl>()) {}

std::int64_t MahalanobisScore::width() const { return static_cast<std::int64_t>(impl_->means.cols()); }

void MahalanobisScore::save(const std::string& path) const {
  const auto tensor = [](const Eigen::MatrixXd& m) {
    Tensor out(Shape{static_cast<std::int64_t>(m.rows()), static_cast<std::int64_t>(m.cols())});
    for (Eigen::Index i = 0; i < m.rows(); ++i) {
      for (Eigen::Index j = 0; j < m.cols(); ++j)
        out.mutable_data<float>()[i * m.cols() + j] = static_cast<float>(m(i, j));
    }
    return out;
  };
  write_safetensors(path, {{"means", tensor(impl_->means)}, {"factor", tensor(impl_->factor)}}, {{"format", kFormat}});
}

MahalanobisScore MahalanobisScore::load(const std::string& path) {
  const Safetensors file = read_safetensors(path);
  const std::string* format = file.find_metadata("format");
  const Tensor means = file.find("means"), factor = file.find("factor");
  const auto fail = [&](std::string_view what) {
    return Error(ErrorKind::format, path, what,
                 "`fovea evaluate RUN DATA --calibrate FILE --strangeness mahalanobis` writes one");
  };
  if (!format || *format != kFormat || !means.defined() || !factor.defined())
    throw fail("does not say what ordinary features are");
  if (means.dtype() != DType::f32 || factor.dtype() != DType::f32 || means.rank() != 2 || factor.rank() != 2 ||
      means.dim(0) < 1 || means.dim(1) < 1 || factor.dim(0) != means.dim(1) || factor.dim(1) != means.dim(1))
    throw fail("has means and a factor that do not fit");
  MahalanobisScore out;
  out.impl_->means = eigen_map<float>(means).cast<double>();
  out.impl_->factor = eigen_map<float>(factor).cast<double>();
  if (!out.impl_->means.allFinite() || !out.impl_->factor.allFinite() || !(out.impl_->factor.diagonal().minCoeff() > 0))
    throw fail("has values out of range");
  return out;
}

double novelty_threshold(std::vector<double> scores, double false_alarms) {
  if (scores.empty() || !(false_alarms > 0 && false_alarms < 1))
    throw Error(ErrorKind::usage, "novelty",
                str("expected scores and a share between 0 and 1, got ", scores.size(), " and ", false_alarms));
  const double rank = std::ceil(static_cast<double>(scores.size() + 1) * (1 - false_alarms) - 1e-9);
  if (rank > static_cast<double>(scores.size())) return std::numeric_limits<double>::infinity();
  const auto at = scores.begin() + std::max<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(rank) - 1);
  std::nth_element(scores.begin(), at, scores.end());
  return *at;
}

Tensor augmented_logits(const std::function<Tensor(const Tensor&)>& forward, const Tensor& images,
                        const TestTimeOptions& o) {
  if (!images.defined() || images.rank() != 4 || images.numel() == 0)
    throw Error(ErrorKind::shape, "test-time augmentation", "expected images f32 [N,H,W,C]");
  if (o.shift < 0 || o.shift >= images.dim(1) || o.shift >= images.dim(2))
    throw Error(ErrorKind::usage, "test-time augmentation",
                str("a shift of ", o.shift, " leaves nothing of ", images.shape()));
  struct View {
    int dy, dx;
  };
  std::vector<View> shifts{{0, 0}};
  if (o.shift > 0) shifts.insert(shifts.end(), {{-o.shift, 0}, {o.shift, 0}, {0, -o.shift}, {0, o.shift}});
  std::vector<double> probability;
  std::vector<double> weight;
  std::size_t classes = 0;
  int views = 0;
  for (const bool mirror : {false, true}) {
    if (mirror && !o.flip) continue;
    const Tensor turned = mirror ? image::mirrored(images) : images;
    for (const View& view : shifts) {
      const Tensor z = forward(moved(turned, view.dy, view.dx)).to(DType::f32);
      check_rows(z, nullptr, "test-time augmentation");
      classes = static_cast<std::size_t>(z.dim(1));
      probability.resize(static_cast<std::size_t>(z.numel()));
      weight.resize(static_cast<std::size_t>(z.dim(0)));
      const float* row = z.data<float>();
      for (std::size_t i = 0; i < weight.size(); ++i, row += classes) {
        const double all = log_sum_exp(row, classes);
        weight[i] += all;
        for (std::size_t k = 0; k < classes; ++k)
          probability[i * classes + k] += std::exp(static_cast<double>(row[k]) - all);
      }
      ++views;
    }
  }
  Tensor out(Shape{images.dim(0), static_cast<std::int64_t>(classes)});
  float* to = out.mutable_data<float>();
  for (std::size_t i = 0; i < weight.size(); ++i) {
    for (std::size_t k = 0; k < classes; ++k) {
      // Far below what f32 tells from 0, so that a log of 0 stays finite.
      const double p = std::max(probability[i * classes + k] / views, 1e-300);
      *to++ = static_cast<float>(std::log(p) + weight[i] / views);
    }
  }
  return out;
}

}  // namespace fovea::insight
