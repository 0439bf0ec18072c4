// Results as people read them.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "train/metrics.h"

namespace fovea::tools {

/// printf's `format` of one value: "%.3g".
std::string number(double value, const char* format);
/// "93.12 %".
std::string percent(double share, int decimals = 2);
/// Tells that one file of many failed: on standard error, and with `json` as a line {"file", "error"} of the results.
void report_failure(const std::string& file, const Error& error, bool json);
/// The per-class table (precision, recall, F1, pictures) with means below, and the pairs most often confused.
std::string class_report(const MetricValues& values, const std::vector<std::string>& names);

}  // namespace fovea::tools
