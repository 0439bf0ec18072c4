// Results as people read them.
#pragma once

#include <string>
#include <vector>

#include "train/metrics.h"

namespace fovea::tools {

/// "93.12 %".
std::string percent(double share, int decimals = 2);
/// The per-class table (precision, recall, F1, pictures) with means below, and the pairs most often confused.
std::string class_report(const MetricValues& values, const std::vector<std::string>& names);

}  // namespace fovea::tools
