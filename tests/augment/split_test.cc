// Splits: shares, classes, groups, and the combinations of datasets they return.
#include <algorithm>
#include <map>
#include <set>

#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

/// Labels and groups without pictures.
class Listed final : public Dataset {
 public:
  Listed(std::vector<std::int64_t> labels, std::vector<std::string> groups, std::size_t classes)
      : labels_(std::move(labels)), groups_(std::move(groups)) {
    for (std::size_t c = 0; c < classes; ++c) names_.push_back("c" + std::to_string(c));
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  image::Image image(std::int64_t) const override { return {}; }
  std::int64_t label(std::int64_t i) const override { return labels_.at(static_cast<std::size_t>(i)); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(std::int64_t i) const override { return std::to_string(i); }
  std::string group(std::int64_t i) const override {
    return groups_.empty() ? "" : groups_.at(static_cast<std::size_t>(i));
  }

 private:
  std::vector<std::int64_t> labels_;
  std::vector<std::string> groups_, names_;
};

DatasetPtr listed(const std::vector<int>& counts, int group_size = 0) {
  std::vector<std::int64_t> labels;
  std::vector<std::string> groups;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    for (int i = 0; i < counts[c]; ++i) {
      labels.push_back(static_cast<std::int64_t>(c));
      if (group_size) groups.push_back("g" + std::to_string(c) + "_" + std::to_string(i / group_size));
    }
  }
  return std::make_shared<Listed>(labels, groups, counts.size());
}

using Counts = std::vector<std::int64_t>;

std::vector<std::string> names_of(const Dataset& data) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < data.size(); ++i) names.push_back(data.name(i));
  return names;
}

void check_partition(const Dataset& whole, const Splits& parts) {
  std::vector<std::string> all = names_of(*parts.train);
  for (const auto& part : {parts.val, parts.test}) {
    const auto names = names_of(*part);
    all.insert(all.end(), names.begin(), names.end());
  }
  std::set<std::string> different(all.begin(), all.end());
  CHECK(different.size() == all.size());
  CHECK(static_cast<std::int64_t>(all.size()) == whole.size());
}

}  // namespace

TEST_CASE("split: stratified shares") {
  const DatasetPtr data = listed({100, 50, 10});
  const Splits parts = split(data, {.val = 0.2, .test = 0.1, .seed = 5});
  check_partition(*data, parts);
  CHECK(class_counts(*parts.train) == Counts{70, 35, 7});
  CHECK(class_counts(*parts.val) == Counts{20, 10, 2});
  CHECK(class_counts(*parts.test) == Counts{10, 5, 1});
  CHECK(parts.warnings.empty());
  // The same seed gives the same parts, another seed others.
  CHECK(names_of(*split(data, {.val = 0.2, .test = 0.1, .seed = 5}).val) == names_of(*parts.val));
  CHECK(names_of(*split(data, {.val = 0.2, .test = 0.1, .seed = 6}).val) != names_of(*parts.val));
  // Odd counts: the part as a whole has the share asked for, within rounding.
  const Splits odd = split(listed({7, 7, 7, 7, 7, 7, 7, 7, 7, 7}), {.val = 0.2});
  CHECK(odd.val->size() == 14);
  CHECK(split(data, {.val = 0}).val->size() == 0);
  CHECK(split(data, {.val = 0}).train->size() == 160);
  CHECK(split(data, {.val = 0.25, .stratified = false}).val->size() == 40);
}

TEST_CASE("split: small classes") {
  const Splits parts = split(listed({30, 1, 2, 0}), {.val = 0.2});
  CHECK(class_counts(*parts.train)[1] == 1);
  CHECK(class_counts(*parts.val)[1] == 0);
  CHECK(class_counts(*parts.train)[2] == 1);
  CHECK(class_counts(*parts.val)[2] == 1);
  REQUIRE(parts.warnings.size() == 1);
  CHECK(contains(parts.warnings[0], "class 'c1' has only one picture, which stays in train"));
  const Splits single = split(listed({1}), {.val = 0.5});
  CHECK(single.train->size() == 1);
  CHECK(contains(single.warnings.at(0), "nothing for val"));
  // Train is never robbed of a class, whatever the shares.
  const Splits greedy = split(listed({2, 3, 4}), {.val = 0.6, .test = 0.39});
  for (const std::int64_t n : class_counts(*greedy.train)) CHECK(n >= 1);
}

TEST_CASE("split: groups stay whole and shares are met") {
  for (const int group_size : {1, 3, 7}) {
    const DatasetPtr data = listed({210, 105}, group_size);
    const Splits parts = split(data, {.val = 0.2, .test = 0.2, .seed = 9});
    check_partition(*data, parts);
    std::map<std::string, int> where;
    int part_number = 0;
    for (const auto& part : {parts.train, parts.val, parts.test}) {
      for (std::int64_t i = 0; i < part->size(); ++i) {
        const auto [it, fresh] = where.emplace(part->group(i), part_number);
        CHECK(it->second == part_number);
      }
      ++part_number;
    }
    for (const auto& part : {parts.val, parts.test}) {
      CHECK(std::abs(class_counts(*part)[0] - 42) <= group_size);
      CHECK(std::abs(class_counts(*part)[1] - 21) <= group_size);
    }
  }
  // A class that is one group stays in train.
  const Splits one = split(listed({20, 5}, 5), {.val = 0.2});
  CHECK(class_counts(*one.train)[1] == 5);
  REQUIRE(one.warnings.size() == 1);
  CHECK(contains(one.warnings[0], "class 'c1' (5 pictures) has none in val: its groups cannot be divided"));
}

TEST_CASE("split: real patients") {
  const auto path = shared_path("data/xray/train");
  if (!path || !fs::exists(*path)) FOVEA_SKIP("no x-ray pictures");
  std::vector<std::int64_t> labels;
  std::vector<std::string> groups;
  for (const auto& entry : fs::recursive_directory_iterator(*path)) {
    if (!entry.is_regular_file()) continue;
    labels.push_back(contains(entry.path().string(), "/normal/") ? 0 : 1);
    groups.push_back(entry.path().filename().string().substr(0, 8));
  }
  const auto data = std::make_shared<Listed>(labels, groups, 2);
  const Splits parts = split(data, {.val = 0.2, .seed = 1});
  std::set<std::string> in_train;
  for (std::int64_t i = 0; i < parts.train->size(); ++i) in_train.insert(parts.train->group(i));
  for (std::int64_t i = 0; i < parts.val->size(); ++i) CHECK(in_train.count(parts.val->group(i)) == 0);
  CHECK(std::abs(static_cast<double>(parts.val->size()) / static_cast<double>(data->size()) - 0.2) < 0.02);
}

TEST_CASE("split: options out of range") {
  const DatasetPtr data = listed({4, 4});
  for (const SplitOptions& o :
       {SplitOptions{.val = -0.1}, {.val = 1.0}, {.val = 0.5, .test = 0.5}, {.val = std::nan("")}, {.test = -1}}) {
    CHECK(contains(error_of([&] { split(data, o); }), "usage: [split]"));
  }
  CHECK(contains(error_of([&] { split(nullptr); }), "empty"));
  CHECK(contains(error_of([&] { split(listed({0})); }), "empty"));
}

TEST_CASE("subset and concatenation") {
  const DatasetPtr data = numbered_dataset(10);
  const auto part = std::make_shared<Subset>(data, Counts{7, 2, 2});
  CHECK(part->size() == 3);
  CHECK(part->image(0).at(0, 0) == 7);
  CHECK(part->label(1) == 2);
  const Subset inner(part, {0, 2});
  CHECK(inner.indices() == Counts{7, 2});
  CHECK(inner.whole() == data);
  CHECK(contains(error_of([&] { Subset(data, {10}); }), "no item 10"));
  CHECK(contains(error_of([&] { part->image(3); }), "no item 3"));

  const auto none = std::make_shared<Subset>(data, Counts{});
  const DatasetPtr both = concatenate({none, data, none, part, none});
  CHECK(both->size() == 13);
  CHECK(both->image(10).at(0, 0) == 7);
  CHECK(both->image(12).at(0, 0) == 2);
  CHECK(both->name(0) == "memory#0");
  CHECK(both->in_memory());
  CHECK(contains(error_of([&] { both->label(13); }), "no item 13"));
  CHECK(contains(error_of([&] { concatenate({}); }), "no datasets"));
  CHECK(contains(error_of([&] { concatenate({data, numbered_dataset(2, 4, 1, 4)}); }), "3 classes, dataset 1 has 4"));
  const std::vector<double> weights = balanced_weights(*data);
  CHECK(weights[0] == Approx(0.25));
  CHECK(weights[1] == Approx(1.0 / 3));
}

TEST_CASE("tensor dataset: checks") {
  const auto fails = [](Tensor images, Counts labels) {
    return error_of([&] { TensorDataset(images, labels, {"a", "b"}); });
  };
  CHECK(contains(fails(Tensor(Shape{2, 4, 4, 1}), {0, 1}), "u8 [N,H,W,C]"));
  CHECK(contains(fails(Tensor(Shape{2, 4, 4}, DType::u8), {0, 1}), "u8 [N,H,W,C]"));
  CHECK(contains(fails(Tensor(Shape{2, 3, 4, 4}, DType::u8), {0, 1}), "1 or 3 channels"));
  CHECK(contains(fails(Tensor(Shape{2, 4, 4, 1}, DType::u8), {0}), "2 pictures but 1 labels"));
  CHECK(contains(fails(Tensor(Shape{2, 4, 4, 1}, DType::u8), {0, 2}), "label 2 of item 1"));
  CHECK(contains(fails(Tensor(), {}), "nothing"));
}
