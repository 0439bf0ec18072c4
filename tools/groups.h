// Lists that say what pictures belong to: patient, site, camera, sex of the patient, anything. Internal to tools/.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "augment/dataset.h"
#include "insight/slices.h"

namespace fovea::tools {

/// A CSV file whose first line is path,NAME[,NAME…]: attributes of pictures. A picture is found by its path as the data
/// names it, by its path below the data's folder, or by its file name.
class Groups {
 public:
  Groups() = default;
  /// Error{format} with the line for anything else.
  static Groups read(const std::string& path, const std::string& data_folder);
  bool empty() const { return names_.empty(); }
  /// The column `group`, or else the first.
  std::string group(const std::string& picture) const;
  /// One per column: what the data's pictures have.
  std::vector<insight::SliceAttribute> attributes(const Dataset& data) const;

 private:
  const std::vector<std::string>* find(const std::string& picture) const;

  std::string folder_;
  std::vector<std::string> names_;
  std::size_t group_ = 0;
  std::unordered_map<std::string, std::vector<std::string>> rows_;
};

/// The data with the groups of the list, where there is one.
DatasetPtr regrouped(DatasetPtr data, const Groups& groups);

/// What may be compared: the list's attributes, or else the data's own groups where ten pictures share one on average
/// (of patients with one picture each nothing can be said).
std::vector<insight::SliceAttribute> slice_attributes(const Dataset& data, const Groups& groups);

}  // namespace fovea::tools
