// Coverage and accuracy of answers above a confidence.
#include "train/selective.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "train/share_internal.h"

namespace fovea {
namespace {

struct Answer {
  double confidence;
  bool correct;
};

std::vector<Answer> answers_of(const Tensor& probabilities, const std::vector<std::int64_t>& labels) {
  if (probabilities.rank() != 2 || probabilities.dim(0) != static_cast<std::int64_t>(labels.size()) ||
      probabilities.numel() == 0) {
    throw Error(
        ErrorKind::shape, "coverage",
        str("expected probabilities [N, classes] for ", labels.size(), " labels, got ", probabilities.to_string()));
  }
  const auto classes = static_cast<std::size_t>(probabilities.dim(1));
  const std::vector<double> p = probabilities.to_vector<double>();
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double* row = p.data() + i * classes;
    if (labels[i] < 0 || labels[i] >= probabilities.dim(1))
      throw Error(ErrorKind::usage, "coverage", str("label ", labels[i], " of item ", i),
                  str("labels are 0 to ", classes - 1));
    if (std::any_of(row, row + classes, [](double v) { return std::isnan(v); }))
      throw Error(ErrorKind::numeric, "coverage", str("a probability of item ", i, " is NaN"));
    const double* best = std::max_element(row, row + classes);
    answers.push_back({*best, best - row == labels[i]});
  }
  return answers;
}

}  // namespace

double CoveragePoint::coverage() const { return share(kept, total); }
double CoveragePoint::accuracy() const { return share(correct, kept); }

std::vector<CoveragePoint> coverage_curve(const Tensor& probabilities, const std::vector<std::int64_t>& labels) {
  std::vector<Answer> answers = answers_of(probabilities, labels);
  std::sort(answers.begin(), answers.end(),
            [](const Answer& a, const Answer& b) { return a.confidence > b.confidence; });
  std::vector<CoveragePoint> curve;
  CoveragePoint point{0, static_cast<std::int64_t>(answers.size()), 0, 0};
  for (std::size_t i = 0; i < answers.size();) {
    const double confidence = answers[i].confidence;
    for (; i < answers.size() && answers[i].confidence == confidence; ++i) {
      ++point.kept;
      point.correct += answers[i].correct;
    }
    point.threshold = i < answers.size() ? std::midpoint(answers[i].confidence, confidence) : 0;
    // Neighbouring doubles have no middle.
    if (i < answers.size() && point.threshold <= answers[i].confidence) point.threshold = confidence;
    curve.push_back(point);
  }
  return curve;
}

CoveragePoint coverage_at(const Tensor& probabilities, const std::vector<std::int64_t>& labels, double threshold) {
  CoveragePoint point{threshold, static_cast<std::int64_t>(labels.size()), 0, 0};
  for (const Answer& answer : answers_of(probabilities, labels)) {
    if (answer.confidence < threshold) continue;
    ++point.kept;
    point.correct += answer.correct;
  }
  return point;
}

std::optional<CoveragePoint> choose_coverage(const std::vector<CoveragePoint>& curve, double accuracy, bool cautious) {
  for (auto point = curve.rbegin(); point != curve.rend(); ++point) {
    if ((cautious ? point->accuracy_interval().low : point->accuracy()) >= accuracy) return *point;
  }
  return std::nullopt;
}

}  // namespace fovea
