// Internal: which files are to be anonymised, and what they shall be called. Not installed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "insight/protect/anonymize.h"

namespace fovea::insight {

struct Source {
  std::string path;                 ///< to read
  std::string below;                ///< path below its input
  std::string folder, name, group;  ///< below the output folder; without extension; of the subject
  std::vector<ConcealedBox> boxes;
};

/// All pictures of the inputs with their boxes, ordered by what they will be called, so that neither the order nor the
/// time of writing tells of the original names. Errors as anonymize().
std::vector<Source> find_sources(const std::vector<std::string>& inputs, const std::string& out,
                                 const PseudonymKey& key, const AnonymizeOptions& options,
                                 std::map<std::string, std::int64_t>& left_out);

}  // namespace fovea::insight
