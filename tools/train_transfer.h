// The part of `fovea train` that starts from pretrained weights. Internal to tools/.
#pragma once

#include <string>

#include "tools/train_options.h"
#include "train/evaluation.h"
#include "train/linear_probe.h"

namespace fovea::tools {

void add_transfer_options(CLI::App& command, TrainOptions& options);
/// Options of transfer learning without --weights, and combinations that mean nothing: Error{usage}.
void check_transfer_options(const TrainOptions& options);
/// Fills in what was not given, for a network with pretrained weights.
void apply_transfer_preset(TrainOptions& options, std::int64_t train_images);
/// The weights' network with a new head for the data's classes.
Model open_pretrained(const TrainOptions& options, const TrainData& data);

/// The linear probe, which is the result of --linear-probe and otherwise where fine-tuning starts.
struct ProbeStart {
  Tensor weight, bias;  ///< the classifier
  bool has_validation = false;
  double val_log_loss = 0, val_accuracy = 0;
};
/// Computes the features of the training pictures, fits the probe and puts it into the model's classifier. It is kept
/// in `path`, so that a run that goes on does not fit it again.
ProbeStart fit_start(const TrainOptions& options, const TrainData& data, Model& model, const TrainerOptions& trainer,
                     const std::string& path);
/// A probe's result as a run of one epoch: metrics, plots, history.
History report_probe(const TrainOptions& options, const TrainData& data, const Model& model,
                     const TrainerOptions& trainer, double seconds);
/// Whether fine-tuning made the network worse than the probe by both of validation's measures.
bool worse_than_probe(const ProbeStart& start, const History& history);

}  // namespace fovea::tools
