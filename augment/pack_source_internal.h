// Whether the data that a pack was made of is still the same. Not installed.
#pragma once

#include <string>
#include <vector>

#include "augment/pack.h"

namespace fovea::pack {

/// SHA-256 of names, labels, sizes and times of the pictures' files.
std::string source_digest(const std::vector<PackPart>& parts);
/// `source` as seen from the folder of the pack; empty unless it lies below.
std::string below_folder_of(const std::string& pack, const std::string& source);

}  // namespace fovea::pack
