// The loader: the same batches whoever makes them, errors that arrive where they belong, and an end at any moment.
#include "augment/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>

#include "augment/image_folder.h"
#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;
namespace tf = fovea::transforms;

namespace {

image::Preprocessing plain(int side, int channels) {
  return {.width = side,
          .height = side,
          .channels = channels,
          .rule = image::ResizeRule::stretch,
          .scale = 1,
          .mean = {0, 0, 0},
          .std = {1, 1, 1}};
}

/// Everything an epoch gave, in order.
struct Seen {
  std::vector<std::int64_t> indices, labels, sizes;
  std::vector<float> pixels, soft;
  friend bool operator==(const Seen&, const Seen&) = default;
};

Seen drain(Loader& loader) {
  Seen seen;
  Batch batch;
  while (loader.next(batch)) {
    seen.sizes.push_back(batch.images.dim(0));
    seen.indices.insert(seen.indices.end(), batch.indices.begin(), batch.indices.end());
    for (const std::int64_t v : batch.labels.values<std::int64_t>()) seen.labels.push_back(v);
    for (const float v : batch.images.values<float>()) seen.pixels.push_back(v);
    if (!batch.soft_labels.defined()) continue;
    for (const float v : batch.soft_labels.values<float>()) seen.soft.push_back(v);
  }
  return seen;
}

Seen epoch_of(const DatasetPtr& data, const LoaderOptions& options, std::int64_t epoch = 0, std::int64_t first = 0) {
  Loader loader(data, options);
  loader.start_epoch(epoch, first);
  return drain(loader);
}

/// Counts, delays or fails: what a test asks for.
class Strange final : public Dataset {
 public:
  explicit Strange(std::int64_t n) : size_(n) {}
  std::int64_t size() const override { return size_; }
  image::Image image(std::int64_t i) const override {
    ++calls;
    if (delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    if (i == throws_at) throw std::runtime_error("not one of ours");
    if (i == bad_at || i == worse_at) throw Error(ErrorKind::format, name(i), "is damaged");
    if (i == hungry_at) throw std::bad_alloc();
    return image::Image(2, 2, 1, static_cast<std::uint8_t>(i));
  }
  std::int64_t label(std::int64_t i) const override { return i % 2; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(std::int64_t i) const override { return "strange#" + std::to_string(i); }

  mutable std::atomic<int> calls{0};
  int delay_ms = 0;
  std::int64_t throws_at = -1, bad_at = -1, worse_at = -1, hungry_at = -1;

 private:
  std::int64_t size_;
  std::vector<std::string> names_ = {"even", "odd"};
};

}  // namespace

TEST_CASE("loader: results do not depend on workers, prefetch or cache") {
  const DatasetPtr data = numbered_dataset(53, 9, 3);
  LoaderOptions o{.batch_size = 8, .shuffle = true, .seed = 7, .workers = 0, .preprocessing = plain(6, 3)};
  o.transforms = {tf::random_resized_crop({.width = 6}), tf::horizontal_flip(), tf::rand_augment(),
                  tf::gaussian_noise({0, 20}, 1)};
  o.batch_transforms = {tf::one_of({tf::mixup(), tf::cutmix()})};
  const Seen first = epoch_of(data, o), second = epoch_of(data, o, 1);
  CHECK(first.indices.size() == 53);
  CHECK(first.soft.size() == 53 * 3);
  CHECK(first != second);
  for (const int workers : {1, 2, 5}) {
    for (const int prefetch : {1, 3, 64}) {
      LoaderOptions other = o;
      other.workers = workers;
      other.prefetch = prefetch;
      other.cache = prefetch != 3;
      Loader loader(data, other);
      // The second epoch first, half of another in between: an epoch does not remember what went before it.
      loader.start_epoch(1);
      CHECK(drain(loader) == second);
      loader.start_epoch(4);
      Batch batch;
      CHECK(loader.next(batch));
      loader.start_epoch(0);
      CHECK(drain(loader) == first);
    }
  }
  LoaderOptions other = o;
  other.seed = 8;
  CHECK(epoch_of(data, other).indices != first.indices);
}

TEST_CASE("loader: a picture's augmentation depends on epoch and item, not on its place") {
  const DatasetPtr data = numbered_dataset(20, 6, 1);
  LoaderOptions o{.batch_size = 4, .seed = 3, .workers = 2, .preprocessing = plain(6, 1)};
  o.transforms = {tf::gaussian_noise({20, 20}, 1)};
  const auto by_item = [](const Seen& seen) {
    std::map<std::int64_t, std::vector<float>> pictures;
    for (std::size_t i = 0; i < seen.indices.size(); ++i) {
      const auto from = seen.pixels.begin() + static_cast<std::ptrdiff_t>(i * 36);
      pictures[seen.indices[i]] = {from, from + 36};
    }
    return pictures;
  };
  const Seen straight = epoch_of(data, o);
  LoaderOptions other = o;
  other.shuffle = true;
  other.batch_size = 7;
  const Seen shuffled = epoch_of(data, other);
  CHECK(straight.indices != shuffled.indices);
  CHECK(by_item(straight) == by_item(shuffled));
  CHECK(by_item(straight) != by_item(epoch_of(data, o, 1)));
}

TEST_CASE("loader: every item once, batches of the size asked for, a smaller last one") {
  const DatasetPtr data = numbered_dataset(23);
  for (const std::int64_t size : {1, 4, 23, 100}) {
    for (const bool drop : {false, true}) {
      if (drop && size > 23) continue;
      LoaderOptions o{
          .batch_size = size, .shuffle = true, .drop_last = drop, .workers = 2, .preprocessing = plain(4, 1)};
      Loader loader(data, o);
      const std::int64_t batches = drop ? 23 / size : (23 + size - 1) / size;
      CHECK(loader.batches_per_epoch() == batches);
      loader.start_epoch(0);
      const Seen seen = drain(loader);
      CHECK(static_cast<std::int64_t>(seen.sizes.size()) == batches);
      for (std::size_t i = 0; i + 1 < seen.sizes.size(); ++i) CHECK(seen.sizes[i] == size);
      CHECK(std::set(seen.indices.begin(), seen.indices.end()).size() == seen.indices.size());
      CHECK(seen.indices.size() == (drop ? static_cast<std::size_t>(batches * size) : 23));
      for (std::size_t i = 0; i < seen.indices.size(); ++i) {
        CHECK(seen.labels[i] == seen.indices[i] % 3);
        CHECK(seen.pixels[i * 16] == static_cast<float>(seen.indices[i]));
      }
      Batch batch;
      CHECK_FALSE(loader.next(batch));
      CHECK_FALSE(loader.next(batch));
    }
  }
}

TEST_CASE("loader: an epoch can be entered anywhere") {
  const DatasetPtr data = numbered_dataset(30);
  LoaderOptions o{.batch_size = 4, .shuffle = true, .workers = 2, .preprocessing = plain(4, 1)};
  o.transforms = {tf::gaussian_noise({9, 9}, 1)};
  const Seen whole = epoch_of(data, o, 2);
  for (const std::int64_t first : {1, 5, 7}) {
    const Seen rest = epoch_of(data, o, 2, first);
    CHECK(
        std::equal(rest.pixels.begin(), rest.pixels.end(), whole.pixels.begin() + first * 4 * 16, whole.pixels.end()));
  }
  CHECK(epoch_of(data, o, 2, 8).indices.empty());
  Loader loader(data, o);
  CHECK(contains(error_of([&] { loader.start_epoch(0, 9); }), "first_batch = 9 is outside 0..8"));
  CHECK(contains(error_of([&] { loader.start_epoch(-1); }), "epoch -1"));
  Batch batch;
  CHECK(contains(error_of([&] { loader.next(batch); }), "before start_epoch"));
}

TEST_CASE("loader: the parts of a batch make the whole, on any number of workers") {
  const DatasetPtr data = numbered_dataset(29, 9, 3);  // the last batch has 5
  LoaderOptions o{.batch_size = 8, .shuffle = true, .seed = 7, .workers = 0, .preprocessing = plain(6, 3)};
  o.transforms = {tf::random_resized_crop({.width = 6}), tf::gaussian_noise({0, 20}, 1)};
  const Seen whole = epoch_of(data, o, 1, 1);
  for (const int count : {2, 3, 6}) {
    std::vector<std::unique_ptr<Loader>> loaders;
    for (int k = 0; k < count; ++k) {
      LoaderOptions part = o;
      part.part = {k, count};
      part.workers = k;
      loaders.push_back(std::make_unique<Loader>(data, part));
      loaders.back()->start_epoch(1, 1);
    }
    Seen seen;
    for (int b = 0; b < 3; ++b) {
      std::int64_t size = 0;
      for (const auto& loader : loaders) {
        Batch batch;
        REQUIRE(loader->next(batch));
        CHECK(batch.first == size);
        size += batch.images.dim(0);
        seen.indices.insert(seen.indices.end(), batch.indices.begin(), batch.indices.end());
        for (const std::int64_t v : batch.labels.values<std::int64_t>()) seen.labels.push_back(v);
        for (const float v : batch.images.values<float>()) seen.pixels.push_back(v);
      }
      seen.sizes.push_back(size);
    }
    Batch batch;
    for (const auto& loader : loaders) CHECK_FALSE(loader->next(batch));
    CHECK(seen == whole);  // 6 parts of 5: one of them was empty
  }
  LoaderOptions part = o;
  part.part = {2, 2};
  CHECK(contains(error_of([&] { Loader(data, part); }), "no part 2 of 2"));
}

TEST_CASE("loader: parts that cannot be read are given empty") {
  const auto data = std::make_shared<Strange>(8);
  data->bad_at = 2;
  data->worse_at = 3;
  LoaderOptions o{.batch_size = 4, .preprocessing = plain(2, 1), .skip_corrupt = true};
  o.part = {1, 2};
  CHECK(epoch_of(data, o).sizes == std::vector<std::int64_t>{0, 2});
  o.part = {0, 2};
  CHECK(epoch_of(data, o).sizes == std::vector<std::int64_t>{2, 2});
}

TEST_CASE("loader: sampling by weight") {
  const DatasetPtr data = numbered_dataset(400, 2, 1, 2);
  LoaderOptions o{.batch_size = 50, .workers = 2, .preprocessing = plain(2, 1)};
  for (std::int64_t i = 0; i < 400; ++i) o.sample_weights.push_back(i < 4 ? 99 : 1);  // half of the draws
  const Seen seen = epoch_of(data, o);
  CHECK(seen.indices.size() == 400);
  const auto few = std::count_if(seen.indices.begin(), seen.indices.end(), [](auto i) { return i < 4; });
  CHECK(std::abs(static_cast<double>(few) - 200) < 5 * std::sqrt(400 * 0.25));
  CHECK(seen.indices != epoch_of(data, o, 1).indices);
}

TEST_CASE("loader: an error reaches next() at its batch, whatever it is") {
  for (const int workers : {0, 1, 4}) {
    const auto data = std::make_shared<Strange>(40);
    data->throws_at = 21;
    Loader loader(data, {.batch_size = 4, .workers = workers, .preprocessing = plain(2, 1), .cache = false});
    loader.start_epoch(0);
    Batch batch;
    for (int k = 0; k < 5; ++k) {
      REQUIRE(loader.next(batch));
      CHECK(batch.indices.front() == 4 * k);
    }
    CHECK_THROWS_WITH(loader.next(batch), "not one of ours");
    // Those after it are still there.
    CHECK(loader.next(batch));
    CHECK(batch.indices.front() == 24);
    loader.start_epoch(1);
    CHECK(loader.next(batch));
    data->throws_at = -1;
    data->hungry_at = 5;
    loader.start_epoch(2);
    CHECK(loader.next(batch));
    CHECK_THROWS_AS(loader.next(batch), std::bad_alloc);
  }
}

TEST_CASE("loader: unreadable pictures are fatal with their path, or left out and listed") {
  TempFolder folder;
  make_tree(folder.path(), {{"a", 4}, {"b", 4}});
  const std::string bad = folder / "a/picture102.png", empty = folder / "b/picture100.png";
  write(bad, read(bad).substr(0, 40));
  write(empty, "");
  const auto data = std::make_shared<ImageFolder>(folder.path());
  for (const int workers : {0, 2}) {
    LoaderOptions o{.batch_size = 3, .workers = workers, .preprocessing = plain(8, 3)};
    Loader strict(data, o);
    strict.start_epoch(0);
    Batch batch;
    const std::string error = error_of([&] {
      while (strict.next(batch)) {
      }
    });
    CHECK(contains(error, "format: [" + bad + "] "));
    CHECK(contains(error, "repair or remove it"));
    o.skip_corrupt = true;
    Loader loose(data, o);
    for (int epoch = 0; epoch < 2; ++epoch) {
      loose.start_epoch(epoch);
      CHECK(drain(loose).sizes == std::vector<std::int64_t>{2, 2, 2});
      const std::vector<std::string> skipped = loose.skipped();
      REQUIRE(skipped.size() == 2);
      CHECK(skipped[0].starts_with(bad + ": "));
      CHECK(skipped[1].starts_with(empty + ": "));
      // The path is said once, not again inside the reason.
      CHECK(skipped[0].find(bad, 1) == std::string::npos);
    }
  }
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (entry.is_regular_file()) write(entry.path().string(), "x");
  }
  CHECK(
      contains(error_of([&] { epoch_of(data, {.batch_size = 3, .preprocessing = plain(8, 3), .skip_corrupt = true}); }),
               "none of the 8 pictures can be read; the first is " + folder.path()));
}

TEST_CASE("loader: a batch of which nothing is left is passed over") {
  const auto data = std::make_shared<Strange>(6);
  data->bad_at = 2;
  data->worse_at = 3;
  CHECK(epoch_of(data, {.batch_size = 2, .workers = 2, .preprocessing = plain(2, 1), .skip_corrupt = true}).indices ==
        std::vector<std::int64_t>{0, 1, 4, 5});
}

TEST_CASE("loader: may end while its workers work") {
  const auto data = std::make_shared<Strange>(1000);
  data->delay_ms = 1;
  for (const int taken : {0, 1, 3}) {
    Loader loader(data, {.batch_size = 4, .shuffle = true, .workers = 4, .preprocessing = plain(2, 1)});
    loader.start_epoch(0);
    Batch batch;
    for (int k = 0; k < taken; ++k) CHECK(loader.next(batch));
    if (taken == 1) loader = Loader(numbered_dataset(4), {.preprocessing = plain(4, 1)});  // drops the one at work
  }
  Loader never(data, {.workers = 3, .preprocessing = plain(2, 1)});
  CHECK(data->calls < 1000);
}

TEST_CASE("loader: decoded pictures are kept, within the budget") {
  const auto calls = [](std::int64_t bytes, bool cache) {
    const auto data = std::make_shared<Strange>(10);
    Loader loader(data,
                  {.batch_size = 4, .workers = 2, .preprocessing = plain(2, 1), .cache = cache, .cache_bytes = bytes});
    for (int epoch = 0; epoch < 3; ++epoch) {
      loader.start_epoch(epoch);
      const Seen seen = drain(loader);
      CHECK(seen.indices.size() == 10);
      for (std::size_t i = 0; i < 10; ++i) CHECK(seen.pixels[4 * i] == static_cast<float>(i));
    }
    return data->calls.load();
  };
  CHECK(calls(1 << 20, true) == 10);
  CHECK(calls(1 << 20, false) == 30);
  CHECK(calls(0, true) == 30);
  const int some = calls(500, true);
  CHECK(some > 10);
  CHECK(some < 30);
}

TEST_CASE("loader: options and data that cannot work") {
  const auto fails = [](const DatasetPtr& data, const LoaderOptions& o, const std::string& part) {
    const std::string error = error_of([&] { Loader loader(data, o); });
    INFO(error);
    CHECK(contains(error, "usage: ["));
    CHECK(contains(error, part));
  };
  const DatasetPtr data = numbered_dataset(5);
  fails(nullptr, {}, "no dataset");
  fails(std::make_shared<Subset>(data, std::vector<std::int64_t>{}), {}, "the dataset is empty");
  fails(data, {.batch_size = 0}, "batch_size = 0");
  fails(data, {.workers = -1}, "workers = -1");
  fails(data, {.workers = 1000}, "workers = 1000");
  fails(data, {.prefetch = 0}, "prefetch = 0");
  fails(data, {.batch_size = 6, .drop_last = true}, "drop_last leaves nothing: 5 pictures");
  fails(data, {.sample_weights = {1, 2}}, "2 sample_weights for 5 pictures");
  fails(data, {.sample_weights = {0, 0, 0, 0, 0}}, "add up to 0");
  fails(data, {.sample_weights = {1, 1, -1, 1, 1}}, "weight -1");
  fails(data, {.transforms = {nullptr}}, "a transform is null");
  fails(data, {.cache_bytes = -1}, "cache_bytes");
}

TEST_CASE("mixing: labels tell how pictures were mixed") {
  // Picture i is filled with i and is the only one of class i, so that a soft label predicts the picture's mean.
  const DatasetPtr data = numbered_dataset(8, 16, 1, 8);
  for (const bool cut : {false, true}) {
    LoaderOptions o{.batch_size = 8, .seed = 5, .workers = 2, .preprocessing = plain(16, 1)};
    o.batch_transforms = {cut ? tf::cutmix() : tf::mixup({.alpha = 1})};
    double shares = 0;
    constexpr int kEpochs = 300;
    Loader loader(data, o);
    for (int epoch = 0; epoch < kEpochs; ++epoch) {
      loader.start_epoch(epoch);
      const Seen seen = drain(loader);
      double share = 1;
      for (std::size_t i = 0; i < 8; ++i) {
        double expected = 0, total = 0, mean = 0;
        int partners = 0;
        for (std::size_t k = 0; k < 8; ++k) {
          const double s = static_cast<double>(seen.soft[i * 8 + k]);
          expected += s * static_cast<double>(k);
          total += s;
          partners += k != i && s > 0;
        }
        for (std::size_t k = 0; k < 256; ++k) {
          const auto v = static_cast<double>(seen.pixels[i * 256 + k]);
          mean += v / 256;
          if (cut) CHECK((v == std::floor(v)));  // a pixel is of one picture or of the other
        }
        CHECK(total == Approx(1));
        CHECK(mean == Approx(expected).margin(1e-4));
        CHECK(partners <= 1);
        // A picture may be its own partner; another's share is that of the batch.
        if (partners == 1) share = static_cast<double>(seen.soft[i * 8 + i]);
      }
      shares += share;
    }
    // Beta(1, 1) is uniform. Boxes cut at the border leave more of the own picture.
    INFO("mean share " << shares / kEpochs);
    CHECK(shares / kEpochs > 0.45);
    CHECK(shares / kEpochs < (cut ? 0.85 : 0.58));
  }
}

TEST_CASE("mixing: draws from Beta have its mean and variance") {
  for (const auto& [a, b] : {std::pair{0.2, 0.2}, {1.0, 1.0}, {2.0, 5.0}, {0.001, 0.001}, {1000.0, 1000.0}}) {
    Rng rng(11, "beta");
    double sum = 0, squares = 0;
    constexpr int n = 20000;
    for (int i = 0; i < n; ++i) {
      const double v = tf::draw_beta(rng, a, b);
      REQUIRE((v >= 0 && v <= 1));
      sum += v;
      squares += v * v;
    }
    const double mean = a / (a + b), variance = a * b / ((a + b) * (a + b) * (a + b + 1));
    INFO("Beta(" << a << ", " << b << ")");
    CHECK(std::abs(sum / n - mean) < 5 * std::sqrt(variance / n));
    CHECK(squares / n - sum / n * (sum / n) == Approx(variance).epsilon(0.06));
  }
}
