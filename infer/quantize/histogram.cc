#include "infer/quantize/histogram.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads/parallel.h"

namespace fovea::infer {

std::string_view to_string(Observer observer) {
  switch (observer) {
    case Observer::min_max: return "min-max";
    case Observer::percentile: return "percentile";
    case Observer::entropy: return "entropy";
    case Observer::mse: return "mse";
  }
  return "?";
}

Observer observer_from(std::string_view name) {
  for (const Observer o : {Observer::min_max, Observer::percentile, Observer::entropy, Observer::mse}) {
    if (name == to_string(o)) return o;
  }
  throw Error(ErrorKind::usage, "quantize", str("'", name, "' is no way to calibrate"),
              "min-max, percentile, entropy and mse are");
}

void Histogram::widen(float low, float high) {
  const double from = static_cast<double>(count_ > 0 ? std::min(least_, low) : low);
  const double to = static_cast<double>(count_ > 0 ? std::max(greatest_, high) : high);
  // The smallest power of two of which kBins bins cover the range; 2^-100 for nothing but zeros.
  double width = width_;
  if (width == 0) width = std::exp2(std::floor(std::log2(std::max(to - from, 1e-25) / static_cast<double>(kBins))) - 1);
  const auto bins_from = [&](double w) { return std::floor(to / w) - std::floor(from / w) + 1; };
  while (bins_from(width) > static_cast<double>(kBins)) width *= 2;
  const auto first = static_cast<std::int64_t>(std::floor(from / width));
  std::vector<std::int64_t> bins(static_cast<std::size_t>(bins_from(width)));
  if (width_ > 0) {
    const double ratio = width / width_;
    for (std::size_t i = 0; i < bins_.size(); ++i) {
      const double bin = std::floor(static_cast<double>(first_ + static_cast<std::int64_t>(i)) / ratio);
      bins[static_cast<std::size_t>(static_cast<std::int64_t>(bin) - first)] += bins_[i];
    }
  }
  bins_ = std::move(bins);
  first_ = first;
  width_ = width;
  least_ = static_cast<float>(from);
  greatest_ = static_cast<float>(to);
}

void Histogram::add(const Tensor& values) {
  const float* const v = values.data<float>();
  const std::int64_t n = values.numel();
  if (n == 0) return;
  constexpr std::int64_t kGrain = 1 << 15;
  struct Part {
    float low = INFINITY, high = -INFINITY;
    double sum = 0;  // NaN and infinities show in it
    std::vector<std::int64_t> bins;
  };
  std::vector<Part> parts(static_cast<std::size_t>(parallel_chunk_count(n, kGrain)));
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    Part& part = parts[static_cast<std::size_t>(chunk)];
    float low = v[begin], high = v[begin], bad = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      low = std::min(low, v[i]);
      high = std::max(high, v[i]);
      bad += v[i] - v[i];
    }
    part.low = low;
    part.high = high;
    part.sum = static_cast<double>(bad);
  });
  float low = INFINITY, high = -INFINITY;
  for (const Part& part : parts) {
    if (!(part.sum == 0)) {
      throw Error(ErrorKind::numeric, "quantize", "a layer's results are NaN or infinite on the calibration pictures",
                  "look at the pictures and the weights: the network fails in f32 already");
    }
    low = std::min(low, part.low);
    high = std::max(high, part.high);
  }
  widen(low, high);
  const auto inverse = static_cast<float>(1 / width_);  // a power of two: exact
  const auto first = static_cast<float>(first_);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    std::vector<std::int64_t>& bins = parts[static_cast<std::size_t>(chunk)].bins;
    bins.assign(bins_.size(), 0);
    for (std::int64_t i = begin; i < end; ++i) ++bins[static_cast<std::size_t>(std::floor(v[i] * inverse) - first)];
  });
  for (const Part& part : parts) {
    for (std::size_t i = 0; i < part.bins.size(); ++i) bins_[i] += part.bins[i];
  }
  count_ += n;
}

Range Histogram::seen() const {
  if (count_ == 0) {
    throw Error(ErrorKind::usage, "quantize", "no calibration picture was seen", "give at least one");
  }
  return {static_cast<double>(least_), static_cast<double>(greatest_)};
}

Range Histogram::range(Observer observer, double share) const {
  Range r = seen();
  switch (observer) {
    case Observer::min_max: break;
    case Observer::percentile: r = percentile(share); break;
    case Observer::entropy: r = entropy(); break;
    case Observer::mse: r = mse(); break;
  }
  const Range all = seen();
  return {std::min(0.0, std::max(r.low, all.low)), std::max(0.0, std::min(r.high, all.high))};
}

Range Histogram::percentile(double share) const {
  if (!(share > 50 && share <= 100)) {
    throw Error(ErrorKind::usage, "quantize",
                str("a percentile of ", share, " is expected to be above 50, at most 100"));
  }
  const double beyond = static_cast<double>(count_) * (1 - share / 100);
  const auto edge = [&](std::size_t i) { return static_cast<double>(first_ + static_cast<std::int64_t>(i)) * width_; };
  std::size_t low = 0, high = bins_.size();
  for (double below = 0; low < bins_.size(); ++low) {
    below += static_cast<double>(bins_[low]);
    if (below > beyond) break;
  }
  for (double above = 0; high > 0; --high) {
    above += static_cast<double>(bins_[high - 1]);
    if (above > beyond) break;
  }
  return {edge(low), edge(high)};
}

namespace {

/// Lower and upper ends as bins that hold zero's edge or reach beyond it: the search of both observers below. Each end
/// is moved in turn, the other one held, until neither moves.
template <class Cost>
Range search(const std::vector<std::int64_t>& bins, std::int64_t first, double width, Cost cost) {
  const double least = std::min(0.0, static_cast<double>(first) * width);
  const double greatest = std::max(0.0, static_cast<double>(first + static_cast<std::int64_t>(bins.size())) * width);
  constexpr int kSteps = 100, kRounds = 3;
  Range best{least, greatest};
  double best_cost = cost(best);
  for (int round = 0; round < kRounds; ++round) {
    const Range before = best;
    for (const bool upper : {true, false}) {
      const double whole = upper ? greatest : least;
      if (whole == 0) continue;
      const Range held = best;
      for (int i = 1; i <= kSteps; ++i) {
        Range r = held;
        (upper ? r.high : r.low) = whole * i / kSteps;
        const double c = cost(r);
        // Rounding must not move an end: a thousandth better at least.
        if (c < best_cost * 0.999) {
          best_cost = c;
          best = r;
        }
      }
    }
    if (best.low == before.low && best.high == before.high) break;
  }
  return best;
}

constexpr double kLevels = 255;

}  // namespace

Range Histogram::mse() const {
  return search(bins_, first_, width_, [&](const Range& r) -> double {
    const double scale = (r.high - r.low) / kLevels;
    if (scale <= 0) return INFINITY;
    double sum = 0;
    for (std::size_t i = 0; i < bins_.size(); ++i) {
      if (bins_[i] == 0) continue;
      const double x = (static_cast<double>(first_ + static_cast<std::int64_t>(i)) + 0.5) * width_;
      double error = 0;
      if (x < r.low) {
        error = (r.low - x) * (r.low - x);
      } else if (x > r.high) {
        error = (x - r.high) * (x - r.high);
      } else {
        // Bins may be as wide as a step: the error of rounding is that of the uniform distribution, except at exactly
        // zero, which needs none and does not depend on the range.
        error = scale * scale / 12;
      }
      sum += error * static_cast<double>(bins_[i]);
    }
    return sum;
  });
}

Range Histogram::entropy() const {
  const auto bin_of = [&](double x) {
    const auto b = static_cast<std::int64_t>(std::floor(x / width_ + 0.5)) - first_;
    return std::clamp<std::int64_t>(b, 0, static_cast<std::int64_t>(bins_.size()));
  };
  // The bin of zero is left out: ReLU's zeros are exact whatever the range, and outweigh everything else.
  const std::int64_t zero = -first_;
  std::vector<double> p, q;
  return search(bins_, first_, width_, [&](const Range& r) -> double {
    const std::int64_t low = bin_of(r.low), high = bin_of(r.high), n = high - low;
    if (n < 1) return INFINITY;
    p.assign(static_cast<std::size_t>(n), 0.0);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(bins_.size()); ++i) {
      if (i == zero) continue;
      p[static_cast<std::size_t>(std::clamp(i, low, high - 1) - low)] +=
          static_cast<double>(bins_[static_cast<std::size_t>(i)]);
    }
    // What 256 levels keep of the bins inside: each level's count spread over its bins that hold something.
    q.assign(static_cast<std::size_t>(n), 0.0);
    const double per_level = static_cast<double>(n) / (kLevels + 1);
    double sum_p = 0, sum_q = 0;
    for (double v : p) sum_p += v;
    for (int level = 0; level <= static_cast<int>(kLevels); ++level) {
      const auto begin = static_cast<std::int64_t>(std::ceil(level * per_level));
      const auto end = std::min(n, static_cast<std::int64_t>(std::ceil((level + 1) * per_level)));
      double total = 0, filled = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t at = low + i;
        const double inside = at == zero ? 0.0 : static_cast<double>(bins_[static_cast<std::size_t>(at)]);
        total += inside;
        filled += inside > 0 || p[static_cast<std::size_t>(i)] > 0 ? 1 : 0;
      }
      for (std::int64_t i = begin; i < end && filled > 0; ++i) {
        if (p[static_cast<std::size_t>(i)] > 0) q[static_cast<std::size_t>(i)] = total / filled;
      }
    }
    for (double v : q) sum_q += v;
    if (sum_p <= 0 || sum_q <= 0) return INFINITY;
    double divergence = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (p[i] <= 0) continue;
      const double share = p[i] / sum_p;
      divergence += share * std::log(share / std::max(q[i] / sum_q, 1e-12));
    }
    return divergence;
  });
}

}  // namespace fovea::infer
