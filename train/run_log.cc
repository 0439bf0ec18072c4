// Writes a run's metrics and plots into a folder while it trains.
#include "train/run_log.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/io/file.h"
#include "train/plot.h"
#include "train/tensorboard.h"

namespace fovea {
namespace {

/// The shortest text that reads back as the same number, whatever the locale; `missing` for NaN and Inf, which JSON
/// does not know.
std::string number(double v, const char* missing) {
  if (!std::isfinite(v)) return missing;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, v).ptr;
  return std::string(text, end);
}

template <class F>
void for_each_column(const EpochRecord& e, F&& f) {
  f("lr", e.lr);
  f("train_loss", e.train_loss);
  f("train_accuracy", e.train_accuracy);
  f("val_loss", e.val_loss);
  f("val_accuracy", e.val_accuracy);
  f("val_macro_f1", e.val_macro_f1);
  f("seconds", e.seconds);
  f("images_per_s", e.images_per_s);
  f("wait_share", e.wait_share);
  if (std::isfinite(e.epsilon)) f("epsilon", e.epsilon);
}

std::vector<Series> epoch_series(const History& history, double EpochRecord::*train, double EpochRecord::*val) {
  Series t{"training", {}, {}}, v{"validation", {}, {}};
  bool any = false;
  for (const EpochRecord& e : history.epochs) {
    t.x.push_back(static_cast<double>(e.epoch));
    t.y.push_back(e.*train);
    v.x.push_back(static_cast<double>(e.epoch));
    v.y.push_back(e.*val);
    any = any || std::isfinite(e.*val);
  }
  if (!any) return {t};
  return {t, v};
}

}  // namespace

std::string to_json(const EpochRecord& e) {
  std::string out = str("{\"epoch\":", e.epoch, ",\"step\":", e.step);
  for_each_column(e, [&](const char* name, double v) { out += str(",\"", name, "\":", number(v, "null")); });
  return out + str(",\"best\":", e.best, "}");
}

std::string to_csv(const History& history) {
  std::string out = "epoch,step";
  for_each_column(history.epochs.empty() ? EpochRecord{} : history.epochs.front(),
                  [&](const char* name, double) { out += str(",", name); });
  out += ",best\n";
  for (const EpochRecord& e : history.epochs) {
    out += str(e.epoch, ",", e.step);
    for_each_column(e, [&](const char*, double v) { out += "," + number(v, ""); });
    out += e.best ? ",1\n" : ",0\n";
  }
  return out;
}

std::string to_json(const MetricValues& m) {
  const auto num = [](double v) { return number(v, "null"); };
  std::string out =
      str("{\"accuracy\":", num(m.accuracy), ",\"accuracy_low\":", num(m.accuracy_interval.low),
          ",\"accuracy_high\":", num(m.accuracy_interval.high), ",\"macro_f1\":", num(m.macro_f1),
          ",\"auc\":", num(m.auc), ",\"ece\":", num(m.ece), ",\"n\":", m.n, ",\"log_loss\":", num(m.log_loss),
          ",\"balanced_accuracy\":", num(m.balanced_accuracy), ",\"macro_precision\":", num(m.macro_precision),
          ",\"macro_recall\":", num(m.macro_recall), ",\"weighted_precision\":", num(m.weighted_precision),
          ",\"weighted_recall\":", num(m.weighted_recall), ",\"weighted_f1\":", num(m.weighted_f1));
  for (const auto& [k, share] : m.top_k) out += str(",\"top", k, "\":", num(share));
  out += ",\"classes\":[";
  for (std::size_t i = 0; i < m.classes.size(); ++i) {
    const ClassScore& c = m.classes[i];
    out += str(i ? "," : "", "{\"precision\":", num(c.precision), ",\"recall\":", num(c.recall), ",\"f1\":", num(c.f1),
               ",\"auc\":", num(c.auc), ",\"support\":", c.support, "}");
  }
  out += "],\"confusion\":[";
  for (std::size_t i = 0; i < m.confusion.size(); ++i) {
    out += i ? ",[" : "[";
    for (std::size_t j = 0; j < m.confusion[i].size(); ++j) out += str(j ? "," : "", m.confusion[i][j]);
    out += "]";
  }
  return out + "]}";
}

struct RunLog::State {
  std::string folder, warning;
  RunLogOptions options;
  std::optional<TensorBoardWriter> board;
  std::optional<MetricValues> validation;

  /// Runs a write; the first failure is kept as the warning.
  template <class F>
  void attempt(F&& f) {
    try {
      f();
    } catch (const Error& e) {
      if (warning.empty()) warning = e.what();
    }
  }
  void put(const char* name, const std::string& content) {
    attempt([&] { write_file(folder + "/" + name, content); });
  }

  void write(const History& history) {
    std::string lines;
    for (const EpochRecord& e : history.epochs) lines += to_json(e) + "\n";
    put("metrics.jsonl", lines);
    put("metrics.csv", to_csv(history));
    if (!options.plots) return;

    const std::string best = history.best_epoch > 0 ? "best epoch" : "";
    LinePlot loss{.title = "Loss",
                  .x_label = "epoch",
                  .y_label = "cross-entropy",
                  .series = epoch_series(history, &EpochRecord::train_loss, &EpochRecord::val_loss),
                  .whole_x = true,
                  .from_zero = true};
    loss.mark_x = static_cast<double>(history.best_epoch);
    loss.mark_label = best;
    Series rate{"learning rate", {}, {}};
    // Steps become parts of epochs, so that the per-step curve shares the epochs' axis.
    if (!history.epochs.empty() && history.epochs.back().step > 0) {
      const double per_epoch =
          static_cast<double>(history.epochs.back().step) / static_cast<double>(history.epochs.back().epoch);
      Series steps{"training, per step", {}, {}, true};
      for (const CurvePoint& p : history.curve) {
        steps.x.push_back(static_cast<double>(p.step) / per_epoch);
        steps.y.push_back(p.loss);
      }
      loss.series.push_back(std::move(steps));
    }
    for (const CurvePoint& p : history.curve) {
      rate.x.push_back(static_cast<double>(p.step));
      rate.y.push_back(p.lr);
    }
    put("loss.svg", line_plot_svg(loss));
    put("accuracy.svg",
        line_plot_svg({.title = "Accuracy",
                       .x_label = "epoch",
                       .y_label = "accuracy",
                       .series = epoch_series(history, &EpochRecord::train_accuracy, &EpochRecord::val_accuracy),
                       .percent = true,
                       .whole_x = true,
                       .mark_x = static_cast<double>(history.best_epoch),
                       .mark_label = best}));
    put("learning_rate.svg", line_plot_svg({.title = "Learning rate",
                                            .x_label = "step",
                                            .y_label = "learning rate",
                                            .series = {rate},
                                            .from_zero = true}));
    if (!validation) return;
    std::vector<std::string> names = options.class_names;
    if (names.size() != validation->confusion.size()) {
      names.clear();
      for (std::size_t i = 0; i < validation->confusion.size(); ++i) names.push_back(str(i));
    }
    put("confusion.svg", confusion_svg(validation->confusion, names));
    put("reliability.svg", reliability_svg(validation->reliability, validation->ece));
  }
};

RunLog::RunLog(const std::string& folder, RunLogOptions options) : state_(std::make_unique<State>()) {
  make_folders(folder);
  state_->folder = folder;
  state_->options = std::move(options);
}
RunLog::~RunLog() = default;

void RunLog::on_start(const TrainInfo&) {
  if (state_->options.tensorboard && !state_->board) {
    state_->attempt([&] { state_->board.emplace(state_->folder); });
  }
}

void RunLog::on_batch(const BatchReport& r) {
  if (!state_->board || r.step == 0 || r.step % std::max(1, state_->options.tensorboard_every) != 0) return;
  state_->attempt([&] {
    state_->board->scalar("step/loss", r.step, r.loss);
    state_->board->scalar("step/learning_rate", r.step, r.lr);
  });
}

void RunLog::on_epoch(const EpochRecord& record, const History& history, const MetricValues* validation) {
  if (validation) state_->validation = *validation;
  if (state_->board) {
    state_->attempt([&] {
      for_each_column(record, [&](const char* name, double v) {
        if (std::isfinite(v)) state_->board->scalar(std::string("epoch/") + name, record.epoch, v);
      });
    });
  }
  state_->write(history);
}

void RunLog::on_end(const History& history) { state_->write(history); }

const std::string& RunLog::warning() const { return state_->warning; }

}  // namespace fovea
