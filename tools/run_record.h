// run.json in a run folder: what a training was given, so that its pictures can be found again and its report can say
// how it came about. Internal to tools/.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/train_options.h"

namespace fovea::tools {

struct RunRecord {
  TrainOptions options;            ///< what decides which pictures are in which part
  std::vector<std::string> parts;  ///< "train 612 pictures, 5f0c…": tells whether the data is still the same
  std::vector<std::pair<std::string, std::string>> recipe;  ///< for people: what, how
};

/// One line a part: its size and a digest of the pictures' names and classes.
std::vector<std::string> part_digests(const TrainData& data);
RunRecord describe_run(const TrainOptions& options, const TrainData& data, const Model& model,
                       const TrainerOptions& trainer);
void write_run_record(const std::string& folder, const RunRecord& record);
/// Nothing where the folder has none (a run of an older version). Error{format} for anything else than
/// write_run_record() writes.
std::optional<RunRecord> read_run_record(const std::string& folder);

}  // namespace fovea::tools
