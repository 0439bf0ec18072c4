// What there is to say about a trained network, and the page that says it: one HTML file without scripts, which loads
// nothing from anywhere.
//
//   insight::ReportOptions options;
//   options.title = "Birds at the feeder";
//   insight::Report report = insight::make_report(model, photos_of_today, options);
//   write_file("report.html", insight::to_html(report));
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "augment/dataset.h"
#include "insight/audit.h"
#include "insight/calibration.h"
#include "insight/report/card.h"
#include "insight/slices.h"
#include "models/model.h"
#include "train/history.h"
#include "train/metrics.h"

namespace fovea::insight {

/// One picture that the page shows.
struct ReportCase {
  enum class Kind : std::uint8_t {
    confident_mistake,  ///< wrong, and surest of it
    worst_error,        ///< the true class got the least probability; those above are not repeated
    missed,             ///< of two classes: the positive one taken for the other, surest first
    false_alarm,        ///< of two classes: the other way round
    confident_right,    ///< right and surest, for comparison: one or two of each class
  };
  Kind kind = Kind::confident_mistake;
  std::string name, group;
  int label = 0, predicted = 0;
  double confidence = 0;                       ///< probability of `predicted`
  double label_probability = 0;                ///< of `label`
  std::vector<std::uint8_t> picture, overlay;  ///< JPEG: what the network saw, Grad-CAM of `predicted` over it
  int width = 0, height = 0;                   ///< of both
  std::string strongest;                       ///< where the map is strongest: "upper left"
};

struct ReportPart {
  std::string name;                  ///< "train", "val", "test"
  std::vector<std::int64_t> counts;  ///< pictures by class
};

/// How long answers take and how large the network is, as measured on this machine.
struct ReportCost {
  double median_ms = 0,
         p90_ms = 0;     ///< one picture, from numbers to numbers: without reading the file; 0: not measured
  double decode_ms = 0;  ///< median of reading a file and bringing it to the network's size; 0: not measured
  int threads = 0;
  std::string processor;
  std::int64_t parameters = 0, multiply_adds = 0;
  std::int64_t file_bytes = 0;  ///< of the model file; 0: unknown
};

struct Report {
  std::string title, network, date;  ///< the last as people write it; empty: none
  ModelCard card;
  std::vector<std::string> class_names;
  int positive = 1;  ///< of two classes, that which decisions are about

  // Where the network comes from.
  std::vector<std::pair<std::string, std::string>> recipe;  ///< what, how
  std::vector<EpochRecord> epochs;
  std::vector<ReportPart> parts;
  std::optional<Audit> audit;

  // What it answers.
  std::string judged;         ///< "186 validation pictures"
  std::string judged_caveat;  ///< what speaks against taking the figures at their word; empty: nothing
  std::vector<std::string> skipped;
  MetricValues metrics;
  std::optional<MetricIntervals> intervals;
  int resamples = 0;
  Tensor probabilities;              ///< f32 [n, classes], as the network gives them
  std::vector<std::int64_t> labels;  ///< [n]
  double temperature = 1;
  std::string temperature_source;          ///< on what it was fitted; empty: there is none
  Tensor tempered;                         ///< probabilities after it
  std::optional<MetricValues> calibrated;  ///< of them
  SliceReport slices;
  bool names = true;  ///< false: nothing on the page may name a picture
  std::vector<ReportCase> cases;
  std::string layer;  ///< which the Grad-CAMs look at
  ReportCost cost;
};

struct ReportOptions {
  std::string title;
  int resamples = 1000;  ///< of the bootstrap; 0: none
  int mistakes = 8;      ///< pictures of each kind, 0 to 100
  bool pictures = true;  ///< false: the page holds no picture
  bool names = true;     ///< false: pictures are numbered instead of named
  int positive = 1;      ///< of two classes
  double seconds = 1;    ///< for measuring speed; 0: not measured
  /// Logits and labels of other pictures, on which the temperature is fitted. Without: five-fold on the judged ones.
  std::optional<std::pair<Tensor, std::vector<std::int64_t>>> calibration;
  std::string calibration_name;  ///< "153 validation pictures"
  /// Attributes of the judged pictures, for slices.
  std::vector<SliceAttribute> attributes;
  std::uint64_t seed = 1;
  int batch_size = 32;
  int workers = 1;
  bool skip_corrupt = false;
  const CancelToken* cancel = nullptr;  ///< not owned; Error{cancelled} when it fires
  std::function<void(const std::string& stage, std::int64_t done, std::int64_t total)> on_progress = {};
};

/// Runs the model on `data`, explains its worst answers and measures its speed. What the model itself does not know
/// (recipe, epochs, parts, audit, card, date) is left for the caller. Error{usage} for options out of range or a model
/// and data of different classes; errors of evaluate().
FOVEA_API Report make_report(const Model& model, const DatasetPtr& data, const ReportOptions& options = {});

/// The page. Everything that came from files is escaped; a content security policy forbids scripts and connections.
FOVEA_API std::string to_html(const Report& report);

}  // namespace fovea::insight
