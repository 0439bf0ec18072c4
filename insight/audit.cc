#include "insight/audit.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "image/resize.h"
#include "insight/audit_internal.h"

namespace fovea::insight {
namespace {

constexpr std::string_view kKinds[] = {"corrupt",  "missing", "tiny",       "imbalance", "duplicate",
                                       "conflict", "leak",    "group_leak", "shortcut",  "outlier"};

/// Rows and columns of one value at the edges, of the shorter side. Two grey levels are JPEG's noise.
double border_of(const image::Image& grey) {
  const int shorter = std::min(grey.width, grey.height);
  const auto uniform = [&](bool row, int at, int value) {
    for (int i = 0; i < (row ? grey.width : grey.height); ++i) {
      if (std::abs((row ? grey.at(i, at) : grey.at(at, i)) - value) > 2) return false;
    }
    return true;
  };
  int total = 0;
  for (const bool row : {true, false}) {
    const int length = row ? grey.height : grey.width;
    for (const bool last : {false, true}) {
      int n = 0;
      const auto index = [&](int i) { return last ? length - 1 - i : i; };
      const int value = row ? grey.at(0, index(0)) : grey.at(index(0), 0);
      while (n < length / 2 && uniform(row, index(n), value)) ++n;
      total += n;
    }
  }
  return std::min(1.0, static_cast<double>(total) / std::max(1, shorter));
}

double sharpness_of(const image::Image& grey) {
  image::Image g = grey;
  if (std::min(g.width, g.height) > 256) g = image::resize_shorter_side(g, 256);
  double sum = 0;
  for (int y = 1; y + 1 < g.height; ++y) {
    for (int x = 1; x + 1 < g.width; ++x)
      sum += std::abs(4 * g.at(x, y) - g.at(x - 1, y) - g.at(x + 1, y) - g.at(x, y - 1) - g.at(x, y + 1));
  }
  return sum / std::max(1, (g.width - 2) * (g.height - 2));
}

void measure(const image::Image& picture, AuditPicture& out) {
  out.width = picture.width;
  out.height = picture.height;
  out.channels = picture.channels;
  const image::Image grey = image::to_grey(picture), rgb = image::to_rgb(picture);
  double sum = 0, squares = 0, mean[3] = {0, 0, 0}, saturation = 0;
  for (const std::uint8_t v : grey.pixels) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const auto n = static_cast<double>(grey.pixels.size());
  for (std::size_t p = 0; p < rgb.pixels.size(); p += 3) {
    const std::uint8_t* c = rgb.pixels.data() + p;
    for (int k = 0; k < 3; ++k) mean[k] += c[k] / n;
    saturation += (std::max({c[0], c[1], c[2]}) - std::min({c[0], c[1], c[2]})) / n;
  }
  out.brightness = sum / n;
  out.contrast = std::sqrt(std::max(0.0, squares / n - out.brightness * out.brightness));
  out.sharpness = sharpness_of(grey);
  out.saturation = saturation;
  out.border = border_of(grey);
  out.red = mean[0];
  out.green = mean[1];
  out.blue = mean[2];
}

void balance(Audit& a, const AuditOptions& o) {
  const std::size_t classes = a.class_names.size();
  std::vector<std::int64_t> all(classes, 0);
  for (const auto& part : a.counts) {
    for (std::size_t k = 0; k < classes; ++k) all[k] += part[k];
  }
  double total = 0, entropy = 0;
  for (const std::int64_t n : all) total += static_cast<double>(n);
  for (const std::int64_t n : all) {
    if (n > 0) entropy -= static_cast<double>(n) / total * std::log(static_cast<double>(n) / total);
  }
  a.effective_classes = total > 0 ? std::exp(entropy) : 0;
  for (std::size_t k = 0; k < classes; ++k) {
    for (std::size_t p = 0; p < a.parts.size(); ++p) {
      if (a.counts[p][k] == 0) {
        a.findings.push_back({FindingKind::missing,
                              true,
                              str("class '", a.class_names[k], "' has no picture",
                                  a.parts[p].empty() ? std::string() : str(" in ", a.parts[p])),
                              {}});
      }
    }
    if (all[k] == 0 || all[k] >= o.tiny_class) continue;
    Finding f{FindingKind::tiny,
              true,
              str("class '", a.class_names[k], "' has only ", all[k], all[k] == 1 ? " picture" : " pictures"),
              {}};
    for (std::size_t i = 0; i < a.pictures.size(); ++i) {
      if (a.pictures[i].label == static_cast<std::int64_t>(k)) f.pictures.push_back(static_cast<std::int64_t>(i));
    }
    a.findings.push_back(std::move(f));
  }
  std::int64_t least = 0, most = 0;
  for (const std::int64_t n : all) {
    if (n == 0) continue;
    least = least == 0 ? n : std::min(least, n);
    most = std::max(most, n);
  }
  if (least > 0 && static_cast<double>(most) >= o.imbalance * static_cast<double>(least)) {
    a.findings.push_back({FindingKind::imbalance,
                          false,
                          str("the largest class has ", most, " pictures, the smallest ", least,
                              ": weigh classes (fovea train --balance) and read recall, not accuracy"),
                          {}});
  }
}

void copies(Audit& a) {
  for (const DuplicatePair& d : a.duplicates) {
    const AuditPicture& x = a.pictures[static_cast<std::size_t>(d.a)];
    const AuditPicture& y = a.pictures[static_cast<std::size_t>(d.b)];
    const std::string pair =
        str(x.name, " and ", y.name, d.exact ? " are the same picture" : " are nearly the same picture");
    const auto add = [&](FindingKind kind, bool serious, const std::string& more) {
      a.findings.push_back({kind, serious, pair + more, {d.a, d.b}});
    };
    if (x.part != y.part) add(FindingKind::leak, true, str(", in ", x.part, " and in ", y.part));
    if (x.label != y.label) {
      add(FindingKind::conflict, true,
          str(", as '", a.class_names[static_cast<std::size_t>(x.label)], "' and as '",
              a.class_names[static_cast<std::size_t>(y.label)], "'"));
    }
    if (x.part == y.part && x.label == y.label) add(FindingKind::duplicate, false, "");
  }
  std::map<std::string, std::map<std::string, std::vector<std::int64_t>>> groups;
  for (std::size_t i = 0; i < a.pictures.size(); ++i) {
    if (!a.pictures[i].group.empty())
      groups[a.pictures[i].group][a.pictures[i].part].push_back(static_cast<std::int64_t>(i));
  }
  for (const auto& [group, parts] : groups) {
    if (parts.size() < 2) continue;
    Finding f{FindingKind::group_leak, true, str("group '", group, "' is in ", parts.size(), " parts"), {}};
    for (const auto& [part, pictures] : parts) f.pictures.insert(f.pictures.end(), pictures.begin(), pictures.end());
    a.findings.push_back(std::move(f));
  }
}

}  // namespace

std::string_view to_string(FindingKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

std::int64_t Audit::count(FindingKind kind) const {
  return std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.kind == kind; });
}

Audit audit(const std::vector<std::pair<std::string, DatasetPtr>>& parts, const AuditOptions& o) {
  if (parts.empty()) throw Error(ErrorKind::usage, "audit", "there is no data");
  Audit a;
  struct Item {
    const Dataset* data;
    std::int64_t index;
  };
  std::vector<Item> items;
  for (const auto& [name, data] : parts) {
    if (!data) throw Error(ErrorKind::usage, "audit", str("part '", name, "' is empty"));
    if (a.parts.empty()) a.class_names = data->class_names();
    if (data->class_names() != a.class_names)
      throw Error(ErrorKind::usage, "audit", str("part '", name, "' has other classes than the first"));
    a.parts.push_back(name);
    for (std::int64_t i = 0; i < data->size(); ++i) {
      items.push_back({data.get(), i});
      a.pictures.push_back({data->name(i), name, data->group(i), data->label(i)});
    }
  }
  std::vector<Fingerprint> prints(items.size());
  // Some at a time, so that progress and Ctrl-C come through.
  constexpr std::int64_t kBlock = 256;
  const auto total = static_cast<std::int64_t>(items.size());
  for (std::int64_t block = 0; block < total; block += kBlock) {
    if (o.cancel && o.cancel->requested()) throw Error(ErrorKind::cancelled, "audit", "stopped");
    if (o.on_progress) o.on_progress(block, total);
    parallel_for(std::min(kBlock, total - block), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = block + begin; i < block + end; ++i) {
        AuditPicture& p = a.pictures[static_cast<std::size_t>(i)];
        const Item& item = items[static_cast<std::size_t>(i)];
        try {
          const image::Image picture = item.data->image(item.index);
          measure(picture, p);
          prints[static_cast<std::size_t>(i)] = fingerprint(picture);
        } catch (const Error& e) {
          p.error = e.what();
        }
      }
    });
  }
  if (o.on_progress) o.on_progress(total, total);
  a.counts.assign(a.parts.size(), std::vector<std::int64_t>(a.class_names.size(), 0));
  for (std::size_t i = 0; i < a.pictures.size(); ++i) {
    const AuditPicture& p = a.pictures[i];
    if (!p.error.empty()) {
      a.findings.push_back({FindingKind::corrupt, true, p.error, {static_cast<std::int64_t>(i)}});
      continue;
    }
    const auto part = static_cast<std::size_t>(std::find(a.parts.begin(), a.parts.end(), p.part) - a.parts.begin());
    ++a.counts[part][static_cast<std::size_t>(p.label)];
  }
  balance(a, o);
  a.duplicates = find_duplicates(prints);
  copies(a);
  find_shortcuts(a, o);
  find_outliers(a);
  std::stable_sort(a.findings.begin(), a.findings.end(), [](const Finding& x, const Finding& y) {
    return x.serious != y.serious ? x.serious : x.kind < y.kind;
  });
  return a;
}

std::string Audit::to_json() const {
  using nlohmann::ordered_json;
  ordered_json out{
      {"classes", class_names}, {"parts", parts}, {"counts", counts}, {"effective_classes", effective_classes}};
  ordered_json& list = out["findings"] = ordered_json::array();
  for (const Finding& f : findings) {
    ordered_json names = ordered_json::array();
    for (const std::int64_t i : f.pictures) names.push_back(pictures[static_cast<std::size_t>(i)].name);
    list.push_back({{"kind", std::string(insight::to_string(f.kind))},
                    {"serious", f.serious},
                    {"text", f.text},
                    {"pictures", names}});
  }
  ordered_json& statistics = out["statistics"] = ordered_json::array();
  for (std::size_t k = 0; k < class_names.size(); ++k) {
    ordered_json row{{"class", class_names[k]}};
    for (const Property& property : properties()) {
      double n = 0, sum = 0, squares = 0;
      for (const AuditPicture& p : pictures) {
        if (!p.error.empty() || p.label != static_cast<std::int64_t>(k)) continue;
        const double v = property.value(p);
        n += 1;
        sum += v;
        squares += v * v;
      }
      if (n > 0)
        row[property.name] = {{"mean", sum / n},
                              {"deviation", std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)))}};
    }
    statistics.push_back(std::move(row));
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace fovea::insight
