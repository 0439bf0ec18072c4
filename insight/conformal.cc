#include "insight/conformal.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "insight/rows_internal.h"

namespace fovea::insight {
namespace {

constexpr std::string_view kScores[] = {"lac", "aps", "raps"};

void check(const ConformalOptions& o) {
  if (!(o.coverage > 0 && o.coverage < 1) || !(o.penalty >= 0) || o.free_classes < 0) {
    throw Error(ErrorKind::usage, "conformal",
                str("expected a coverage between 0 and 1, a penalty and free classes of at least 0, got ", o.coverage,
                    ", ", o.penalty, " and ", o.free_classes));
  }
}

std::vector<int> by_probability(const double* row, std::size_t classes) {
  std::vector<int> order(classes);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
  return order;
}

}  // namespace

std::string_view to_string(ConformalScore score) { return kScores[static_cast<std::size_t>(score)]; }
ConformalScore conformal_score_from_string(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kScores); ++i) {
    if (name == kScores[i]) return static_cast<ConformalScore>(i);
  }
  throw Error(ErrorKind::usage, "conformal", str("'", name, "' is no score"), "one of: lac, aps, raps");
}

std::vector<double> ConformalPredictor::scores(const double* row, std::size_t classes, double u) const {
  std::vector<double> out(classes);
  if (options_.score == ConformalScore::lac) {
    for (std::size_t k = 0; k < classes; ++k) out[k] = 1 - row[k];
    return out;
  }
  double before = 0;
  int rank = 0;
  for (const int k : by_probability(row, classes)) {
    double& score = out[static_cast<std::size_t>(k)];
    score = before + u * row[k];
    before += row[k];
    if (options_.score == ConformalScore::raps) score += options_.penalty * std::max(0, ++rank - options_.free_classes);
  }
  return out;
}

ConformalPredictor::ConformalPredictor(double threshold, const ConformalOptions& options)
    : threshold_(threshold), options_(options) {
  check(options_);
}

ConformalPredictor::ConformalPredictor(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                                       const ConformalOptions& options)
    : options_(options) {
  check(options_);
  check_rows(probabilities, &labels, "conformal");
  const std::vector<double> p = probabilities.to_vector<double>();
  const std::size_t n = labels.size(), classes = p.size() / n;
  std::vector<double> own;
  for (std::size_t i = 0; i < n; ++i) {
    const double u = Rng(options_.seed, "conformal calibration", i).uniform();
    own.push_back(scores(p.data() + i * classes, classes, u)[static_cast<std::size_t>(labels[i])]);
  }
  // The margin keeps (n+1)·0.9 = 90.00000000000001 from becoming 91.
  const double rank = std::ceil(static_cast<double>(n + 1) * options_.coverage - 1e-9);
  if (rank > static_cast<double>(n)) {
    threshold_ = std::numeric_limits<double>::infinity();
    return;
  }
  const auto at = own.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
  std::nth_element(own.begin(), at, own.end());
  threshold_ = *at;
}

std::vector<std::vector<int>> ConformalPredictor::sets(const Tensor& probabilities, std::int64_t first) const {
  check_rows(probabilities, nullptr, "conformal");
  const std::vector<double> p = probabilities.to_vector<double>();
  const auto classes = static_cast<std::size_t>(probabilities.dim(1));
  std::vector<std::vector<int>> out;
  for (std::size_t i = 0; i < p.size() / classes; ++i) {
    const double* row = p.data() + i * classes;
    const double u = Rng(options_.seed, "conformal", static_cast<std::uint64_t>(first) + i).uniform();
    const std::vector<double> s = scores(row, classes, u);
    std::vector<int> set;
    for (const int k : by_probability(row, classes)) {
      if (s[static_cast<std::size_t>(k)] <= threshold_) set.push_back(k);
    }
    out.push_back(std::move(set));
  }
  return out;
}

ConformalResult ConformalPredictor::evaluate(const Tensor& probabilities,
                                             const std::vector<std::int64_t>& labels) const {
  check_rows(probabilities, &labels, "conformal");
  const auto classes = static_cast<std::size_t>(probabilities.dim(1));
  ConformalResult out;
  out.sizes.assign(classes + 1, 0);
  std::vector<double> held(classes, 0.0), count(classes, 0.0);
  const std::vector<std::vector<int>> all = sets(probabilities);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto label = static_cast<std::size_t>(labels[i]);
    const bool in = std::find(all[i].begin(), all[i].end(), static_cast<int>(label)) != all[i].end();
    held[label] += in;
    count[label] += 1;
    out.coverage += in / static_cast<double>(labels.size());
    out.mean_size += static_cast<double>(all[i].size()) / static_cast<double>(labels.size());
    ++out.sizes[all[i].size()];
  }
  for (std::size_t k = 0; k < classes; ++k)
    out.class_coverage.push_back(count[k] > 0 ? held[k] / count[k] : std::numeric_limits<double>::quiet_NaN());
  return out;
}

}  // namespace fovea::insight
