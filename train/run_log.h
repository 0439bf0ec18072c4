// Writes a run's metrics and plots into a folder while it trains.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "train/observer.h"

namespace fovea {

struct RunLogOptions {
  bool tensorboard = true;
  int tensorboard_every = 10;  ///< steps between points of the step curves
  bool plots = true;
  std::vector<std::string> class_names;  ///< for the confusion matrix; none: numbers
};

/// An observer. Files: metrics.jsonl (one JSON object per epoch), metrics.csv, events.out.tfevents.*, loss.svg,
/// accuracy.svg, learning_rate.svg, confusion.svg and reliability.svg (of the last validation). All but the events are
/// rewritten whole and atomically at each epoch from the run's history, so that a resumed run leaves the same files as
/// an uninterrupted one. A file that cannot be written is reported once through `warning()` and does not stop training.
class FOVEA_API RunLog : public TrainObserver {
 public:
  /// Creates the folder. Error{file}.
  explicit RunLog(const std::string& folder, RunLogOptions options = {});
  ~RunLog() override;

  void on_start(const TrainInfo& info) override;
  void on_batch(const BatchReport& report) override;
  void on_epoch(const EpochRecord& record, const History& history, const MetricValues* validation) override;
  void on_end(const History& history) override;
  /// What could not be written, or empty.
  const std::string& warning() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One line of metrics.jsonl; values that do not exist are null.
FOVEA_API std::string to_json(const EpochRecord& record);
/// metrics.csv: a header and a line for each epoch; values that do not exist are empty.
FOVEA_API std::string to_csv(const History& history);
/// {"accuracy":…,"macro_f1":…,"auc":…,"ece":…,"n":…,"confusion":[[…]],…}: what `fovea evaluate --json` prints.
FOVEA_API std::string to_json(const MetricValues& values);

}  // namespace fovea
