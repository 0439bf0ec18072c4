// What a training does for each batch.
#include <algorithm>
#include <cmath>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "train/diagnose_internal.h"
#include "train/gradients.h"
#include "train/run_internal.h"

namespace fovea {

Tensor Trainer::Run::on_device(const Batch& batch) const {
  const Tensor& like = tensors.front().tensor;
  return batch.unfinished ? images_on(batch, like.device()).to(like.dtype())
                          : batch.images.to(like.dtype()).to(like.device());
}

double Trainer::Run::train_private(const Batch& batch) {
  const auto number = static_cast<std::uint64_t>(progress.epoch * batches + progress.batch);
  const auto n = static_cast<std::int64_t>(batch.indices.size());
  const double sum = privacy->add_gradients(batch, [&](const Batch& part, std::int64_t index) {
    // Streams of their own for the parts of a batch, of which there are at most 1024.
    const TrainingMode training(
        {.seed = options.seed, .step = (number << 10) + static_cast<std::uint64_t>(index), .update_statistics = true});
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

double Trainer::Run::train_batch(const Batch& batch, bool last) {
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
  std::optional<TrainingMode> training;
  std::optional<Tape> tape;
  Tensor images, logits, loss;
  if (recorded) {
    Batch finished;
    finished.images = on_device(batch);
    finished.labels = batch.labels;
    finished.soft_labels = batch.soft_labels;
    const RecordedPass::Result result = recorded->run(finished, mode, loss_scale ? loss_scale->scale() : 1.0);
    logits = result.logits;
    loss = result.loss;
  } else {
    images = on_device(batch);
    training.emplace(mode);
    tape.emplace();
    logits = model(images);
    loss = training_loss(logits, batch, classes, options.loss, class_weights);
  }
  const double value = loss.item();
  if (!std::isfinite(value)) {
    tape.reset();
    if (!images.defined()) images = on_device(batch);
    throw Error(ErrorKind::numeric, "training",
                str("the loss is ", value, " at step ", progress.step, " (epoch ", progress.epoch + 1, ", batch ",
                    progress.batch + 1, "); the first bad tensor is ", first_bad_in_pass(model, tensors, images, mode)),
                "lower the learning rate, use a warm-up or clip gradients");
  }
  DataParallel::Total total{value, correct_rows(logits, batch.labels), batch.labels.dim(0)};
  if (tape && !parallel) {
    tape->backward(loss, loss_scale ? loss_scale->seed(loss) : Tensor());
  } else if (parallel) {
    const Tensor share = loss_scale ? loss_scale->seed(loss, parallel->share())
                                    : Tensor::full(loss.shape(), parallel->share(), loss.dtype(), loss.device());
    parallel->add_result(value, total.correct, last);
    if (last) {
      tape->backward(loss, share, parallel->listener());
    } else {
      tape->backward(loss, share);
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

bool Trainer::Run::finish_gradients(int group) {
  const std::vector<NamedTensor>& parameters = optimizer.parameters();
  if (privacy) privacy->finish(parameters, progress.step);
  if (loss_scale && !loss_scale->unscale(parameters, group)) {
    tell([&](TrainObserver& o) { o.on_note(str("step ", progress.step + 1, loss_scale->left_out())); });
    return false;
  }
  if (!loss_scale && group > 1) scale_gradients(parameters, 1.0 / group);
  if (options.clip_value > 0) clip_gradients_by_value(parameters, options.clip_value);
  double norm = 0;
  if (options.clip_norm > 0) norm = clip_gradients_by_norm(parameters, options.clip_norm);
  // Of scaled ones it is known.
  if ((options.check_gradients && options.clip_norm <= 0 && !loss_scale) || !std::isfinite(norm)) {
    const std::string bad = first_bad_gradient(parameters);
    if (!bad.empty()) {
      throw Error(ErrorKind::numeric, "training",
                  str("NaN or Inf at step ", progress.step, " (epoch ", progress.epoch + 1,
                      "); the first bad tensor is the ", bad),
                  "lower the learning rate, use a warm-up or clip gradients");
    }
  }
  return true;
}

Schedule::Rates Trainer::Run::optimizer_step(int group, double mean_loss) {
  const bool good = finish_gradients(group);
  const Schedule::Rates rates = schedule->at(progress.step);
  if (good) {
    optimizer.set_learning_rate(rates.lr);
    if (rates.momentum >= 0) optimizer.set_momentum(rates.momentum);
    optimizer.step();
    if (ema) ema->update();
  }
  optimizer.zero_grad();
  history.add({progress.step, rates.lr, mean_loss});
  ++progress.step;
  return rates;
}

void Trainer::Run::report(double loss, double lr) {
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

bool Trainer::Run::train_epoch() {
  // Cancelled during validation: only the end of the epoch is left.
  if (progress.batch >= batches) return true;
  loader->start_epoch(progress.epoch, progress.batch);
  training_now = true;
  train_segment = train_segment_start = RunClock::now();
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
    const RunClock::time_point before = RunClock::now();
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

}  // namespace fovea
