// The loader: a plan per epoch (which item at which place), batches made by worker threads in any order and handed out
// in the plan's. Nothing random depends on who makes a batch, so results do not depend on the number of workers.
#include "augment/loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "augment/decoded_cache_internal.h"
#include "augment/options_internal.h"
#include "core/error.h"
#include "core/large_blocks_internal.h"
#include "core/rng.h"
#include "kernels/registry.h"

namespace fovea {

namespace {

/// What an epoch consists of. Shared with the workers, so that one that is still at work on an old epoch keeps its own.
struct Plan {
  std::int64_t epoch = 0;
  std::vector<std::int64_t> order;  // item at each place
  std::vector<std::int64_t> first;  // place at which each batch begins, and the end; empty: batches of one size
  std::int64_t batches = 0;
  std::atomic<bool> abandoned{false};
};
using PlanPtr = std::shared_ptr<Plan>;

struct Made {
  Batch batch;
  std::exception_ptr error;
};

void require(bool ok, const std::string& what, std::string_view hint = {}) {
  if (!ok) throw Error(ErrorKind::usage, "Loader", what, hint);
}

LoaderOptions checked(const Dataset* dataset, LoaderOptions o) {
  require(dataset != nullptr, "no dataset was given");
  const std::int64_t size = dataset->size();
  require(size > 0, "the dataset is empty");
  require(o.batch_size >= 1 && o.batch_size <= 1 << 24, str("batch_size = ", o.batch_size, " is outside 1..16777216"));
  require(o.workers >= 0 && o.workers <= 256, str("workers = ", o.workers, " is outside 0..256"));
  require(o.prefetch >= 1 && o.prefetch <= 4096, str("prefetch = ", o.prefetch, " is outside 1..4096"));
  require(o.part.count >= 1 && o.part.index >= 0 && o.part.index < o.part.count,
          str("there is no part ", o.part.index, " of ", o.part.count));
  require(o.part.count == 1 || !o.poisson, "Poisson samples come whole, not in parts");
  require(o.cache_bytes >= 0, str("cache_bytes = ", o.cache_bytes, " is negative"));
  if (o.poisson) {
    require(o.poisson->rate > 0 && o.poisson->rate <= 1, str("the Poisson rate is ", o.poisson->rate), "in (0, 1]");
    require(o.poisson->batches >= 1, str("there are ", o.poisson->batches, " Poisson batches"), "at least 1");
    require(o.sample_weights.empty() && o.batch_transforms.empty() && !o.drop_last && !o.shuffle,
            "Poisson sampling excludes sample_weights, batch_transforms, drop_last and shuffle");
  }
  require(!o.drop_last || size >= o.batch_size,
          str("drop_last leaves nothing: ", size, " pictures, batches of ", o.batch_size), "use a smaller batch_size");
  require(o.sample_weights.empty() || o.sample_weights.size() == static_cast<std::size_t>(size),
          str(o.sample_weights.size(), " sample_weights for ", size, " pictures"));
  if (!o.sample_weights.empty())
    transforms::choice_table("Loader sample_weights", o.sample_weights.size(), o.sample_weights);
  for (const TransformPtr& t : o.transforms) require(t != nullptr, "a transform is null");
  for (const BatchTransformPtr& t : o.batch_transforms) require(t != nullptr, "a batch transform is null");
  image::check(o.preprocessing);
  return o;
}

}  // namespace

struct Loader::State {
  State(DatasetPtr data, LoaderOptions given)
      : dataset(std::move(data)), options(checked(dataset.get(), std::move(given))), table(options.preprocessing) {
    const bool resizing =
        std::any_of(options.transforms.begin(), options.transforms.end(), [](const auto& t) { return t->resizes(); });
    fit_first = !resizing;
    const std::int64_t size = dataset->size(), batch = options.batch_size;
    batches = options.poisson     ? options.poisson->batches
              : options.drop_last ? size / batch
                                  : (size + batch - 1) / batch;
    // A cache pays only where making a picture costs more than copying it.
    if (options.cache && options.cache_bytes > 0 && !dataset->in_memory()) cache.emplace(size, options.cache_bytes);
    if (options.skip_corrupt) unreadable.resize(static_cast<std::size_t>(size));
    if (!options.sample_weights.empty()) {
      weights = transforms::choice_table("Loader", options.sample_weights.size(), options.sample_weights);
    }
    slots.resize(static_cast<std::size_t>(options.prefetch));
    settle_unfinished();
  }

  /// Which changes are left to the device.
  void settle_unfinished() {
    planned_from = options.transforms.size();
    if (!options.unfinished) return;
    const auto& mixing = options.batch_transforms;
    const auto apart = std::find_if(mixing.begin(), mixing.end(), [](const auto& t) { return !t->plans(); });
    unfinished = apart == mixing.end();
    while (unfinished && planned_from > 0 && options.transforms[planned_from - 1]->plans()) --planned_from;
    const std::int64_t channels = options.preprocessing.channels;
    levels = Tensor({256, channels});
    std::copy(table.values().begin(), table.values().end(), levels.mutable_data<float>());
    if (!kernels::detail::verbose()) return;
    const std::string what = unfinished
                                 ? str(options.transforms.size() - planned_from, " of ", options.transforms.size(),
                                       " transforms, normalisation and mixing are left to the device")
                                 : str("all by workers: ", (*apart)->name(), " needs finished pictures");
    std::fprintf(stderr, "fovea: augmentation: %s\n", what.c_str());
  }

  ~State() { stop(); }

  // ---- what a batch is

  PlanPtr make_plan(std::int64_t epoch) const {
    auto result = std::make_shared<Plan>();
    result->epoch = epoch;
    result->batches = batches;
    const auto index = static_cast<std::uint64_t>(epoch);
    if (options.poisson) {
      draw_poisson(*result);
      return result;
    }
    result->order.resize(static_cast<std::size_t>(dataset->size()));
    auto& order = result->order;
    if (!weights.empty()) {
      Rng rng(options.seed, "loader sample", index);
      for (std::int64_t& item : order) item = static_cast<std::int64_t>(transforms::draw_choice(rng, weights));
      return result;
    }
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
    if (options.shuffle) {
      Rng rng(options.seed, "loader shuffle", index);
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    }
    return result;
  }

  void draw_poisson(Plan& plan_made) const {
    const PoissonSampling& p = *options.poisson;
    const std::int64_t size = dataset->size();
    for (std::int64_t b = 0; b < batches; ++b) {
      plan_made.first.push_back(static_cast<std::int64_t>(plan_made.order.size()));
      Rng rng(p.seed, "loader poisson",
              static_cast<std::uint64_t>(plan_made.epoch) * static_cast<std::uint64_t>(batches) +
                  static_cast<std::uint64_t>(b));
      // The gaps between those that join are geometric: as many draws as pictures in the batch, not in the data set.
      for (std::int64_t item = 0;; ++item) {
        if (p.rate < 1) {
          const double gap = std::floor(std::log1p(-rng.uniform()) / std::log1p(-p.rate));
          if (gap >= static_cast<double>(size - item)) break;
          item += static_cast<std::int64_t>(gap);
        }
        if (item >= size) break;
        plan_made.order.push_back(item);
      }
    }
    plan_made.first.push_back(static_cast<std::int64_t>(plan_made.order.size()));
  }

  /// The picture as transforms get it: decoded, and brought to the network's size unless a transform does that.
  image::Image prepare(std::int64_t item) const {
    image::Image picture = dataset->image(item);
    const image::Preprocessing& p = options.preprocessing;
    if (!fit_first) return picture.channels == p.channels ? std::move(picture) : image::convert(picture, p.channels);
    return already_fits(picture) ? std::move(picture) : image::fit(picture, p);
  }

  /// True where fit() would return the picture as it is.
  bool already_fits(const image::Image& picture) const {
    const image::Preprocessing& p = options.preprocessing;
    return picture.width == p.width && picture.height == p.height && picture.channels == p.channels &&
           (p.rule == image::ResizeRule::stretch || p.resize_size == std::min(p.width, p.height));
  }

  /// Nothing for a picture that is left out because it cannot be read.
  std::optional<image::Image> load(std::int64_t item) {
    if (cache) {
      if (const auto kept = cache->find(item)) return *kept;
    }
    if (options.skip_corrupt) {
      const std::lock_guard lock(unreadable_mutex);
      if (!unreadable[static_cast<std::size_t>(item)].empty()) return std::nullopt;
    }
    try {
      image::Image picture = prepare(item);
      if (cache) cache->keep(item, picture);
      return picture;
    } catch (const Error& error) {
      const ErrorKind kind = error.kind();
      // Anything else (no memory for a sound picture comes as std::bad_alloc) is no property of the picture.
      if (kind != ErrorKind::file && kind != ErrorKind::format && kind != ErrorKind::memory) throw;
      const std::string name = dataset->name(item), reason = reason_of(error);
      if (!options.skip_corrupt)
        throw Error(
            kind, name, reason,
            "repair or remove it, or leave out unreadable pictures: --skip-corrupt, LoaderOptions::skip_corrupt");
      const std::lock_guard lock(unreadable_mutex);
      unreadable[static_cast<std::size_t>(item)] = str(name, ": ", reason);
      return std::nullopt;
    }
  }

  /// The error's text without "[path] " before and the hint behind it: callers have their own.
  static std::string reason_of(const Error& error) {
    std::string text = error.what();
    const std::string prefix = str("[", error.where(), "] "), hint = str(" (", error.hint(), ")");
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
    if (!error.hint().empty() && text.ends_with(hint)) text.erase(text.size() - hint.size());
    return text;
  }

  Batch make_batch(const Plan& its_plan, std::int64_t index) {
    const std::int64_t size = dataset->size();
    const auto at = static_cast<std::size_t>(index);
    const bool even = its_plan.first.empty();
    const std::int64_t whole_first = even ? index * options.batch_size : its_plan.first[at];
    const std::int64_t whole_last = even ? std::min(whole_first + options.batch_size, size) : its_plan.first[at + 1];
    const auto cut = [&](int k) { return whole_first + (whole_last - whole_first) * k / options.part.count; };
    const std::int64_t first = cut(options.part.index), last = cut(options.part.index + 1);
    const image::Preprocessing& p = options.preprocessing;
    const std::int64_t values = std::int64_t{p.width} * p.height * p.channels;
    Tensor images(Shape{last - first, p.height, p.width, p.channels}, unfinished ? DType::u8 : DType::f32);
    Tensor labels(Shape{last - first}, DType::i64);
    float* to = unfinished ? nullptr : images.mutable_data<float>();
    std::uint8_t* to_pixels = unfinished ? images.mutable_data<std::uint8_t>() : nullptr;
    std::vector<std::vector<kernels::PixelStep>> steps;
    std::int64_t* label = labels.mutable_data<std::int64_t>();
    Batch batch;
    batch.first = first - whole_first;
    batch.indices.reserve(static_cast<std::size_t>(last - first));
    for (std::int64_t place = first; place < last; ++place) {
      if (its_plan.abandoned.load(std::memory_order_relaxed)) return {};
      const std::int64_t item = its_plan.order[static_cast<std::size_t>(place)];
      std::optional<image::Image> picture = load(item);
      if (!picture) continue;
      // By item, so that a picture's changes do not depend on its place; drawn with replacement it may occur twice, so
      // by place. Poisson samples differ by batch.
      const auto draw = static_cast<std::uint64_t>(even ? its_plan.epoch : its_plan.epoch * batches + index);
      const std::int64_t stream = weights.empty() ? item : place;
      if (!options.transforms.empty()) {
        Rng rng(options.seed, "augment", draw * static_cast<std::uint64_t>(size) + static_cast<std::uint64_t>(stream));
        std::size_t k = 0;
        for (; k < planned_from; ++k) options.transforms[k]->apply(*picture, rng);
        // A picture that is still to be fitted is finished here, for that comes last.
        const bool fits = picture->width == p.width && picture->height == p.height && picture->channels == p.channels;
        if (unfinished) steps.emplace_back();
        for (; k < options.transforms.size(); ++k) {
          fits ? options.transforms[k]->plan({p.width, p.height}, rng, steps.back())
               : options.transforms[k]->apply(*picture, rng);
        }
      }
      if (picture->width != p.width || picture->height != p.height || picture->channels != p.channels) {
        *picture = image::fit(*picture, p);
      }
      if (unfinished) {
        to_pixels = std::copy(picture->pixels.begin(), picture->pixels.end(), to_pixels);
      } else {
        table.normalise(*picture, to);
        to += values;
      }
      *label++ = dataset->label(item);
      batch.indices.push_back(item);
    }
    const auto kept = static_cast<std::int64_t>(batch.indices.size());
    images = kept == last - first ? std::move(images) : images.slice(0, kept);
    if (unfinished) {
      batch.unfinished = leave(std::move(images), steps);
    } else {
      batch.images = std::move(images);
    }
    batch.labels = kept == last - first ? std::move(labels) : labels.slice(0, kept);
    if (kept > 0 && !options.batch_transforms.empty()) {
      const std::int64_t number = its_plan.epoch * batches + index;
      Rng rng(options.seed, "augment batch",
              static_cast<std::uint64_t>(number * options.part.count + options.part.index));
      for (const BatchTransformPtr& t : options.batch_transforms) t->apply(batch, dataset->num_classes(), rng);
    }
    return batch;
  }

  UnfinishedPictures leave(Tensor pixels, const std::vector<std::vector<kernels::PixelStep>>& steps) const {
    UnfinishedPictures left;
    left.pixels = std::move(pixels);
    left.values = levels;
    left.reversed = options.preprocessing.order == image::ChannelOrder::bgr;
    std::size_t most = 0;
    for (const auto& of_one : steps) most = std::max(most, of_one.size());
    left.per_picture = static_cast<int>(most);
    for (const auto& of_one : steps) {
      left.steps.insert(left.steps.end(), of_one.begin(), of_one.end());
      left.steps.resize(left.steps.size() + most - of_one.size());
    }
    return left;
  }

  Made try_make(const Plan& its_plan, std::int64_t index) {
    Made made;
    try {
      made.batch = make_batch(its_plan, index);
    } catch (...) {
      made.error = std::current_exception();
    }
    return made;
  }

  // ---- who makes it

  void start_workers() {
    if (!workers.empty() || options.workers == 0) return;
    try {
      for (int k = 0; k < options.workers; ++k) workers.emplace_back([this] { work(); });
    } catch (const std::exception& error) {
      stop();
      throw Error(ErrorKind::memory, "Loader", str("cannot start ", options.workers, " worker threads: ", error.what()),
                  "use fewer workers");
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      if (plan) plan->abandoned = true;
    }
    wake_workers.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }

  std::optional<Made>& slot(std::int64_t index) { return slots[static_cast<std::size_t>(index % options.prefetch)]; }

  void work() {
    const detail::AllocationsApart apart;
    std::unique_lock lock(mutex);
    for (;;) {
      wake_workers.wait(lock, [&] {
        return stopping || (plan && claimed < plan->batches && claimed < delivered + options.prefetch);
      });
      if (stopping) return;
      const PlanPtr mine = plan;
      const std::int64_t index = claimed++;
      lock.unlock();
      Made made = try_make(*mine, index);
      lock.lock();
      if (plan == mine) {
        slot(index) = std::move(made);
        if (index == delivered) made_one.notify_one();
      } else {
        // Dropping tensors of an abandoned epoch needs no lock.
        lock.unlock();
        made = {};
        lock.lock();
      }
    }
  }

  Made take(std::int64_t index) {
    if (options.workers == 0) {
      ++delivered;
      return try_make(*plan, index);
    }
    std::unique_lock lock(mutex);
    made_one.wait(lock, [&] { return slot(index).has_value(); });
    Made made = std::move(*slot(index));
    slot(index).reset();
    ++delivered;
    lock.unlock();
    wake_workers.notify_one();
    return made;
  }

  const DatasetPtr dataset;
  const LoaderOptions options;
  NormaliseTable table;
  bool fit_first = true;
  bool unfinished = false;
  std::size_t planned_from = 0;  // transforms from here on are left to the device
  Tensor levels;                 // the table, for it
  std::int64_t batches = 0;
  std::vector<double> weights;  // running sums
  std::optional<DecodedCache> cache;

  std::mutex unreadable_mutex;
  std::vector<std::string> unreadable;  // by item; empty: readable or not tried

  std::mutex mutex;  // guards what follows
  std::condition_variable wake_workers, made_one;
  PlanPtr plan;
  std::int64_t claimed = 0, delivered = 0;
  std::vector<std::optional<Made>> slots;
  bool stopping = false;
  std::vector<std::thread> workers;
  // Of the calling thread alone.
  std::int64_t pictures_given = 0;
  bool from_the_start = true;
};

Tensor images_on(const Batch& batch, Device device) {
  if (!batch.unfinished) return batch.images.to(device);
  const UnfinishedPictures& left = *batch.unfinished;
  Tensor pixels = left.pixels.to(device);
  if (left.per_picture > 0 && pixels.numel() > 0) {
    Tensor changed(pixels.shape(), DType::u8, device);
    kernels::change_pictures(left.steps, left.per_picture, pixels.view(), changed.mutable_view());
    pixels = std::move(changed);
  }
  Tensor images(pixels.shape(), DType::f32, device);
  kernels::pictures_to_floats(pixels.view(), left.values.to(device).view(), left.reversed, images.mutable_view());
  for (const kernels::MixStep& mix : left.mixes) {
    Tensor mixed(images.shape(), DType::f32, device);
    kernels::mix_pictures(mix, images.view(), mixed.mutable_view());
    images = std::move(mixed);
  }
  return images;
}

Loader::Loader(DatasetPtr dataset, LoaderOptions options)
    : state_(std::make_unique<State>(std::move(dataset), std::move(options))) {}
Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

void Loader::start_epoch(std::int64_t epoch, std::int64_t first_batch) {
  State& s = *state_;
  require(epoch >= 0, str("epoch ", epoch, " is negative"));
  require(first_batch >= 0 && first_batch <= s.batches,
          str("first_batch = ", first_batch, " is outside 0..", s.batches));
  PlanPtr next = s.make_plan(epoch);
  {
    const std::lock_guard lock(s.mutex);
    if (s.plan) s.plan->abandoned = true;
    s.plan = std::move(next);
    s.claimed = s.delivered = first_batch;
    for (auto& slot : s.slots) slot.reset();
  }
  s.pictures_given = 0;
  s.from_the_start = first_batch == 0;
  s.start_workers();
  s.wake_workers.notify_all();
}

bool Loader::next(Batch& batch) {
  State& s = *state_;
  batch = {};  // back to the allocator first, so that the next batch can use the memory
  require(s.plan != nullptr, "next() before start_epoch()");
  while (s.delivered < s.batches) {
    Made made = s.take(s.delivered);
    if (made.error) std::rethrow_exception(made.error);
    // All of it was unreadable. As one of several parts it is given all the same, for the others may have pictures.
    if (made.batch.indices.empty() && !s.options.poisson && s.options.part.count == 1) continue;
    s.pictures_given += static_cast<std::int64_t>(made.batch.indices.size());
    batch = std::move(made.batch);
    return true;
  }
  const bool unlucky = (s.options.poisson && skipped().empty()) || s.options.part.count > 1;  // no picture was drawn
  if (s.pictures_given == 0 && s.from_the_start && !unlucky) {
    const std::vector<std::string> all = skipped();
    throw Error(
        ErrorKind::format, "Loader",
        str("none of the ", s.dataset->size(), " pictures can be read; the first is ", all.empty() ? "" : all.front()));
  }
  return false;
}

std::int64_t Loader::batches_per_epoch() const { return state_->batches; }
const Dataset& Loader::dataset() const { return *state_->dataset; }
const LoaderOptions& Loader::options() const { return state_->options; }

std::vector<std::string> Loader::skipped() const {
  std::vector<std::string> list;
  const std::lock_guard lock(state_->unreadable_mutex);
  for (const std::string& line : state_->unreadable) {
    if (!line.empty()) list.push_back(line);
  }
  return list;
}

}  // namespace fovea
