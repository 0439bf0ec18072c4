// How a model serves each part of a data set, as `fovea audit --model` tells it. Internal to tools/.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "insight/audit.h"
#include "insight/slices.h"

namespace fovea::tools {

/// Thirds of the brightness, contrast and sharpness of pictures by their numbers in the audit, added to `to` where they
/// differ.
void add_thirds(const insight::Audit& audit, const std::vector<std::int64_t>& pictures,
                std::vector<insight::SliceAttribute>& to);

/// Lines for people: what is worse than elsewhere, and the worst slice.
std::string slice_lines(const insight::SliceReport& report, const std::vector<std::string>& class_names);
/// Every slice, with all its figures.
nlohmann::ordered_json to_json(const insight::SliceReport& report, const std::vector<std::string>& class_names);

}  // namespace fovea::tools
