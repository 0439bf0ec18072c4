// The training loop.
#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "core/threads/parallel.h"
#include "kernels/conv_norm.h"
#include "train/checkpoint.h"
#include "train/diagnose_internal.h"
#include "train/distributed/data_parallel_internal.h"
#include "train/files_internal.h"
#include "train/forecast.h"
#include "train/gradients.h"
#include "train/privacy/private_steps_internal.h"
#include "train/setup_internal.h"

namespace fovea {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void require(bool good, std::string_view what, std::string_view hint = {}) {
  if (!good) throw Error(ErrorKind::usage, "trainer", what, hint);
}

std::int64_t correct_rows(const Tensor& logits, const Tensor& labels) {
  const std::int64_t n = logits.dim(0), c = logits.dim(1);
  const std::vector<float> x = logits.to(kCpu).to_vector<float>();
  const std::int64_t* y = labels.data<std::int64_t>();
  std::int64_t correct = 0;
  for (std::int64_t i = 0; i < n; ++i)
    correct += std::max_element(x.begin() + i * c, x.begin() + (i + 1) * c) - (x.begin() + i * c) == y[i];
  return correct;
}

std::vector<NamedTensor> cloned(std::vector<NamedTensor> tensors) {
  for (NamedTensor& t : tensors) t.tensor = t.tensor.clone();
  return tensors;
}

}  // namespace

/// One call of fit().
struct Trainer::Run {
  Trainer& trainer;
  const TrainerOptions& options;
  Model& model;
  DatasetPtr train, val;
  int classes;
  std::vector<NamedTensor> tensors;  // parameters and buffers
  Optimizer optimizer;
  Monitor monitor;
  std::optional<PrivateSteps> privacy;
  std::optional<DataParallel> parallel;
  std::optional<Loader> loader, val_loader;
  std::int64_t batches = 0, steps_per_epoch = 0;
  std::optional<WeightAverage> ema;
  std::optional<Schedule> schedule;
  Tensor class_weights;
  TrainProgress progress;
  History history;
  std::vector<NamedTensor> best;
  std::vector<std::pair<std::string, std::string>> settings;
  Clock::time_point segment;  // since when progress.seconds does not yet count
  Clock::time_point train_segment;
  std::int64_t segment_images = 0;
  bool training_now = false;
  std::set<std::string> reported_skips, reported_val_skips;

  Run(Trainer& t, DatasetPtr train_data, DatasetPtr val_data)
      : trainer(t),
        options(t.options_),
        model(t.model_),
        train(std::move(train_data)),
        val(std::move(val_data)),
        classes(static_cast<int>(train->class_names().size())),
        tensors(t.model_.network().named_tensors()),
        optimizer(t.options_.optimizer, t.model_.network().parameters(), t.options_.optimizer_options),
        monitor(val ? t.options_.monitor : Monitor::train_loss) {
    settings = describe_settings(options, monitor, model, tensors, *train, val.get());
    if (options.ranks && options.ranks->size() > 1) {
      require(!options.privacy, "private training runs on one rank", "start it without mpirun");
      parallel.emplace(*options.ranks, tensors, options.sync_batch_norm);
      parallel->begin(settings);
    }
    LoaderOptions loading = training_loader_options(model, *train, options);
    if (options.privacy) {
      privacy.emplace(options, model, *train, val != nullptr);
      loading = privacy->loading(std::move(loading));
    }
    loading.unfinished = !privacy && tensors.front().tensor.device().type != DeviceType::cpu;
    loader.emplace(train, std::move(loading));
    batches = loader->batches_per_epoch();
    if (val) val_loader.emplace(val, validation_loader_options(model, *val, options));
    steps_per_epoch = (batches + options.accumulate - 1) / options.accumulate;
    schedule.emplace(options.schedule, base_learning_rate(options.optimizer), steps_per_epoch * options.epochs,
                     steps_per_epoch, options.warmup);
    if (options.ema) ema.emplace(tensors, *options.ema);
    class_weights = make_class_weights(*train, options, tensors.front().tensor.dtype());
    if (class_weights.defined()) class_weights = class_weights.to(tensors.front().tensor.device());
    if (privacy) settings.emplace_back("privacy", privacy->describe());
    settings.emplace_back("ranks", parallel ? parallel->describe() : "1");
  }

  template <class F>
  void tell(F&& f) {
    for (TrainObserver* observer : options.observers) {
      if (observer) f(*observer);
    }
  }

  bool cancelled() const { return options.cancel && options.cancel->requested(); }
  /// Asked by all ranks at the same point.
  bool any_cancelled() { return parallel ? parallel->any(cancelled()) : cancelled(); }

  void resume() {
    Checkpoint c = load_checkpoint(options.checkpoint);
    check_resumable(options.checkpoint, c.settings, settings,
                    [&](const std::string& text) { tell([&](TrainObserver& o) { o.on_warning(text); }); });
    const std::int64_t done = c.progress.epoch * batches + c.progress.batch;
    if (c.progress.epoch > options.epochs || c.progress.batch > batches || done > batches * options.epochs) {
      throw Error(ErrorKind::format, options.checkpoint, "its position lies beyond the end of the training");
    }
    if (c.ema.empty() == ema.has_value())
      throw Error(ErrorKind::format, options.checkpoint, "its weight averages do not fit the settings");
    restore(tensors, c.model, options.checkpoint);
    optimizer.load_state(c.optimizer);
    if (ema) ema->load(c.ema, c.ema_updates);
    progress = c.progress;
    history = std::move(c.history);
    history.cancelled = false;
    for (EpochRecord& e : history.epochs) {
      if (privacy) e.epsilon = privacy->epsilon(e.step);
    }
    best = std::move(c.best);
    schedule->set_plateau(progress.plateau);
  }

  void count_time() {
    const double passed = seconds_since(segment);
    progress.seconds += passed;
    segment = Clock::now();
    if (training_now) progress.train_seconds += seconds_since(train_segment);
    train_segment = segment;
  }

  void write_checkpoint() {
    if (options.checkpoint.empty() || (parallel && !parallel->first())) return;
    if (parallel) parallel->check();  // the last whole checkpoint is worth more than one of a broken step
    count_time();
    progress.plateau = schedule->plateau();
    Checkpoint c;
    c.progress = progress;
    c.history = history;
    c.model = tensors;
    c.optimizer = optimizer.state();
    if (ema) {
      c.ema = ema->averages();
      c.ema_updates = ema->updates();
    }
    c.best = best;
    c.settings = settings;
    try {
      save_checkpoint(options.checkpoint, c);
      tell([&](TrainObserver& o) { o.on_checkpoint(options.checkpoint); });
    } catch (const Error& e) {
      // Hours of training are worth more than this checkpoint; the previous one is whole.
      tell([&](TrainObserver& o) { o.on_warning(str("checkpoint not written, training goes on: ", e.what())); });
    }
  }

  /// In the network's element type and where it is.
  Tensor on_device(const Batch& batch) const {
    const Tensor& like = tensors.front().tensor;
    return batch.unfinished ? images_on(batch, like.device()).to(like.dtype())
                            : batch.images.to(like.dtype()).to(like.device());
  }

  /// The same for private training, where a batch may be empty.
  double train_private(const Batch& batch) {
    const auto number = static_cast<std::uint64_t>(progress.epoch * batches + progress.batch);
    const auto n = static_cast<std::int64_t>(batch.indices.size());
    const double sum = privacy->add_gradients(batch, [&](const Batch& part, std::int64_t index) {
      // Streams of their own for the parts of a batch, of which there are at most 1024.
      const TrainingMode training({.seed = options.seed,
                                   .step = (number << 10) + static_cast<std::uint64_t>(index),
                                   .update_statistics = true});
      const Tensor logits = model(on_device(part));
      progress.correct += correct_rows(logits, part.labels);
      return training_loss(logits, part, classes, options.loss, class_weights, LossReduction::none);
    });
    progress.images += n;
    progress.loss_sum += sum;
    segment_images += n;
    batch_images = n;
    ++progress.batch;
    if (n > 0) return sum / static_cast<double>(n);
    return progress.images > 0 ? progress.loss_sum / static_cast<double>(progress.images) : 0;
  }

  /// Forward and backward of one batch; gradients add up until the optimizer step.
  /// @param last whether the step follows
  double train_batch(const Batch& batch, bool last) {
    if (privacy) return train_private(batch);
    if (parallel) {
      parallel->begin_batch(batch.labels.dim(0), loss_divisor(batch, class_weights), cancelled());
    }
    const auto number = static_cast<std::uint64_t>(progress.epoch * batches + progress.batch);
    const TrainingMode::Options mode{.seed = options.seed,
                                     .step = number,
                                     .update_statistics = true,
                                     .precision = options.precision,
                                     .checkpoint_blocks = options.checkpoint_blocks,
                                     .batch_ranks = parallel ? parallel->batch_ranks() : nullptr,
                                     .first_example = batch.first};
    Tensor images = on_device(batch);
    TrainingMode training(mode);
    Tape tape;
    const Tensor logits = model(images);
    const Tensor loss = training_loss(logits, batch, classes, options.loss, class_weights);
    const double value = loss.item();
    if (!std::isfinite(value)) {
      tape.clear();
      throw Error(
          ErrorKind::numeric, "training",
          str("the loss is ", value, " at step ", progress.step, " (epoch ", progress.epoch + 1, ", batch ",
              progress.batch + 1, "); the first bad tensor is ", first_bad_in_pass(model, tensors, images, mode)),
          "lower the learning rate, use a warm-up or clip gradients");
    }
    DataParallel::Total total{value, correct_rows(logits, batch.labels), batch.labels.dim(0)};
    if (!parallel) {
      tape.backward(loss);
    } else {
      const Tensor share = Tensor::full(loss.shape(), parallel->share(), loss.dtype(), loss.device());
      parallel->add_result(value, total.correct, last);
      if (last) {
        tape.backward(loss, share, parallel->listener());
      } else {
        tape.backward(loss, share);
      }
      total = parallel->finish_batch(last);
    }
    progress.correct += total.correct;
    progress.images += total.images;
    progress.loss_sum += total.loss * static_cast<double>(total.images);
    segment_images += total.images;
    batch_images = total.images;
    ++progress.batch;
    return total.loss;
  }
  std::int64_t batch_images = 0;  // of the last one

  /// @param group how many batches' gradients have been added up
  Schedule::Rates optimizer_step(int group, double mean_loss) {
    const std::vector<NamedTensor>& parameters = optimizer.parameters();
    if (privacy) privacy->finish(parameters, progress.step);
    if (group > 1) scale_gradients(parameters, 1.0 / group);
    if (options.clip_value > 0) clip_gradients_by_value(parameters, options.clip_value);
    double norm = 0;
    if (options.clip_norm > 0) norm = clip_gradients_by_norm(parameters, options.clip_norm);
    if ((options.check_gradients && options.clip_norm <= 0) || !std::isfinite(norm)) {
      const std::string bad = first_bad_gradient(parameters);
      if (!bad.empty()) {
        throw Error(ErrorKind::numeric, "training",
                    str("NaN or Inf at step ", progress.step, " (epoch ", progress.epoch + 1,
                        "); the first bad tensor is the ", bad),
                    "lower the learning rate, use a warm-up or clip gradients");
      }
    }
    const Schedule::Rates rates = schedule->at(progress.step);
    optimizer.set_learning_rate(rates.lr);
    if (rates.momentum >= 0) optimizer.set_momentum(rates.momentum);
    optimizer.step();
    optimizer.zero_grad();
    if (ema) ema->update();
    history.add({progress.step, rates.lr, mean_loss});
    ++progress.step;
    return rates;
  }

  void report(double loss, double lr) {
    const double running = seconds_since(train_segment_start);
    BatchReport r;
    r.epoch = progress.epoch + 1;
    r.epochs = options.epochs;
    r.batch = progress.batch;
    r.batches = batches;
    r.step = progress.step;
    r.images = batch_images;
    r.loss = loss;
    const double images = static_cast<double>(std::max<std::int64_t>(progress.images, 1));  // 0: an empty sample
    r.mean_loss = progress.loss_sum / images;
    r.accuracy = static_cast<double>(progress.correct) / images;
    if (privacy) r.epsilon = privacy->epsilon(progress.step);
    r.lr = lr;
    r.images_per_s = running > 0 ? static_cast<double>(segment_images) / running : 0;
    const auto left = static_cast<double>((options.epochs - progress.epoch) * batches - progress.batch) *
                      static_cast<double>(privacy ? options.batch_size : r.images);
    r.seconds_left = r.images_per_s > 0 ? left / r.images_per_s : 0;
    tell([&](TrainObserver& o) { o.on_batch(r); });
  }
  Clock::time_point train_segment_start;

  void report_skips(const Loader& from, std::set<std::string>& reported) {
    for (const std::string& skipped : from.skipped()) {
      if (reported.insert(skipped).second) tell([&](TrainObserver& o) { o.on_warning("left out " + skipped); });
    }
  }

  /// False when cancelled. Trains what is left of the current epoch.
  bool train_epoch() {
    // Cancelled during validation: only the end of the epoch is left.
    if (progress.batch >= batches) return true;
    loader->start_epoch(progress.epoch, progress.batch);
    training_now = true;
    train_segment = train_segment_start = Clock::now();
    segment_images = 0;
    Batch batch;
    int group = 0;
    double group_loss = 0;
    std::int64_t saved_step = progress.step;
    bool go_on = true;
    // The last group of an epoch may be smaller: gradients are averaged over what there is.
    const auto finish_group = [&] {
      const Schedule::Rates rates = optimizer_step(group, group_loss / group);
      group = 0;
      group_loss = 0;
      return rates;
    };
    const auto next = [&] {
      const Clock::time_point before = Clock::now();
      const bool more = loader->next(batch);
      progress.wait_seconds += seconds_since(before);
      return more;
    };
    while (go_on && next()) {
      const bool stepped = group + 1 == options.accumulate || progress.batch + 1 == batches;
      const double loss = train_batch(batch, stepped);
      group_loss += loss;
      ++group;
      if (stepped) finish_group();
      report(loss, schedule->at(std::max<std::int64_t>(progress.step - 1, 0)).lr);
      if (!stepped) continue;
      if (parallel ? parallel->stop() : cancelled()) {
        go_on = false;
      } else if (options.checkpoint_every > 0 && progress.step - saved_step >= options.checkpoint_every &&
                 progress.batch < batches) {
        write_checkpoint();
        saved_step = progress.step;
      }
    }
    if (group > 0) finish_group();  // pictures were skipped, so that the epoch was shorter than planned
    count_time();
    training_now = false;
    report_skips(*loader, reported_skips);
    return go_on;
  }

  bool better(double value, double than) const {
    const double delta = options.early_stopping ? options.early_stopping->min_delta : 0;
    const bool minimize = monitor == Monitor::val_loss || monitor == Monitor::train_loss;
    return minimize ? value < than - delta : value > than + delta;
  }

  /// Validation, records, best weights, plateau. Returns true if training should stop early.
  bool end_epoch() {
    EpochRecord record;
    record.epoch = progress.epoch + 1;
    record.step = progress.step;
    if (privacy) record.epsilon = privacy->epsilon(progress.step);
    record.lr = schedule->at(std::max<std::int64_t>(progress.step - 1, 0)).lr;
    const auto images = static_cast<double>(progress.images);
    record.train_loss = images > 0 ? progress.loss_sum / images : kNaN;
    if (parallel) {
      require(images > 0, "none of the pictures can be read");
      if (parallel->tensors_came_apart()) {
        tell([](TrainObserver& o) {
          o.on_warning("the ranks' parameters had come apart (different processors?): rank 0's are everybody's again");
        });
      }
    }
    record.train_accuracy = images > 0 ? static_cast<double>(progress.correct) / images : kNaN;
    double monitored = record.train_loss;
    bool keep_best = false;
    {
      UseAverage averaged(ema ? &*ema : nullptr);
      trainer.last_validation_.reset();
      if (val_loader) {
        EvaluateOptions evaluating;
        evaluating.metrics = options.metrics;
        Forward forward{*this};
        evaluating.observer = &forward;
        evaluating.cancel = options.cancel;
        evaluating.ranks = options.ranks;
        const Evaluation e = evaluate(model, *val_loader, classes, evaluating);
        trainer.last_validation_ = e.metrics;
        report_skips(*val_loader, reported_val_skips);
        record.val_loss = e.metrics.log_loss;
        record.val_accuracy = e.metrics.accuracy;
        record.val_macro_f1 = e.metrics.macro_f1;
        if (monitor == Monitor::val_loss) monitored = record.val_loss;
        if (monitor == Monitor::val_accuracy) monitored = record.val_accuracy;
        if (monitor == Monitor::val_macro_f1) monitored = record.val_macro_f1;
      }
      keep_best = history.best_epoch == 0 || better(monitored, progress.monitored_best);
      if (keep_best && options.restore_best) best = cloned(tensors);
    }
    if (keep_best) {
      progress.monitored_best = monitored;
      progress.bad_epochs = 0;
      history.best_epoch = record.epoch;
      record.best = true;
    } else {
      ++progress.bad_epochs;
    }
    schedule->end_epoch(monitored);
    count_time();
    record.seconds = progress.seconds;
    record.images_per_s = progress.train_seconds > 0 ? images / progress.train_seconds : 0;
    if (progress.train_seconds > 0) record.wait_share = progress.wait_seconds / progress.train_seconds;
    history.epochs.push_back(record);
    ++progress.epoch;
    progress.batch = progress.images = progress.correct = 0;
    progress.loss_sum = progress.seconds = progress.train_seconds = progress.wait_seconds = 0;
    const bool stop = options.early_stopping && progress.bad_epochs >= options.early_stopping->patience;
    if (stop) history.stopped_early = true;
    progress.finished = stop || progress.epoch == options.epochs;
    return stop;
  }

  struct Forward : TrainObserver {
    explicit Forward(Run& r) : run(r) {}
    void on_validation_batch(std::int64_t batch, std::int64_t count) override {
      run.tell([&](TrainObserver& o) { o.on_validation_batch(batch, count); });
    }
    Run& run;
  };

  History fit() {
    if (!options.checkpoint.empty() && (!parallel || parallel->first())) check_writable(options.checkpoint);
    if (options.resume) {
      const bool there = file_exists(options.checkpoint);
      if (parallel ? parallel->all_see(options.checkpoint, there) : there) resume();
    }
    if (options.precision == DType::bf16 && !kernels::conv_norm_takes_bf16())
      tell([](TrainObserver& o) { o.on_warning("this CPU has no products of bf16 (AVX-512 BF16): training in f32"); });
    TrainInfo info;
    info.epochs = options.epochs;
    info.batches_per_epoch = batches;
    info.steps = steps_per_epoch * options.epochs;
    info.train_images = train->size();
    info.val_images = val ? val->size() : 0;
    for (const NamedTensor& t : tensors) {
      if (t.is_buffer) continue;
      info.parameters += t.tensor.numel();
      if (t.tensor.requires_grad()) info.trainable_parameters += t.tensor.numel();
    }
    info.batch_size = loader->options().batch_size;
    info.first_epoch = progress.epoch;
    info.first_batch = progress.batch;
    info.first_step = progress.step;
    info.resumed = progress.step > 0;
    require(info.trainable_parameters > 0, "every parameter is frozen", "unfreeze some, for example the classifier");
    tell([&](TrainObserver& o) { o.on_start(info); });
    optimizer.zero_grad();
    segment = train_segment = train_segment_start = Clock::now();
    const std::int64_t first_epoch = progress.epoch, first_batch = progress.batch;
    while (!progress.finished) {
      bool go_on = !any_cancelled() && train_epoch();
      if (go_on) {
        try {
          end_epoch();
        } catch (const Error& e) {
          if (e.kind() != ErrorKind::cancelled) throw;
          go_on = false;  // during validation: the epoch's end is repeated when resuming
        }
      }
      // A run cancelled before it did anything leaves an older checkpoint alone.
      if (progress.epoch != first_epoch || progress.batch != first_batch) write_checkpoint();
      if (!go_on) {
        history.cancelled = true;
        break;
      }
      tell([&](TrainObserver& o) {
        o.on_epoch(history.epochs.back(), history, trainer.last_validation_ ? &*trainer.last_validation_ : nullptr);
      });
    }
    if (progress.finished) {
      if (options.restore_best && !best.empty()) {
        restore(tensors, best, "best weights");
      } else if (ema) {
        ema->swap();
      }
    }
    if (parallel) parallel->check();
    optimizer.zero_grad();
    trainer.privacy_.reset();
    if (privacy) trainer.privacy_ = privacy->report(progress.step);
    tell([&](TrainObserver& o) { o.on_end(history); });
    return std::move(history);
  }
};

Trainer::Trainer(const Model& model, TrainerOptions options) : model_(model), options_(std::move(options)) {
  require(model_.defined(), "there is no model");
  check_options(options_);
}

Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

const std::optional<MetricValues>& Trainer::last_validation() const { return last_validation_; }
const std::optional<PrivacyReport>& Trainer::privacy() const { return privacy_; }

History Trainer::fit(const DatasetPtr& train, const DatasetPtr& val) {
  require(train && train->size() > 0, "the training data is empty");
  require(!val || val->size() > 0, "the validation data is empty", "leave it out to train without");
  require(!val || val->class_names() == train->class_names(), "training and validation data have different classes");
  if (options_.threads > 0) set_num_threads(options_.threads);
  if (options_.batch_size == kAutoBatch) {
    const BatchChoice choice = choose_batch_size(model_, train, options_, val);
    options_.batch_size = choice.batch_size;
    for (TrainObserver* observer : options_.observers) {
      if (observer) observer->on_note("batch size " + choice.reason);
    }
  }
  Run run(*this, train, val);
  return run.fit();
}

}  // namespace fovea
