// Random division of a dataset into train, val and test: by class, and never through a group.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "augment/dataset.h"
#include "core/error.h"
#include "core/rng.h"

namespace fovea {

namespace {

constexpr int kParts = 3;  // train, val, test
enum Part : int { kTrain, kVal, kTest };
using Shares = std::array<double, kParts>;
using Indices = std::vector<std::int64_t>;
using Division = std::array<Indices, kParts>;

void shuffle(Indices& items, Rng& rng) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

/// A dataset as split() sees it: class of each item (all 0 when not stratified) and the items of each class.
struct Grouping {
  const Dataset& dataset;
  std::vector<std::size_t> label;
  std::vector<Indices> by_class;
};

/// How many pictures of each class go to val and test. Largest remainders over the classes, so that the part as a whole
/// has round(share · N); then every class large enough gives at least one.
std::vector<std::array<std::int64_t, kParts>> quotas(const Grouping& view, const Shares& shares, Rng& rng) {
  const std::size_t classes = view.by_class.size();
  std::vector<std::array<std::int64_t, kParts>> result(classes);
  const auto total = static_cast<double>(view.label.size());
  const std::int64_t parts_wanted = 1 + (shares[kVal] > 0) + (shares[kTest] > 0);
  for (const Part part : {kVal, kTest}) {
    if (shares[part] == 0) continue;
    const auto wanted = static_cast<std::int64_t>(std::llround(shares[part] * total));
    std::int64_t given = 0;
    std::vector<std::pair<double, std::size_t>> remainders;
    for (std::size_t c = 0; c < classes; ++c) {
      const double exact = shares[part] * static_cast<double>(view.by_class[c].size());
      result[c][part] = static_cast<std::int64_t>(exact);
      given += result[c][part];
      remainders.emplace_back(exact - std::floor(exact) + 1e-9 * rng.uniform(), c);  // ties are broken at random
    }
    std::sort(remainders.rbegin(), remainders.rend());
    for (std::size_t k = 0; given < wanted && k < remainders.size(); ++k, ++given) ++result[remainders[k].second][part];
  }
  for (std::size_t c = 0; c < classes; ++c) {
    const auto n = static_cast<std::int64_t>(view.by_class[c].size());
    auto& quota = result[c];
    for (const Part part : {kVal, kTest}) {
      if (n < parts_wanted) {
        quota[part] = 0;
      } else if (shares[part] > 0) {
        quota[part] = std::max<std::int64_t>(quota[part], 1);
      }
    }
    // Train keeps at least one of everything.
    while (n > 0 && quota[kVal] + quota[kTest] >= n) --quota[quota[kVal] >= quota[kTest] ? kVal : kTest];
    quota[kTrain] = n - quota[kVal] - quota[kTest];
  }
  return result;
}

Division divide_items(Grouping& view, const Shares& shares, Rng& rng) {
  Division division;
  const auto quota = quotas(view, shares, rng);
  for (std::size_t c = 0; c < view.by_class.size(); ++c) {
    Indices& items = view.by_class[c];
    shuffle(items, rng);
    auto next = items.begin();
    for (const Part part : {kVal, kTest, kTrain}) {
      const auto end = next + quota[c][part];
      division[part].insert(division[part].end(), next, end);
      next = end;
    }
  }
  return division;
}

/// A group, or one picture without a group.
struct Unit {
  Indices items;
  std::vector<std::pair<std::size_t, std::int64_t>> counts;  // (class, how many)
  int part = kTrain;
};

std::vector<Unit> make_units(const Grouping& view) {
  std::vector<Unit> units;
  std::unordered_map<std::string, std::size_t> by_group;
  for (std::size_t i = 0; i < view.label.size(); ++i) {
    const std::string group = view.dataset.group(static_cast<std::int64_t>(i));
    std::size_t unit = units.size();
    if (!group.empty()) unit = by_group.try_emplace(group, unit).first->second;
    if (unit == units.size()) units.emplace_back();
    units[unit].items.push_back(static_cast<std::int64_t>(i));
  }
  for (Unit& unit : units) {
    std::map<std::size_t, std::int64_t> counts;
    for (const std::int64_t i : unit.items) ++counts[view.label[static_cast<std::size_t>(i)]];
    unit.counts.assign(counts.begin(), counts.end());
  }
  return units;
}

/// Greedy, largest groups first: each unit goes where it lowers the squared distance from the wanted counts most.
Division divide_units(const Grouping& view, const Shares& shares, Rng& rng) {
  std::vector<Unit> units = make_units(view);
  Indices order(units.size());
  std::iota(order.begin(), order.end(), 0);
  shuffle(order, rng);
  const auto unit_at = [&](std::int64_t k) -> Unit& { return units[static_cast<std::size_t>(k)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return unit_at(a).items.size() > unit_at(b).items.size(); });
  const std::size_t classes = view.by_class.size();
  std::array<std::vector<double>, kParts> missing;
  std::vector<std::int64_t> units_of_class(classes);
  for (int part = 0; part < kParts; ++part) {
    for (const Indices& items : view.by_class)
      missing[part].push_back(shares[part] * static_cast<double>(items.size()));
  }
  for (const Unit& unit : units) {
    for (const auto& [c, n] : unit.counts) ++units_of_class[c];
  }
  for (const std::int64_t k : order) {
    Unit& unit = unit_at(k);
    double best = 0;
    int chosen = -1;
    for (int part = 0; part < kParts; ++part) {
      if (shares[part] == 0) continue;
      double gain = 0;
      bool only_one = false;
      for (const auto& [c, n] : unit.counts) {
        gain += static_cast<double>(n) * missing[part][c] / static_cast<double>(view.by_class[c].size());
        only_one = only_one || units_of_class[c] == 1;
      }
      if (only_one && part != kTrain) continue;  // the only group of a class is needed for training
      if (chosen < 0 || gain > best) best = gain, chosen = part;
    }
    unit.part = chosen < 0 ? kTrain : chosen;
    for (const auto& [c, n] : unit.counts) missing[unit.part][c] -= static_cast<double>(n);
  }
  // A class whose groups all went elsewhere gives its smallest one back to train.
  for (std::size_t c = 0; c < classes; ++c) {
    Unit* smallest = nullptr;
    bool in_train = view.by_class[c].empty();
    for (Unit& unit : units) {
      if (std::none_of(unit.counts.begin(), unit.counts.end(), [&](const auto& count) { return count.first == c; }))
        continue;
      in_train = in_train || unit.part == kTrain;
      if (!smallest || unit.items.size() < smallest->items.size()) smallest = &unit;
    }
    if (!in_train && smallest) smallest->part = kTrain;
  }
  Division division;
  for (const Unit& unit : units)
    division[unit.part].insert(division[unit.part].end(), unit.items.begin(), unit.items.end());
  return division;
}

std::vector<std::string> describe_shortages(const Grouping& view, const Division& division, const Shares& shares,
                                            bool groups) {
  const char* const names[kParts] = {"train", "val", "test"};
  std::vector<std::string> warnings;
  const std::size_t classes = view.dataset.class_names().size();
  std::array<std::vector<std::int64_t>, kParts> counts;
  for (int part = 0; part < kParts; ++part) {
    counts[part].resize(classes);
    for (const std::int64_t i : division[part]) ++counts[part][static_cast<std::size_t>(view.dataset.label(i))];
    if (shares[part] > 0 && division[part].empty()) {
      warnings.push_back(
          str("there is nothing for ", names[part], groups ? ": too few groups to divide" : ": too few pictures"));
    }
  }
  for (std::size_t c = 0; c < classes; ++c) {
    const std::int64_t total = counts[0][c] + counts[1][c] + counts[2][c];
    if (total == 0) continue;
    const std::string& name = view.dataset.class_names()[c];
    for (const Part part : {kVal, kTest}) {
      if (shares[part] == 0 || counts[part][c] > 0 || division[part].empty()) continue;
      if (total == 1) {
        warnings.push_back(
            str("class '", name, "' has only one picture, which stays in train: ", names[part], " has none"));
      } else {
        warnings.push_back(str("class '", name, "' (", total, " pictures) has none in ", names[part],
                               groups ? ": its groups cannot be divided further" : ""));
      }
    }
  }
  return warnings;
}

}  // namespace

Splits split(DatasetPtr dataset, const SplitOptions& options) {
  const char* where = "split";
  if (!dataset || dataset->size() == 0) throw Error(ErrorKind::usage, where, "the dataset is empty");
  // Written so that NaN fails too.
  if (!(options.val >= 0 && options.val < 1 && options.test >= 0 && options.test < 1 &&
        options.val + options.test < 1)) {
    throw Error(ErrorKind::usage, where,
                str("val = ", options.val, " and test = ", options.test, " leave nothing for train"),
                "both are shares in [0, 1) whose sum is below 1");
  }
  Grouping view{*dataset, {}, {}};
  const auto n = static_cast<std::size_t>(dataset->size());
  view.label.resize(n);
  view.by_class.resize(options.stratified ? dataset->class_names().size() : 1);
  bool groups = false;
  for (std::size_t i = 0; i < n; ++i) {
    const auto item = static_cast<std::int64_t>(i);
    view.label[i] = options.stratified ? static_cast<std::size_t>(dataset->label(item)) : 0;
    view.by_class.at(view.label[i]).push_back(item);
    groups = groups || !dataset->group(item).empty();
  }
  const Shares shares = {1.0 - options.val - options.test, options.val, options.test};
  Rng rng(options.seed, "split");
  Division division = groups ? divide_units(view, shares, rng) : divide_items(view, shares, rng);
  for (Indices& part : division) std::sort(part.begin(), part.end());

  Splits result;
  result.warnings = describe_shortages(view, division, shares, groups);
  result.train = std::make_shared<Subset>(dataset, std::move(division[kTrain]));
  result.val = std::make_shared<Subset>(dataset, std::move(division[kVal]));
  result.test = std::make_shared<Subset>(dataset, std::move(division[kTest]));
  return result;
}

}  // namespace fovea
