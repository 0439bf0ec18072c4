// Classification metrics.
#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace fovea {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

/// AUC of item scores; `order` is scratch.
double auc_of(const float* scores, std::size_t stride, const std::vector<std::int32_t>& labels, std::int32_t positive,
              std::vector<std::uint32_t>& order) {
  const std::size_t n = labels.size();
  order.resize(n);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return scores[a * stride] < scores[b * stride]; });
  double rank_sum = 0;
  std::size_t positives = 0;
  for (std::size_t i = 0; i < n;) {
    std::size_t j = i, here = 0;
    while (j < n && scores[order[j] * stride] == scores[order[i] * stride]) here += labels[order[j++]] == positive;
    // Ranks i+1 … j share their mean.
    rank_sum += static_cast<double>(here) * (static_cast<double>(i + 1 + j) / 2);
    positives += here;
    i = j;
  }
  const auto p = static_cast<double>(positives), q = static_cast<double>(n - positives);
  return p > 0 && q > 0 ? (rank_sum - p * (p + 1) / 2) / (p * q) : kNaN;
}

}  // namespace

Interval wilson_interval(std::int64_t successes, std::int64_t total, double z) {
  if (total <= 0) return {};
  const auto n = static_cast<double>(total);
  const double p = static_cast<double>(successes) / n, z2 = z * z;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {successes == 0 ? 0 : std::max(0.0, middle - half), successes == total ? 1 : std::min(1.0, middle + half)};
}

double roc_auc(const std::vector<float>& scores, const std::vector<bool>& positive) {
  if (scores.size() != positive.size()) {
    throw Error(ErrorKind::shape, "roc_auc", str(scores.size(), " scores for ", positive.size(), " labels"));
  }
  for (const float s : scores) {
    if (std::isnan(s)) throw Error(ErrorKind::numeric, "roc_auc", "a score is NaN");
  }
  const std::vector<std::int32_t> labels(positive.begin(), positive.end());
  std::vector<std::uint32_t> order;
  return auc_of(scores.data(), 1, labels, 1, order);
}

ClassificationMetrics::ClassificationMetrics(int classes, MetricOptions options)
    : classes_(classes), options_(std::move(options)) {
  if (classes < 1 || classes > 1'000'000)
    throw Error(ErrorKind::usage, "metrics", str(classes, " classes"), "1 to 1 000 000");
  if (options_.ece_bins < 1 || options_.ece_bins > 10'000)
    throw Error(ErrorKind::usage, "metrics", str(options_.ece_bins, " bins"), "1 to 10 000");
  if (options_.top_k.empty()) options_.top_k = {1, 5};
  std::erase_if(options_.top_k, [&](int k) { return k < 1 || (k > classes && k != 1); });
  const auto c = static_cast<std::size_t>(classes);
  const auto bins = static_cast<std::size_t>(options_.ece_bins);
  confusion_.assign(c * c, 0);
  top_.assign(options_.top_k.size(), 0);
  bin_count_.assign(bins, 0);
  bin_correct_.assign(bins, 0);
  bin_confidence_.assign(bins, 0);
}

void ClassificationMetrics::add_logits(const Tensor& logits, const Tensor& labels) { add(logits, labels, true); }
void ClassificationMetrics::add_probabilities(const Tensor& probabilities, const Tensor& labels) {
  add(probabilities, labels, false);
}

void ClassificationMetrics::add(const Tensor& scores, const Tensor& labels, bool logits) {
  if (scores.rank() != 2 || scores.dim(1) != classes_ || labels.rank() != 1 || labels.dim(0) != scores.dim(0)) {
    throw Error(ErrorKind::shape, "metrics",
                str("expected scores [N, ", classes_, "] and labels [N], got ", scores.to_string(), " and ",
                    labels.to_string()));
  }
  const std::int64_t n = scores.dim(0);
  const auto c = static_cast<std::size_t>(classes_);
  const std::vector<double> x = scores.to_vector<double>();
  const std::int64_t* y = labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    if (y[i] < 0 || y[i] >= classes_) {
      throw Error(ErrorKind::usage, "metrics", str("label ", y[i], " of item ", n_ + i),
                  str("labels are 0 to ", classes_ - 1));
    }
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i]) || (!logits && x[i] < 0)) {
      throw Error(ErrorKind::numeric, "metrics",
                  str("the score of item ", n_ + static_cast<std::int64_t>(i / c), " for class ", i % c, " is ", x[i]));
    }
  }
  const std::size_t kept = classes_ == 2 ? 1 : c;
  if (auc_ && (n_ + n) * static_cast<std::int64_t>(kept * sizeof(float)) > options_.auc_bytes) {
    auc_ = false;
    scores_ = {};
    labels_ = {};
  }
  std::vector<double> p(c);
  for (std::int64_t i = 0; i < n; ++i) {
    const double* row = x.data() + static_cast<std::size_t>(i) * c;
    const auto label = static_cast<std::size_t>(y[i]);
    // The first of equal scores wins, as argmax does.
    const auto best = static_cast<std::size_t>(std::max_element(row, row + c) - row);
    double sum = 1;
    if (logits) {
      sum = 0;
      for (std::size_t k = 0; k < c; ++k) sum += p[k] = std::exp(row[k] - row[best]);
      for (double& v : p) v /= sum;
      log_loss_ += std::min(-std::log(1e-15), std::log(sum) - (row[label] - row[best]));
    } else {
      std::copy(row, row + c, p.begin());
      log_loss_ -= std::log(std::clamp(p[label], 1e-15, 1.0));
    }
    std::size_t above = 0;
    for (std::size_t k = 0; k < c; ++k) above += row[k] > row[label] || (row[k] == row[label] && k < label);
    for (std::size_t k = 0; k < top_.size(); ++k) top_[k] += above < static_cast<std::size_t>(options_.top_k[k]);
    ++confusion_[label * c + best];
    // Bins are (low, high], so that a confidence of 1 falls into the last.
    const auto bins = static_cast<std::int64_t>(bin_count_.size());
    const double confidence = std::min(p[best], 1.0);
    const auto bin = static_cast<std::size_t>(
        std::clamp<std::int64_t>(std::llround(std::ceil(confidence * static_cast<double>(bins))) - 1, 0, bins - 1));
    ++bin_count_[bin];
    bin_correct_[bin] += best == label;
    bin_confidence_[bin] += confidence;
    if (auc_) {
      if (kept == 1) {
        scores_.push_back(static_cast<float>(p[1]));
      } else {
        for (const double v : p) scores_.push_back(static_cast<float>(v));
      }
      labels_.push_back(static_cast<std::int32_t>(label));
    }
  }
  n_ += n;
}

MetricValues ClassificationMetrics::compute() const {
  MetricValues out;
  const auto c = static_cast<std::size_t>(classes_);
  out.n = n_;
  out.classes.resize(c);
  out.confusion.assign(c, std::vector<std::int64_t>(c));
  std::int64_t correct = 0;
  for (std::size_t i = 0; i < c; ++i) {
    for (std::size_t j = 0; j < c; ++j) {
      const std::int64_t count = confusion_[i * c + j];
      out.confusion[i][j] = count;
      out.classes[i].support += count;
      out.classes[j].predicted += count;
    }
    correct += confusion_[i * c + i];
  }
  const auto total = static_cast<double>(n_);
  out.accuracy = ratio(static_cast<double>(correct), total);
  out.accuracy_interval = wilson_interval(correct, n_);
  out.log_loss = ratio(log_loss_, total);
  for (std::size_t k = 0; k < top_.size(); ++k)
    out.top_k.emplace_back(options_.top_k[k], ratio(static_cast<double>(top_[k]), total));

  std::vector<std::uint32_t> order;
  double auc_sum = 0;
  int seen = 0, present = 0, with_auc = 0;
  for (std::size_t i = 0; i < c; ++i) {
    ClassScore& s = out.classes[i];
    const auto hit = static_cast<double>(confusion_[i * c + i]);
    s.precision = ratio(hit, static_cast<double>(s.predicted));
    s.recall = ratio(hit, static_cast<double>(s.support));
    s.f1 = ratio(2 * hit, static_cast<double>(s.predicted + s.support));
    s.auc = kNaN;
    if (auc_ && classes_ >= 2) {
      // With two classes only the second's score is kept; the first's AUC is the same, its ranking being the reverse.
      s.auc = classes_ == 2 ? auc_of(scores_.data(), 1, labels_, 1, order)
                            : auc_of(scores_.data() + i, c, labels_, static_cast<std::int32_t>(i), order);
      if (!std::isnan(s.auc)) {
        auc_sum += s.auc;
        ++with_auc;
      }
    }
    if (s.support + s.predicted > 0) {
      ++seen;
      out.macro_precision += s.precision;
      out.macro_recall += s.recall;
      out.macro_f1 += s.f1;
    }
    if (s.support > 0) {
      ++present;
      out.balanced_accuracy += s.recall;
    }
    const double weight = ratio(static_cast<double>(s.support), total);
    out.weighted_precision += weight * s.precision;
    out.weighted_recall += weight * s.recall;
    out.weighted_f1 += weight * s.f1;
  }
  out.macro_precision = ratio(out.macro_precision, seen);
  out.macro_recall = ratio(out.macro_recall, seen);
  out.macro_f1 = ratio(out.macro_f1, seen);
  out.balanced_accuracy = ratio(out.balanced_accuracy, present);
  out.auc = with_auc ? auc_sum / with_auc : kNaN;

  const std::size_t bins = bin_count_.size();
  for (std::size_t b = 0; b < bins; ++b) {
    ReliabilityBin bin;
    bin.low = static_cast<double>(b) / static_cast<double>(bins);
    bin.high = static_cast<double>(b + 1) / static_cast<double>(bins);
    bin.count = bin_count_[b];
    bin.confidence = ratio(bin_confidence_[b], static_cast<double>(bin.count));
    bin.accuracy = ratio(static_cast<double>(bin_correct_[b]), static_cast<double>(bin.count));
    out.ece += ratio(static_cast<double>(bin.count), total) * std::abs(bin.accuracy - bin.confidence);
    out.reliability.push_back(bin);
  }
  return out;
}

std::string MetricValues::to_string() const {
  char text[256];
  std::snprintf(text, sizeof text,
                "accuracy %.2f %% (95 %%: %.2f to %.2f), macro F1 %.4f, AUC %.4f, ECE %.4f, log loss %.4f, n %lld",
                100 * accuracy, 100 * accuracy_interval.low, 100 * accuracy_interval.high, macro_f1, auc, ece, log_loss,
                static_cast<long long>(n));
  return text;
}

}  // namespace fovea
