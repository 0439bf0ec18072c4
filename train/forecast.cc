#include "train/forecast.h"

#include <algorithm>
#include <cstdio>

#include "augment/loader.h"
#include "core/allocation_trace_internal.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/available_memory.h"
#include "core/device.h"
#include "core/error.h"
#include "core/rng.h"
#include "train/checkpoint.h"
#include "train/files_internal.h"
#include "train/forecast_internal.h"
#include "train/setup_internal.h"

namespace fovea {
namespace {

constexpr std::int64_t kLargestBatch = 256;
/// Others take memory too while a training runs for hours, and scratch and small blocks are told less exactly.
constexpr double kUsableShare = 0.85;

using Events = std::vector<AllocationTrace::Event>;

std::int64_t bytes_of(const std::vector<NamedTensor>& tensors) {
  std::int64_t sum = 0;
  for (const NamedTensor& t : tensors) sum += static_cast<std::int64_t>(t.tensor.nbytes());
  return sum;
}

/// Moments, averages and copies beside the parameters.
std::int64_t optimizer_bytes(const Model& model, const TrainerOptions& o) {
  const std::int64_t trained = bytes_of(model.network().parameters(true));
  const std::int64_t all = bytes_of(model.network().named_tensors());
  std::int64_t moments = 2;  // Adam, AdamW, LAMB
  if (const auto* sgd = std::get_if<SGD>(&o.optimizer)) moments = sgd->momentum > 0 ? 1 : 0;
  if (const auto* rms = std::get_if<RMSprop>(&o.optimizer))
    moments = 1 + (rms->momentum > 0 ? 1 : 0) + (rms->centered ? 1 : 0);
  if (o.optimizer_options.lookahead) ++moments;
  return moments * trained + (o.ema ? all : 0) + (o.restore_best ? all : 0);
}

/// What the loader's cache will hold of a data set.
std::int64_t cache_bytes(const Dataset& data, const LoaderOptions& o) {
  if (!o.cache || data.in_memory()) return 0;
  const bool whole = std::any_of(o.transforms.begin(), o.transforms.end(), [](const auto& t) { return t->resizes(); });
  double each = static_cast<double>(o.preprocessing.width) * o.preprocessing.height * o.preprocessing.channels;
  if (whole) {  // pictures as they were decoded: their sizes are sampled
    constexpr std::int64_t kLookedAt = 8;
    double sum = 0;
    int seen = 0;
    for (std::int64_t i = 0; i < std::min(kLookedAt, data.size()); ++i) {
      try {
        const image::Image picture = data.image(i * data.size() / std::min(kLookedAt, data.size()));
        sum += static_cast<double>(picture.width) * picture.height * o.preprocessing.channels;
        ++seen;
      } catch (const Error&) {  // reported when it is its turn
      }
    }
    if (seen > 0) each = sum / seen;
  }
  return static_cast<std::int64_t>(
      std::min(static_cast<double>(o.cache_bytes), each * static_cast<double>(data.size())));
}

std::string megabytes(std::int64_t bytes) {
  char text[32];
  const double mb = static_cast<double>(bytes) / (1 << 20);
  std::snprintf(text, sizeof text, mb < 10000 ? "%.0f MB" : "%.1f GB", mb < 10000 ? mb : mb / 1024);
  return text;
}

}  // namespace

// ---- one step

StepRehearsal::StepRehearsal(const Model& model, const Dataset& train, const TrainerOptions& options)
    : model_(model),
      options_(options),
      tensors_(model.network().named_tensors()),
      classes_(static_cast<int>(train.class_names().size())) {
  if (options.privacy)
    throw Error(ErrorKind::usage, "forecast", "private training is not forecast: its batches are of random size",
                "choose a batch size, and look at `top` while it runs");
  if (tensors_.empty() || tensors_.front().tensor.device() != kCpu)
    throw Error(ErrorKind::usage, "forecast", "only training on the CPU is forecast");
  class_weights_ = make_class_weights(train, options, tensors_.front().tensor.dtype());
}

Batch StepRehearsal::noise(std::int64_t size) const {
  const image::Preprocessing& p = model_.preprocessing;
  Batch batch;
  batch.images = Tensor({size, p.height, p.width, p.channels});
  batch.labels = Tensor::zeros({size}, DType::i64);
  Rng rng(1, "forecast");
  float* const x = batch.images.mutable_data<float>();
  for (std::int64_t i = 0; i < batch.images.numel(); ++i) x[i] = static_cast<float>(rng.uniform() - 0.5);
  for (std::int64_t i = 0; i < size; ++i) batch.labels.mutable_data<std::int64_t>()[i] = i % classes_;
  if (!options_.batch_transforms.empty())
    batch.soft_labels = Tensor::full({size, classes_}, 1.0 / static_cast<double>(classes_));
  return batch;
}

void StepRehearsal::pass(const Batch& batch) {
  const Tensor images = batch.images.to(tensors_.front().tensor.dtype());
  const TrainingMode training({.seed = options_.seed,
                               .step = 0,
                               .update_statistics = false,
                               .precision = options_.precision,
                               .checkpoint_blocks = options_.checkpoint_blocks});
  Tape tape;
  const Tensor logits = model_(images);
  const Tensor loss = training_loss(logits, batch, classes_, options_.loss, class_weights_);
  tape.backward(loss);
}

void StepRehearsal::answer(const Batch& batch) {
  const InferenceMode inference;
  const NoGrad off;
  model_(batch.images.to(tensors_.front().tensor.dtype()));
}

void StepRehearsal::drop_gradients() {
  for (NamedTensor& t : tensors_) t.tensor.zero_grad();
}

// ---- memory

struct MemoryForecaster::State {
  image::Preprocessing preprocessing;
  std::int64_t pictures_in_all = 0, prefetch = 0;
  std::int64_t process = 0, optimizer = 0, pictures = 0, scratch = 0;
  std::int64_t low = 0, high = 0;  // batch sizes of the two traces
  Events at_low, at_high;

  /// Batches that wait in the loader, and the one that is trained on.
  std::vector<std::int64_t> lasting(std::int64_t batch) const {
    const std::int64_t each = batch * preprocessing.width * preprocessing.height * preprocessing.channels * 4;
    const std::int64_t batches = std::min(prefetch + 1, (pictures_in_all + batch - 1) / batch);
    return std::vector<std::int64_t>(static_cast<std::size_t>(batches), each);
  }
};

MemoryForecaster::MemoryForecaster(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                                   const DatasetPtr& val)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  StepRehearsal rehearsal(model, *train, options);
  const LoaderOptions loading = training_loader_options(model, *train, options);
  s.preprocessing = model.preprocessing;
  s.pictures_in_all = train->size();
  s.prefetch = options.workers > 0 ? loading.prefetch : 0;
  s.optimizer = optimizer_bytes(model, options);
  s.pictures = cache_bytes(*train, loading);
  if (val) s.pictures += cache_bytes(*val, validation_loader_options(model, *val, options));
  s.process = resident_memory();
  const auto held = [] { return memory_stats().current + memory_stats().cached; };
  const std::int64_t held_before = held();
  const auto trace = [&](std::int64_t batch_size) {
    const Batch batch = rehearsal.noise(batch_size);
    const AllocationTrace noting;
    for (int i = 0; i < std::min(2, options.accumulate); ++i) rehearsal.pass(batch);
    rehearsal.drop_gradients();
    if (val) rehearsal.answer(batch);
    return noting.events();
  };
  // Workers, decoders and transforms take memory of their own.
  try {
    LoaderOptions few = training_loader_options(model, *train, options);
    few.batch_size = std::min<std::int64_t>(8, train->size());
    few.drop_last = few.cache = false;
    Loader loader(train, few);
    loader.start_epoch(0);
    Batch batch;
    for (int i = 0; i < 4 && loader.next(batch); ++i) {
    }
  } catch (const Error&) {  // a broken picture is reported when it is its turn
  }
  trace(2);  // packs weights and grows scratch once
  // Sizes of two small steps, as long as they consist of the same allocations: kernels may choose by size.
  for (const std::int64_t low : {2, 4, 8}) {
    s.low = low;
    s.high = low + low / 2;
    s.at_low = trace(s.low);
    s.at_high = trace(s.high);
    if (!extrapolate(s.at_low, s.low, s.at_high, s.high, 16).empty()) break;
  }
  s.scratch = std::max<std::int64_t>(0, resident_memory() - s.process - (held() - held_before));
  release_cached_memory();
}

MemoryForecaster::~MemoryForecaster() = default;

MemoryForecast MemoryForecaster::at(std::int64_t batch_size) const {
  if (batch_size < 1) throw Error(ErrorKind::usage, "forecast", str("batch size ", batch_size), "at least 1");
  const State& s = *state_;
  MemoryForecast f;
  f.batch_size = batch_size;
  f.process = s.process;
  f.optimizer = s.optimizer;
  f.pictures = s.pictures;
  f.scratch = s.scratch;
  // The placement repeats itself from the second step on.
  constexpr int kSteps = 3;
  const Events events = extrapolate(s.at_low, s.low, s.at_high, s.high, batch_size);
  if (!events.empty()) {
    f.step = memory_for(events, kSteps, s.lasting(batch_size));
  } else {
    const std::int64_t a = memory_for(s.at_low, kSteps, s.lasting(s.low));
    const std::int64_t b = memory_for(s.at_high, kSteps, s.lasting(s.high));
    f.step = std::max<std::int64_t>(0, a + (b - a) * (batch_size - s.low) / (s.high - s.low));
  }
  return f;
}

BatchChoice choose_batch_size(const Model& model, const DatasetPtr& train, const TrainerOptions& given,
                              const DatasetPtr& val, std::int64_t available) {
  BatchChoice choice;
  TrainerOptions options = given;
  options.batch_size = 1;  // nothing of it is used
  if (options.resume && !options.checkpoint.empty() && file_exists(options.checkpoint)) {
    const Checkpoint c = load_checkpoint(options.checkpoint);
    for (const auto& [key, value] : c.settings) {
      if (key == "batch size") choice.batch_size = std::strtoll(value.c_str(), nullptr, 10);
    }
    if (choice.batch_size < 1) throw Error(ErrorKind::format, options.checkpoint, "does not say its batch size");
    choice.reason = str(choice.batch_size, ": that of the checkpoint");
    return choice;
  }
  const MemoryForecaster forecaster(model, train, options, val);
  choice.available = available > 0 ? available : available_memory();
  const auto usable = static_cast<std::int64_t>(kUsableShare * static_cast<double>(choice.available));
  const std::int64_t most = std::clamp<std::int64_t>(train->size() / 4, 1, kLargestBatch);
  std::int64_t larger = 0;  // the forecast for twice the choice, where that is too much
  for (std::int64_t batch = kLargestBatch; batch >= 1 && choice.batch_size == 0; batch /= 2) {
    if (batch > most) continue;
    const MemoryForecast f = forecaster.at(batch);
    // Where nothing is known about the machine, what people usually take.
    if (choice.available > 0 ? f.added() <= usable : batch <= 32) {
      choice.batch_size = batch;
      choice.memory = f;
    } else {
      larger = f.added();
    }
  }
  if (choice.batch_size == 0) {
    throw Error(
        ErrorKind::memory, "batch size",
        str("not even one picture fits: it takes ", megabytes(larger), ", available are ", megabytes(choice.available)),
        "use smaller pictures or a smaller network");
  }
  choice.reason = str(choice.batch_size, ": needs ", megabytes(choice.memory.added()), ", available are ",
                      megabytes(choice.available));
  if (larger > 0) {
    choice.reason += str("; ", 2 * choice.batch_size, " would need ", megabytes(larger));
  } else if (2 * choice.batch_size > kLargestBatch) {
    choice.reason += "; more is not tried";
  } else {
    choice.reason += "; more would leave an epoch fewer than 4 steps";
  }
  return choice;
}

}  // namespace fovea
