#include "insight/label_errors.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace fovea::insight {
namespace {

/// A fold for each picture: whole groups, larger ones first into the smallest fold, in a random order else. Pictures
/// without a group are their own.
std::vector<int> make_folds(const Features& f, int folds, std::uint64_t seed) {
  std::map<std::string, std::vector<std::size_t>> by_group;
  std::vector<std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < f.labels.size(); ++i) {
    if (i < f.groups.size() && !f.groups[i].empty()) {
      by_group[f.groups[i]].push_back(i);
    } else {
      groups.push_back({i});
    }
  }
  for (auto& [name, items] : by_group) groups.push_back(std::move(items));
  if (groups.size() < static_cast<std::size_t>(folds)) {
    throw Error(ErrorKind::usage, "label errors", str(groups.size(), " pictures or groups for ", folds, " folds"));
  }
  Rng rng(seed, "label errors");
  for (std::size_t i = groups.size(); i > 1; --i) std::swap(groups[i - 1], groups[rng.below(i)]);
  // Classes in turn, so that each fold gets its share of the rare ones.
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) {
    return a.size() != b.size() ? a.size() > b.size() : f.labels[a[0]] < f.labels[b[0]];
  });
  std::vector<std::size_t> sizes(static_cast<std::size_t>(folds), 0);
  std::vector<int> fold(f.labels.size());
  for (const auto& group : groups) {
    const auto least = std::min_element(sizes.begin(), sizes.end());
    *least += group.size();
    for (const std::size_t i : group) fold[i] = static_cast<int>(least - sizes.begin());
  }
  return fold;
}

Features rows(const Features& f, const std::vector<std::size_t>& which) {
  const std::int64_t width = f.values.dim(1);
  Features out;
  out.values = Tensor({static_cast<std::int64_t>(which.size()), width});
  float* to = out.values.mutable_data<float>();
  for (const std::size_t i : which) {
    const float* from = f.values.data<float>() + static_cast<std::int64_t>(i) * width;
    to = std::copy(from, from + width, to);
    out.labels.push_back(f.labels[i]);
    out.groups.push_back(i < f.groups.size() ? f.groups[i] : std::string());
  }
  return out;
}

}  // namespace

LabelErrors find_label_errors(const Features& f, int classes, const LabelErrorOptions& o) {
  const auto n = f.labels.size();
  if (classes < 2 || o.folds < 2 || o.folds > 50 || n == 0 || !f.values.defined() || f.values.rank() != 2 ||
      f.values.dim(0) != static_cast<std::int64_t>(n)) {
    throw Error(ErrorKind::usage, "label errors",
                "expected features [n, F] with n labels, at least 2 classes and 2 to 50 folds");
  }
  const std::vector<int> fold = make_folds(f, o.folds, o.seed);
  LabelErrors out;
  const auto k = static_cast<std::size_t>(classes);
  out.probabilities = Tensor({static_cast<std::int64_t>(n), classes});
  float* p = out.probabilities.mutable_data<float>();
  LinearProbeOptions probe;
  probe.c = o.c;
  probe.seed = o.seed;
  probe.cancel = o.cancel;
  for (int part = 0; part < o.folds; ++part) {
    std::vector<std::size_t> inside, outside;
    for (std::size_t i = 0; i < n; ++i) (fold[i] == part ? inside : outside).push_back(i);
    const LinearProbe fitted = fit_linear_probe(rows(f, outside), classes, probe);
    probe.c = {fitted.c};  // chosen once: on the first folds' labels, which is all but a few of them
    const Tensor answers = probe_probabilities(fitted, rows(f, inside).values);
    for (std::size_t j = 0; j < inside.size(); ++j)
      std::copy_n(answers.data<float>() + static_cast<std::int64_t>(j * k), k, p + inside[j] * k);
  }
  // The mean confidence that pictures of a class get in it.
  std::vector<double> threshold(k, 0.0), count(k, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    const auto label = static_cast<std::size_t>(f.labels[i]);
    threshold[label] += static_cast<double>(p[i * k + label]);
    count[label] += 1;
  }
  for (std::size_t c = 0; c < k; ++c) threshold[c] = count[c] > 0 ? threshold[c] / count[c] : 2;
  std::vector<char> wrong(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = p + i * k;
    const auto label = static_cast<std::size_t>(f.labels[i]);
    std::size_t other = label == 0 ? 1 : 0, confident = k;
    for (std::size_t c = 0; c < k; ++c) {
      if (c != label && row[c] > row[other]) other = c;
      if (static_cast<double>(row[c]) >= threshold[c] && (confident == k || row[c] > row[confident])) confident = c;
    }
    out.margin.push_back(static_cast<double>(row[label]) - static_cast<double>(row[other]));
    out.suggested.push_back(static_cast<std::int64_t>(other));
    out.accuracy += (row[label] >= row[other]) / static_cast<double>(n);
    wrong[i] = confident != k && confident != label;
  }
  out.ranking.resize(n);
  std::iota(out.ranking.begin(), out.ranking.end(), 0);
  std::stable_sort(out.ranking.begin(), out.ranking.end(), [&](std::int64_t a, std::int64_t b) {
    return out.margin[static_cast<std::size_t>(a)] < out.margin[static_cast<std::size_t>(b)];
  });
  for (const std::int64_t i : out.ranking) {
    if (wrong[static_cast<std::size_t>(i)]) out.likely.push_back(i);
  }
  return out;
}

}  // namespace fovea::insight
