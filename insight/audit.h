// What is wrong with a data set before anyone trains on it: balance, damaged files, duplicates and leaks between parts,
// shortcuts by which a network could cheat, odd pictures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "augment/dataset.h"
#include "insight/duplicates.h"
#include "train/cancel.h"

namespace fovea::insight {

/// One picture as it was found.
struct AuditPicture {
  std::string name, part, group;
  std::int64_t label = 0;
  std::string error;  ///< why it cannot be read; empty: it can, and the rest is filled in
  int width = 0, height = 0, channels = 0;
  double brightness = 0;  ///< mean luma, 0 to 255
  double contrast = 0;    ///< standard deviation of the luma
  double sharpness = 0;   ///< mean magnitude of the Laplacian at a shorter side of at most 256
  double saturation = 0;  ///< mean of (max - min) of the channels, 0 to 255
  double border = 0;      ///< share of the shorter side that is rows or columns of one value at the edges, 0 to 1
  double red = 0, green = 0, blue = 0;  ///< means, 0 to 255
};

enum class FindingKind : std::uint8_t {
  corrupt,     ///< cannot be read
  missing,     ///< a class without pictures in a part
  tiny,        ///< a class with few pictures
  imbalance,   ///< the largest class is many times the smallest
  duplicate,   ///< the same picture twice in one part
  conflict,    ///< the same picture under two labels
  leak,        ///< the same picture in two parts
  group_leak,  ///< a group (patient, camera) in two parts
  shortcut,    ///< something that is not the subject tells the class
  outlier,     ///< unlike all others of the set
};
FOVEA_API std::string_view to_string(FindingKind kind);

struct Finding {
  FindingKind kind = FindingKind::corrupt;
  bool serious = false;  ///< measured accuracy will be wrong, or a class cannot be learned
  std::string text;
  std::vector<std::int64_t> pictures;  ///< by number, the first of them the examples
};

struct AuditOptions {
  int tiny_class = 10;    ///< classes with fewer pictures are named
  double imbalance = 10;  ///< largest over smallest class from which on it is named
  /// Probability of naming any shortcut in a set that has none (Bonferroni over all tests).
  double level = 0.01;
  /// One-against-the-rest AUC from which on a property counts as a shortcut (a lower one may well be the subject). For
  /// the mean colour and brightness, which often are the subject, it must be `color_auc`.
  double shortcut_auc = 0.8, color_auc = 0.98;
  const CancelToken* cancel = nullptr;  ///< not owned; Error{cancelled} when it fires
  std::function<void(std::int64_t done, std::int64_t total)> on_progress = {};
};

struct Audit {
  std::vector<std::string> class_names, parts;
  std::vector<AuditPicture> pictures;
  std::vector<std::vector<std::int64_t>> counts;  ///< [part][class], readable ones
  double effective_classes = 0;                   ///< exp(entropy of the class shares): as many as evenly filled ones
  std::vector<DuplicatePair> duplicates;
  std::vector<Finding> findings;  ///< serious ones first

  std::string to_json() const;
  std::int64_t count(FindingKind kind) const;
};

/// Reads every picture of every part once. @param parts (name, data) with the same classes: Error{usage} otherwise.
FOVEA_API Audit audit(const std::vector<std::pair<std::string, DatasetPtr>>& parts, const AuditOptions& options = {});

}  // namespace fovea::insight
