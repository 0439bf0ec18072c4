// Properties that tell the class though they are not the subject, and pictures whose properties are unlike all others.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "insight/audit_internal.h"
#include "train/metrics.h"

namespace fovea::insight {
namespace {

/// Upper tail of the standard normal.
double tail(double z) { return 0.5 * std::erfc(z / std::sqrt(2.0)); }

bool ends_with(const std::string& text, const char* ending) {
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return lower.ends_with(ending);
}

}  // namespace

const std::vector<Property>& properties() {
  static const std::vector<Property> all = {
      {"width", false, [](const AuditPicture& p) { return static_cast<double>(p.width); }},
      {"height", false, [](const AuditPicture& p) { return static_cast<double>(p.height); }},
      {"aspect", false, [](const AuditPicture& p) { return static_cast<double>(p.width) / std::max(1, p.height); }},
      {"channels", false, [](const AuditPicture& p) { return static_cast<double>(p.channels); }},
      {"jpeg", false,
       [](const AuditPicture& p) { return ends_with(p.name, ".jpg") || ends_with(p.name, ".jpeg") ? 1.0 : 0.0; }},
      {"png", false, [](const AuditPicture& p) { return ends_with(p.name, ".png") ? 1.0 : 0.0; }},
      {"border", false, [](const AuditPicture& p) { return p.border; }},
      {"brightness", true, [](const AuditPicture& p) { return p.brightness; }},
      {"contrast", true, [](const AuditPicture& p) { return p.contrast; }},
      {"sharpness", true, [](const AuditPicture& p) { return p.sharpness; }},
      {"saturation", true, [](const AuditPicture& p) { return p.saturation; }},
      {"red", true, [](const AuditPicture& p) { return p.red; }},
      {"green", true, [](const AuditPicture& p) { return p.green; }},
      {"blue", true, [](const AuditPicture& p) { return p.blue; }},
  };
  return all;
}

void find_shortcuts(Audit& a, const AuditOptions& o) {
  const std::size_t classes = a.class_names.size();
  const auto tests = static_cast<double>(properties().size() * classes);
  // Of two classes each is the rest of the other.
  for (std::size_t k = classes == 2 ? 1 : 0; k < classes; ++k) {
    struct Best {
      const Property* property = nullptr;
      double auc = 0.5;
    } best[2];  // of files, of colours
    for (const Property& property : properties()) {
      std::vector<float> values;
      std::vector<bool> mine;
      double own = 0;
      for (const AuditPicture& p : a.pictures) {
        if (!p.error.empty()) continue;
        values.push_back(static_cast<float>(property.value(p)));
        mine.push_back(p.label == static_cast<std::int64_t>(k));
        own += mine.back();
      }
      const double rest = static_cast<double>(values.size()) - own;
      const double auc = roc_auc(values, mine);
      if (std::isnan(auc)) continue;
      // Mann and Whitney's normal approximation, without a property: U has the variance n·m·(n+m+1)/12 (ties lower it).
      const double z = std::abs(auc - 0.5) * std::sqrt(12 * own * rest / (own + rest + 1));
      const double limit = property.of_color ? o.color_auc : o.shortcut_auc;
      if (2 * tail(z) * tests > o.level || std::abs(auc - 0.5) < limit - 0.5) continue;
      Best& b = best[property.of_color];
      if (std::abs(auc - 0.5) > std::abs(b.auc - 0.5)) b = {&property, auc};
    }
    for (const Best& b : best) {
      if (!b.property) continue;
      char number[32];
      std::snprintf(number, sizeof number, "%.3f", std::max(b.auc, 1 - b.auc));
      Finding f{FindingKind::shortcut,
                !b.property->of_color,
                str("class '", a.class_names[k], "' is told by its pictures' ", b.property->name, " alone (AUC ",
                    number, b.auc < 0.5 ? ", lower than the others'" : ", higher than the others'", ")"),
                {}};
      a.findings.push_back(std::move(f));
    }
  }
}

void find_outliers(Audit& a) {
  // Median and quartiles do not move with what is looked for. Distributions have heavier tails than the normal one:
  // eight robust deviations, of 14 properties, is what ordinary photographs do not reach.
  constexpr double kFar = 8;
  for (const Property& property : properties()) {
    if (!property.of_color) continue;
    std::vector<double> values;
    for (const AuditPicture& p : a.pictures) {
      if (p.error.empty()) values.push_back(property.value(p));
    }
    if (values.size() < 20) continue;
    std::sort(values.begin(), values.end());
    const double median = values[values.size() / 2];
    const double deviation = (values[values.size() * 3 / 4] - values[values.size() / 4]) / 1.349;
    if (deviation < 1) continue;
    for (std::size_t i = 0; i < a.pictures.size(); ++i) {
      const AuditPicture& p = a.pictures[i];
      if (!p.error.empty() || std::abs(property.value(p) - median) <= kFar * deviation) continue;
      char number[64];
      std::snprintf(number, sizeof number, "%.1f, usually %.1f", property.value(p), median);
      a.findings.push_back(
          {FindingKind::outlier, false, str(p.name, ": ", property.name, " ", number), {static_cast<std::int64_t>(i)}});
    }
  }
}

}  // namespace fovea::insight
