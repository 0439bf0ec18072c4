#include "tools/audit_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "tools/report.h"

namespace fovea::tools {
namespace {

std::string class_name(const std::vector<std::string>& names, std::size_t k) {
  return k < names.size() ? names[k] : str("class ", k);
}

std::string range(const Interval& i) { return str(percent(i.low, 1), " to ", percent(i.high, 1)); }

/// JSON has no NaN.
nlohmann::ordered_json value(double v) { return std::isfinite(v) ? nlohmann::ordered_json(v) : nullptr; }

}  // namespace

void add_thirds(const insight::Audit& audit, const std::vector<std::int64_t>& pictures,
                std::vector<insight::SliceAttribute>& to) {
  using Picture = insight::AuditPicture;
  const auto add = [&](const char* name, double Picture::*figure, const std::array<std::string, 3>& names,
                       int decimals) {
    std::vector<double> values;
    for (const std::int64_t i : pictures) {
      const Picture& p = audit.pictures[static_cast<std::size_t>(i)];
      values.push_back(p.error.empty() ? p.*figure : std::numeric_limits<double>::quiet_NaN());
    }
    insight::SliceAttribute thirds = insight::thirds_of(name, values, names, decimals);
    if (!thirds.order.empty()) to.push_back(std::move(thirds));
  };
  add("brightness", &Picture::brightness, {"dark", "middle", "bright"}, 0);
  add("contrast", &Picture::contrast, {"low", "middle", "high"}, 0);
  add("sharpness", &Picture::sharpness, {"soft", "middle", "sharp"}, 1);
}

std::string slice_lines(const insight::SliceReport& report, const std::vector<std::string>& names) {
  std::string out;
  for (const insight::SliceDetail& s : report.slices) {
    const std::string which = str("  ! ", s.attribute, " '", s.name, "': ");
    if (s.worse)
      out += str(which, "accuracy ", percent(s.accuracy), " (", range(s.interval), "), the others' ",
                 percent(s.rest_accuracy), "\n");
    for (std::size_t k = 0; k < s.classes.size(); ++k) {
      const insight::SliceRecall& r = s.classes[k];
      if (r.worse)
        out += str(which, "finds ", r.found, " of ", r.n, " '", class_name(names, k), "' (", range(r.interval),
                   "), elsewhere ", percent(r.rest_recall), "\n");
    }
    if (s.miscalibrated)
      out += str(which, "answers are ", s.gap() > 0 ? "too sure" : "too shy", " by ", percent(std::abs(s.gap())),
                 ", elsewhere ", s.rest_gap > 0 ? "too sure" : "too shy", " by ", percent(std::abs(s.rest_gap)), "\n");
  }
  if (report.worst >= 0) {
    const insight::SliceDetail& w = report.slices[static_cast<std::size_t>(report.worst)];
    out += str("    worst of ", report.slices.size(), " slices: ", w.attribute, " '", w.name, "', accuracy ",
               percent(w.accuracy), " (", range(w.interval), ") of ", w.n, " pictures, calibration error ",
               percent(w.ece), w.worse ? "" : "; may be chance", "\n");
  }
  if (report.left_out > 0) out += str("    ", report.left_out, " slices with fewer than 10 pictures left out\n");
  return out;
}

nlohmann::ordered_json to_json(const insight::SliceReport& report, const std::vector<std::string>& names) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const insight::SliceDetail& s : report.slices) {
    nlohmann::ordered_json classes = nlohmann::ordered_json::array();
    for (std::size_t k = 0; k < s.classes.size(); ++k) {
      const insight::SliceRecall& r = s.classes[k];
      classes.push_back({{"class", class_name(names, k)},
                         {"pictures", r.n},
                         {"recall", value(r.recall)},
                         {"interval", {r.interval.low, r.interval.high}},
                         {"rest", value(r.rest_recall)},
                         {"adjusted_p", r.adjusted_p},
                         {"worse", r.worse}});
    }
    list.push_back({{"attribute", s.attribute},
                    {"name", s.name},
                    {"pictures", s.n},
                    {"accuracy", s.accuracy},
                    {"interval", {s.interval.low, s.interval.high}},
                    {"rest", value(s.rest_accuracy)},
                    {"adjusted_p", s.adjusted_p},
                    {"worse", s.worse},
                    {"ece", s.ece},
                    {"confidence", s.confidence},
                    {"gap", s.gap()},
                    {"rest_gap", value(s.rest_gap)},
                    {"adjusted_calibration_p", s.adjusted_calibration_p},
                    {"miscalibrated", s.miscalibrated},
                    {"confusion", s.confusion},
                    {"classes", classes}});
  }
  return {{"list", list}, {"worst", report.worst}, {"left_out", report.left_out}};
}

}  // namespace fovea::tools
