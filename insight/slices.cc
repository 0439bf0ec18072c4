#include "insight/slices.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "core/error.h"

namespace fovea::insight {

double fisher_exact(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  if (a < 0 || b < 0 || c < 0 || d < 0) throw Error(ErrorKind::usage, "fisher", "counts are at least 0");
  const auto log_factorial = [](std::int64_t v) { return std::lgamma(static_cast<double>(v) + 1); };
  const std::int64_t row = a + b, column = a + c, total = a + b + c + d;
  const double fixed =
      log_factorial(row) + log_factorial(c + d) + log_factorial(column) + log_factorial(b + d) - log_factorial(total);
  const auto log_probability = [&](std::int64_t x) {
    return fixed - log_factorial(x) - log_factorial(row - x) - log_factorial(column - x) -
           log_factorial(total - row - column + x);
  };
  // Equally unlikely tables count, also where rounding tells them apart.
  const double own = log_probability(a) + 1e-7;
  double sum = 0;
  for (std::int64_t x = std::max<std::int64_t>(0, row + column - total); x <= std::min(row, column); ++x) {
    const double lp = log_probability(x);
    if (lp <= own) sum += std::exp(lp);
  }
  return std::min(1.0, sum);
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size());
  double most = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    most = std::max(most, std::min(1.0, p[order[i]] * static_cast<double>(p.size() - i)));
    out[order[i]] = most;
  }
  return out;
}

std::vector<Slice> compare_slices(const std::vector<bool>& correct, const std::vector<std::string>& names,
                                  double level) {
  if (correct.size() != names.size())
    throw Error(ErrorKind::shape, "slices", str(correct.size(), " answers, ", names.size(), " names"));
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> counts;
  std::int64_t total = 0, right = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) continue;
    auto& [n, good] = counts[names[i]];
    ++n;
    good += correct[i];
    ++total;
    right += correct[i];
  }
  std::vector<Slice> out;
  std::vector<double> p;
  for (const auto& [name, count] : counts) {
    const auto [n, good] = count;
    Slice s;
    s.name = name;
    s.n = n;
    s.correct = good;
    s.accuracy = static_cast<double>(good) / static_cast<double>(n);
    s.interval = wilson_interval(good, n);
    s.rest_accuracy = total > n ? static_cast<double>(right - good) / static_cast<double>(total - n)
                                : std::numeric_limits<double>::quiet_NaN();
    s.p_value = total > n ? fisher_exact(good, n - good, right - good, total - n - (right - good)) : 1;
    p.push_back(s.p_value);
    out.push_back(std::move(s));
  }
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].adjusted_p = adjusted[i];
    out[i].worse = adjusted[i] < level && out[i].accuracy < out[i].rest_accuracy;
  }
  return out;
}

}  // namespace fovea::insight
