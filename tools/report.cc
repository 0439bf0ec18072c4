#include "tools/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tools/progress.h"

namespace fovea::tools {
namespace {

std::string right(const std::string& text, std::size_t columns) {
  const std::size_t width = text_width(text);
  return std::string(columns > width ? columns - width : 0, ' ') + text;
}

std::string left(const std::string& text, std::size_t columns) {
  const std::size_t width = text_width(text);
  return text + std::string(columns > width ? columns - width : 0, ' ');
}

}  // namespace

std::string number(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string percent(double share, int decimals) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %%", decimals, 100 * share);
  return text;
}

void report_failure(const std::string& file, const Error& error, bool json) {
  if (json) {
    std::printf("%s\n", nlohmann::ordered_json{{"file", file}, {"error", error.what()}}
                            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                            .c_str());
  }
  std::fprintf(stderr, "fovea: %s\n", error.what());
}

std::string class_report(const MetricValues& values, const std::vector<std::string>& names) {
  const auto name = [&](std::size_t k) { return k < names.size() ? names[k] : str("class ", k); };
  std::size_t width = 13;
  for (std::size_t k = 0; k < values.classes.size(); ++k) width = std::max(width, text_width(name(k)));
  width = std::min<std::size_t>(width, 40);
  std::string out = left("class", width) + "  precision   recall       F1  pictures\n";
  const auto row = [&](const std::string& title, double precision, double recall, double f1, std::int64_t support) {
    out += left(title, width) + right(percent(precision, 1), 11) + right(percent(recall, 1), 9) +
           right(percent(f1, 1), 9) + right(std::to_string(support), 10) + "\n";
  };
  for (std::size_t k = 0; k < values.classes.size(); ++k) {
    const ClassScore& c = values.classes[k];
    row(name(k), c.precision, c.recall, c.f1, c.support);
  }
  row("macro mean", values.macro_precision, values.macro_recall, values.macro_f1, values.n);
  struct Pair {
    std::int64_t count;
    std::size_t label, predicted;
  };
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < values.confusion.size(); ++i) {
    for (std::size_t j = 0; j < values.confusion[i].size(); ++j) {
      if (i != j && values.confusion[i][j] > 0) pairs.push_back({values.confusion[i][j], i, j});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.count > b.count; });
  if (!pairs.empty()) out += "most often confused:\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(3, pairs.size()); ++i) {
    out += str("  ", pairs[i].count, " × ", name(pairs[i].label), " taken for ", name(pairs[i].predicted), "\n");
  }
  return out;
}

}  // namespace fovea::tools
