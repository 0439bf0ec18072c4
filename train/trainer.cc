// The training loop.
#include "train/run_internal.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/threads/parallel.h"
#include "kernels/devices.h"
#include "train/files_internal.h"
#include "train/forecast.h"

namespace fovea {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void require(bool good, std::string_view what, std::string_view hint = {}) {
  if (!good) throw Error(ErrorKind::usage, "trainer", what, hint);
}

std::vector<NamedTensor> cloned(std::vector<NamedTensor> tensors) {
  for (NamedTensor& t : tensors) t.tensor = t.tensor.clone();
  return tensors;
}

}  // namespace

Trainer::Run::Run(Trainer& t, DatasetPtr train_data, DatasetPtr val_data)
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
  if (options.precision == DType::f16) loss_scale.emplace();
  class_weights = make_class_weights(*train, options, tensors.front().tensor.dtype());
  if (class_weights.defined()) class_weights = class_weights.to(tensors.front().tensor.device());
  if (options.cuda_graph) {
    require(tensors.front().tensor.device().type == DeviceType::cuda, "cuda_graph is for GPUs",
            "move the network to one: model.to(gpu())");
    recorded.emplace(model, tensors, [this](const Tensor& logits, const Batch& batch) {
      return training_loss(logits, batch, classes, options.loss, class_weights);
    });
  }
  if (privacy) settings.emplace_back("privacy", privacy->describe());
  settings.emplace_back("ranks", parallel ? parallel->describe() : "1");
}

void Trainer::Run::resume() {
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
  if (loss_scale && !c.loss_scale)
    throw Error(ErrorKind::format, options.checkpoint, "it has no loss scale, which f16 needs");
  if (loss_scale) loss_scale.emplace(*c.loss_scale);
  progress = c.progress;
  history = std::move(c.history);
  history.cancelled = false;
  for (EpochRecord& e : history.epochs) {
    if (privacy) e.epsilon = privacy->epsilon(e.step);
  }
  best = std::move(c.best);
  schedule->set_plateau(progress.plateau);
}

void Trainer::Run::count_time() {
  const double passed = seconds_since(segment);
  progress.seconds += passed;
  segment = RunClock::now();
  if (training_now) progress.train_seconds += seconds_since(train_segment);
  train_segment = segment;
}

void Trainer::Run::write_checkpoint() {
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
  if (loss_scale) c.loss_scale = loss_scale->state();
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

void Trainer::Run::report_skips(const Loader& from, std::set<std::string>& reported) {
  for (const std::string& skipped : from.skipped()) {
    if (reported.insert(skipped).second) tell([&](TrainObserver& o) { o.on_warning("left out " + skipped); });
  }
}

bool Trainer::Run::better(double value, double than) const {
  const double delta = options.early_stopping ? options.early_stopping->min_delta : 0;
  const bool minimize = monitor == Monitor::val_loss || monitor == Monitor::train_loss;
  return minimize ? value < than - delta : value > than + delta;
}

bool Trainer::Run::end_epoch() {
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
      struct Forward : TrainObserver {
        explicit Forward(Run& r) : run(r) {}
        void on_validation_batch(std::int64_t batch, std::int64_t count) override {
          run.tell([&](TrainObserver& o) { o.on_validation_batch(batch, count); });
        }
        Run& run;
      };
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

History Trainer::Run::fit() {
  if (!options.checkpoint.empty() && (!parallel || parallel->first())) check_writable(options.checkpoint);
  if (options.resume) {
    const bool there = file_exists(options.checkpoint);
    if (parallel ? parallel->all_see(options.checkpoint, there) : there) resume();
  }
  const bool bf16_here = options.precision == DType::bf16 && model.device() == kCpu;
  if (const std::string why = why_no_half(kCpu, DType::bf16); bf16_here && !why.empty())
    tell([&](TrainObserver& o) { o.on_warning(why + ": training in f32"); });
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
  segment = train_segment = train_segment_start = RunClock::now();
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

Trainer::Trainer(const Model& model, TrainerOptions options) : model_(model), options_(std::move(options)) {
  require(model_.defined(), "there is no model");
  check_options(options_);
  check_precision(options_.precision, model_.device());
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
