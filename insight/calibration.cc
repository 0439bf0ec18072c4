#include "insight/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "insight/rows_internal.h"

namespace fovea::insight {

void check_rows(const Tensor& values, const std::vector<std::int64_t>* labels, const char* where) {
  if (!values.defined() || values.rank() != 2 || values.numel() == 0 ||
      (labels && values.dim(0) != static_cast<std::int64_t>(labels->size()))) {
    throw Error(ErrorKind::shape, where,
                str("expected [N, classes]", labels ? str(" for ", labels->size(), " labels") : std::string(), ", got ",
                    values.defined() ? values.to_string() : std::string("nothing")));
  }
  if (labels) {
    for (const std::int64_t label : *labels) {
      if (label < 0 || label >= values.dim(1))
        throw Error(ErrorKind::usage, where, str("label ", label), str("labels are 0 to ", values.dim(1) - 1));
    }
  }
  for (const double v : values.to_vector<double>()) {
    if (!std::isfinite(v)) throw Error(ErrorKind::numeric, where, "a value is NaN or infinite");
  }
}

Temperature fit_temperature(const Tensor& logits, const std::vector<std::int64_t>& labels) {
  check_rows(logits, &labels, "temperature");
  const std::vector<double> z = logits.to_vector<double>();
  const std::size_t n = labels.size(), classes = z.size() / n;
  struct Point {
    double loss = 0, slope = 0, curvature = 0;
  };
  const auto at = [&](double beta) {
    Point point;
    for (std::size_t i = 0; i < n; ++i) {
      const double* row = z.data() + i * classes;
      const double top = *std::max_element(row, row + classes);
      double sum = 0, mean = 0, square = 0;
      for (std::size_t k = 0; k < classes; ++k) {
        const double d = row[k] - top, e = std::exp(beta * d);
        sum += e;
        mean += e * d;
        square += e * d * d;
      }
      mean /= sum;
      const double own = row[labels[i]] - top;
      point.loss += std::log(sum) - beta * own;
      point.slope += mean - own;
      point.curvature += square / sum - mean * mean;
    }
    const auto count = static_cast<double>(n);
    return Point{point.loss / count, point.slope / count, point.curvature / count};
  };
  double low = 0.01, high = 100, beta = 1;  // the slope is negative at low and positive at high, or a limit is best
  Temperature out;
  out.log_loss_before = at(1).loss;
  if (at(low).slope >= 0 || at(high).slope <= 0) {
    beta = at(low).slope >= 0 ? low : high;
    out.at_limit = true;
  } else {
    for (int i = 0; i < 200 && high - low > 1e-12 * beta; ++i) {
      const Point point = at(beta);
      (point.slope > 0 ? high : low) = beta;
      if (point.slope == 0) break;
      double next = point.curvature > 0 ? beta - point.slope / point.curvature : low;
      if (!(next > low && next < high)) next = (low + high) / 2;
      if (std::abs(next - beta) <= 1e-13 * beta) break;
      beta = next;
    }
  }
  out.value = 1 / beta;
  out.log_loss_after = at(beta).loss;
  return out;
}

Tensor tempered_probabilities(const Tensor& logits, double temperature) {
  check_rows(logits, nullptr, "temperature");
  if (!(temperature > 0) || !std::isfinite(temperature))
    throw Error(ErrorKind::usage, "temperature", str("expected a value above 0, got ", temperature));
  const std::vector<double> z = logits.to_vector<double>();
  const auto classes = static_cast<std::size_t>(logits.dim(1));
  Tensor out(logits.shape());
  float* p = out.mutable_data<float>();
  std::vector<double> e(classes);
  for (std::size_t begin = 0; begin < z.size(); begin += classes) {
    const double top = *std::max_element(z.data() + begin, z.data() + begin + classes);
    double sum = 0;
    for (std::size_t k = 0; k < classes; ++k) sum += e[k] = std::exp((z[begin + k] - top) / temperature);
    for (std::size_t k = 0; k < classes; ++k) p[begin + k] = static_cast<float>(e[k] / sum);
  }
  return out;
}

// ----------------------------------------------------------------------------------------------------------- bootstrap

namespace {

void check(const BootstrapOptions& o, std::int64_t n) {
  if (n < 1 || o.resamples < 10 || o.resamples > 1'000'000 || !(o.level > 0 && o.level < 1)) {
    throw Error(ErrorKind::usage, "bootstrap",
                str("expected items, 10 to 1000000 resamples and a level between 0 and 1, got ", n, ", ", o.resamples,
                    " and ", o.level));
  }
}

/// The numbers of resample r.
std::vector<std::int64_t> resample(std::int64_t n, const BootstrapOptions& o, std::int64_t r) {
  Rng rng(o.seed, "bootstrap", static_cast<std::uint64_t>(r));
  std::vector<std::int64_t> items(static_cast<std::size_t>(n));
  for (std::int64_t& item : items) item = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(n)));
  return items;
}

/// Percentiles with linear interpolation, without what is NaN.
Interval percentiles(std::vector<double> values, double level) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (values.empty()) return {kNan, kNan};
  std::sort(values.begin(), values.end());
  const auto at = [&](double q) {
    const double position = q * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(position);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (position - static_cast<double>(low)) * (values[high] - values[low]);
  };
  return {at((1 - level) / 2), at((1 + level) / 2)};
}

}  // namespace

Interval bootstrap_interval(std::int64_t n, const std::function<double(const std::vector<std::int64_t>&)>& figure,
                            const BootstrapOptions& o) {
  check(o, n);
  std::vector<double> values(static_cast<std::size_t>(o.resamples));
  parallel_for(o.resamples, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) values[static_cast<std::size_t>(r)] = figure(resample(n, o, r));
  });
  return percentiles(std::move(values), o.level);
}

MetricIntervals bootstrap_metrics(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                                  const BootstrapOptions& o) {
  check_rows(probabilities, &labels, "bootstrap");
  const auto n = static_cast<std::int64_t>(labels.size());
  check(o, n);
  const Tensor p = probabilities.to(DType::f32);
  const std::int64_t classes = p.dim(1);
  constexpr std::size_t kFigures = 6;
  std::vector<std::vector<double>> values(kFigures, std::vector<double>(static_cast<std::size_t>(o.resamples)));
  parallel_for(o.resamples, 1, [&](std::int64_t begin, std::int64_t end) {
    Tensor drawn(p.shape()), drawn_labels(Shape{n}, DType::i64);
    for (std::int64_t r = begin; r < end; ++r) {
      float* to = drawn.mutable_data<float>();
      std::int64_t* l = drawn_labels.mutable_data<std::int64_t>();
      for (const std::int64_t item : resample(n, o, r)) {
        const float* from = p.data<float>() + item * classes;
        to = std::copy(from, from + classes, to);
        *l++ = labels[static_cast<std::size_t>(item)];
      }
      ClassificationMetrics metrics(static_cast<int>(classes));
      metrics.add_probabilities(drawn, drawn_labels);
      const MetricValues v = metrics.compute();
      const double figures[kFigures] = {v.accuracy, v.balanced_accuracy, v.macro_f1, v.auc, v.log_loss, v.ece};
      for (std::size_t f = 0; f < kFigures; ++f) values[f][static_cast<std::size_t>(r)] = figures[f];
    }
  });
  MetricIntervals out;
  Interval* to[kFigures] = {&out.accuracy, &out.balanced_accuracy, &out.macro_f1, &out.auc, &out.log_loss, &out.ece};
  for (std::size_t f = 0; f < kFigures; ++f) *to[f] = percentiles(std::move(values[f]), o.level);
  return out;
}

}  // namespace fovea::insight
