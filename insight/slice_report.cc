// Accuracy, recall, calibration and confusion of each slice, and whether they differ from the rest by more than chance.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "insight/rows_internal.h"
#include "insight/slices.h"
#include "train/share_internal.h"

namespace fovea::insight {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// What there is to know of one answer.
struct Item {
  std::int64_t label = 0, predicted = 0;
  double confidence = 0;
  bool right() const { return label == predicted; }
};

/// How often so many items drawn at random from all known ones have a mean gap as far from the rest's as the slice has.
/// The gap of the rest follows from that of the drawn ones, so that the drawn ones' sum alone decides.
double permutation_p(const std::vector<double>& gaps, std::size_t n, double own_sum, int permutations,
                     std::uint64_t seed, std::uint64_t index) {
  double total = 0;
  for (const double g : gaps) total += g;
  const double expected = total / static_cast<double>(gaps.size()) * static_cast<double>(n);
  const double own = std::abs(own_sum - expected) - 1e-9;
  std::vector<char> extreme(static_cast<std::size_t>(permutations));
  parallel_for(permutations, 64, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> pool = gaps;
    for (std::int64_t r = begin; r < end; ++r) {
      Rng rng(seed, "slice permutation", index * 1'000'003u + static_cast<std::uint64_t>(r));
      double sum = 0;
      // The order that earlier draws left does not matter: any n of a shuffled pool are as likely as any others. But it
      // would make results depend on the threads, so each draw begins with the same pool.
      std::vector<std::pair<std::size_t, std::size_t>> swaps;
      swaps.reserve(n);
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t j = i + static_cast<std::size_t>(rng.below(pool.size() - i));
        std::swap(pool[i], pool[j]);
        swaps.emplace_back(i, j);
        sum += pool[i];
      }
      for (auto s = swaps.rbegin(); s != swaps.rend(); ++s) std::swap(pool[s->first], pool[s->second]);
      extreme[static_cast<std::size_t>(r)] = std::abs(sum - expected) >= own;
    }
  });
  const auto as_extreme = std::count(extreme.begin(), extreme.end(), 1);
  return static_cast<double>(as_extreme + 1) / static_cast<double>(permutations + 1);
}

SliceDetail measure(const std::vector<Item>& items, const std::vector<std::size_t>& in, const Tensor& p) {
  SliceDetail s;
  std::vector<std::int64_t> labels;
  for (const std::size_t i : in) {
    labels.push_back(items[i].label);
    s.correct += items[i].right();
    s.confidence += items[i].confidence / static_cast<double>(in.size());
  }
  const MetricValues v = metrics_of(take_rows(p, in), labels);
  s.n = v.n;
  s.accuracy = v.accuracy;
  s.interval = v.accuracy_interval;
  s.ece = v.ece;
  s.confusion = v.confusion;
  return s;
}

}  // namespace

SliceReport audit_slices(const Tensor& probabilities, const std::vector<std::int64_t>& labels,
                         const std::vector<SliceAttribute>& attributes, const SliceOptions& o) {
  check_rows(probabilities, &labels, "slices");
  if (!(o.level > 0 && o.level < 1) || o.min_pictures < 1 || o.permutations < 19 || o.permutations > 1'000'000) {
    throw Error(ErrorKind::usage, "slices",
                str("expected a level between 0 and 1, at least 1 picture and 19 to 1000000 permutations, got ",
                    o.level, ", ", o.min_pictures, " and ", o.permutations));
  }
  const Tensor p = probabilities.to(DType::f32);
  const std::int64_t classes = p.dim(1);
  std::vector<Item> items(labels.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const float* row = p.data<float>() + static_cast<std::int64_t>(i) * classes;
    const float* most = std::max_element(row, row + classes);
    items[i] = {labels[i], most - row, static_cast<double>(*most)};
  }

  SliceReport out;
  std::vector<double> accuracy_p, recall_p, calibration_p;
  for (const SliceAttribute& attribute : attributes) {
    if (attribute.values.size() != items.size())
      throw Error(ErrorKind::shape, "slices",
                  str(items.size(), " answers, ", attribute.values.size(), " values of ", attribute.name));
    std::map<std::string, std::vector<std::size_t>> members;
    std::vector<std::size_t> known;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (attribute.values[i].empty()) continue;
      members[attribute.values[i]].push_back(i);
      known.push_back(i);
    }
    if (members.size() < 2) continue;
    std::int64_t right = 0;
    std::vector<std::int64_t> n_of(static_cast<std::size_t>(classes)), found_of(n_of.size());
    std::vector<double> gaps;
    double gap_sum = 0;
    for (const std::size_t i : known) {
      right += items[i].right();
      ++n_of[static_cast<std::size_t>(items[i].label)];
      found_of[static_cast<std::size_t>(items[i].label)] += items[i].right();
      gaps.push_back(items[i].confidence - (items[i].right() ? 1 : 0));
      gap_sum += gaps.back();
    }
    std::vector<std::string> order;
    for (const std::string& value : attribute.order) {
      if (members.contains(value)) order.push_back(value);
    }
    for (const auto& [name, in] : members) {
      if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
    }
    for (const std::string& name : order) {
      const std::vector<std::size_t>& in = members[name];
      if (static_cast<int>(in.size()) < o.min_pictures) {
        ++out.left_out;
        continue;
      }
      SliceDetail s = measure(items, in, p);
      s.attribute = attribute.name;
      s.name = name;
      const std::int64_t rest = static_cast<std::int64_t>(known.size()) - s.n, rest_right = right - s.correct;
      s.rest_accuracy = share(rest_right, rest);
      s.p_value = fisher_exact(s.correct, s.n - s.correct, rest_right, rest - rest_right);
      accuracy_p.push_back(s.p_value);
      for (std::size_t k = 0; k < n_of.size(); ++k) {
        SliceRecall r;
        for (const std::int64_t count : s.confusion[k]) r.n += count;
        r.found = s.confusion[k][k];
        r.recall = share(r.found, r.n);
        r.interval = wilson_interval(r.found, r.n);
        const std::int64_t others = n_of[k] - r.n, others_found = found_of[k] - r.found;
        r.rest_recall = share(others_found, others);
        recall_p.push_back(
            r.n > 0 && others > 0 ? fisher_exact(r.found, r.n - r.found, others_found, others - others_found) : 1);
        s.classes.push_back(r);
      }
      double own = 0;
      for (const std::size_t i : in) own += items[i].confidence - (items[i].right() ? 1 : 0);
      s.rest_gap = rest > 0 ? (gap_sum - own) / static_cast<double>(rest) : kNan;
      s.calibration_p = permutation_p(gaps, in.size(), own, o.permutations, o.seed, out.slices.size());
      calibration_p.push_back(s.calibration_p);
      out.slices.push_back(std::move(s));
    }
  }
  const std::vector<double> accuracy = holm(accuracy_p), recall = holm(recall_p), calibration = holm(calibration_p);
  std::size_t next = 0;
  for (std::size_t i = 0; i < out.slices.size(); ++i) {
    SliceDetail& s = out.slices[i];
    s.adjusted_p = accuracy[i];
    s.worse = s.adjusted_p < o.level && s.accuracy < s.rest_accuracy;
    s.adjusted_calibration_p = calibration[i];
    s.miscalibrated = s.adjusted_calibration_p < o.level;
    for (SliceRecall& r : s.classes) {
      r.adjusted_p = recall[next++];
      r.worse = r.adjusted_p < o.level && r.recall < r.rest_recall;
    }
    if (out.worst < 0 || s.interval.high < out.slices[static_cast<std::size_t>(out.worst)].interval.high)
      out.worst = static_cast<int>(i);
  }
  return out;
}

SliceAttribute thirds_of(const std::string& name, const std::vector<double>& values,
                         const std::array<std::string, 3>& names, int decimals) {
  SliceAttribute out{name, std::vector<std::string>(values.size()), {}};
  std::vector<double> sorted;
  for (const double v : values) {
    if (std::isfinite(v)) sorted.push_back(v);
  }
  if (sorted.size() < 30) return out;
  std::sort(sorted.begin(), sorted.end());
  const double low = sorted[sorted.size() / 3], high = sorted[2 * sorted.size() / 3];
  if (!(sorted.front() < low && low < high)) return out;
  const auto text = [&](double v) {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.*f", decimals, v);
    return std::string(buffer);
  };
  out.order = {str(names[0], " (below ", text(low), ")"), str(names[1], " (", text(low), " to ", text(high), ")"),
               str(names[2], " (from ", text(high), ")")};
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) out.values[i] = out.order[values[i] < low ? 0 : values[i] < high ? 1 : 2];
  }
  return out;
}

}  // namespace fovea::insight
