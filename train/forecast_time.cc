// How long an epoch will take: a few steps and a few batches of the loader, timed apart.
#include <algorithm>
#include <chrono>
#include <thread>

#include "augment/loader.h"
#include "core/error.h"
#include "core/threads/parallel.h"
#include "train/forecast.h"
#include "train/forecast_internal.h"
#include "train/setup_internal.h"

namespace fovea {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Timed work ends after so many seconds, or repetitions.
constexpr double kSeconds = 3;
constexpr int kRepetitions = 8;

template <class F>
double median_seconds(F&& work) {
  std::vector<double> times;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kRepetitions && (i < 2 || since(begin) < kSeconds); ++i) {
    const Clock::time_point start = Clock::now();
    if (!work()) break;
    times.push_back(since(start));
  }
  if (times.empty()) return 0;
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// Seconds of each batch where loading and training share the processors.
double together(double step, double load, int workers) {
  if (workers == 0) return step + load;
  const double processors = std::max(1u, std::thread::hardware_concurrency());
  return std::max({step, load / workers, (step * std::min<double>(num_threads(), processors) + load) / processors});
}

}  // namespace

TimeForecast forecast_time(const Model& model, const DatasetPtr& train, const TrainerOptions& options,
                           const DatasetPtr& val) {
  TimeForecast f;
  StepRehearsal rehearsal(model, *train, options);
  LoaderOptions loading = training_loader_options(model, *train, options);
  loading.workers = 0;  // on this thread: what one worker takes
  Loader loader(train, loading);
  f.batches = loader.batches_per_epoch();
  Batch batch;
  // The same pictures twice: decoded the first time, from the cache the second.
  int loaded = 0;
  for (double* const seconds : {&f.load_seconds, &f.reload_seconds}) {
    loader.start_epoch(0);
    const int most = loaded;
    *seconds = median_seconds([&] {
      if (most > 0 && --loaded < 0) return false;
      if (!loader.next(batch)) return false;
      if (most == 0) ++loaded;
      return true;
    });
  }
  if (!batch.images.defined()) batch = rehearsal.noise(loading.batch_size);

  // An optimizer of copies does the same work; gradients are shared.
  std::vector<NamedTensor> copies = model.network().parameters();
  for (NamedTensor& t : copies) {
    t.tensor = t.tensor.clone();
    t.tensor.set_requires_grad(true);
  }
  Optimizer optimizer(options.optimizer, copies, options.optimizer_options);
  const std::vector<NamedTensor> live = model.network().parameters();
  const auto step = [&] {
    rehearsal.pass(batch);
    for (std::size_t i = 0; i < live.size(); ++i) copies[i].tensor.set_grad(live[i].tensor.grad());
    optimizer.step();
    optimizer.zero_grad();
    rehearsal.drop_gradients();
    return true;
  };
  step();
  step();
  f.step_seconds = median_seconds(step);
  const double whole = static_cast<double>(loading.batch_size) / static_cast<double>(batch.images.dim(0));
  f.step_seconds *= whole;  // the data may hold less than a batch

  if (val) {
    const LoaderOptions validating = validation_loader_options(model, *val, options);
    rehearsal.answer(batch);
    const double seconds = median_seconds([&] {
      rehearsal.answer(batch);
      return true;
    });
    const double each = seconds / static_cast<double>(batch.images.dim(0)),
                 load = f.reload_seconds / static_cast<double>(loading.batch_size);
    f.validation_seconds = static_cast<double>(val->size()) * together(each, load, validating.workers);
  }
  const double first = together(f.step_seconds, f.load_seconds, options.workers),
               later = together(f.step_seconds, f.reload_seconds, options.workers);
  f.first_epoch_seconds = static_cast<double>(f.batches) * first + f.validation_seconds;
  f.epoch_seconds = static_cast<double>(f.batches) * later + f.validation_seconds;
  f.wait_share = later > 0 ? 1 - f.step_seconds / later : 0;
  return f;
}

}  // namespace fovea
