// Differentially private training in `fovea train`: options, defaults, what is told and stored. Internal to tools/.
#pragma once

#include <string>

#include "tools/train_options.h"

namespace fovea::tools {

void add_private_options(CLI::App& command, TrainOptions& options);
/// Error{usage} for privacy options without --private, and for what cannot be private.
void check_private_options(const TrainOptions& options);
/// Fills in what was not given and differs from other training: before the other presets.
void apply_private_preset(TrainOptions& options, const TrainData& data);
PrivacyOptions private_options(const TrainOptions& options);
/// "ε = 2.71 at δ = 1e-05".
std::string describe_epsilon(double epsilon, double delta);
/// privacy.json of the run folder.
std::string to_json(const PrivacyReport& report);

}  // namespace fovea::tools
