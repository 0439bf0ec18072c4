// Confusion matrices as SVG text.
#include <algorithm>

#include "core/error.h"
#include "train/plot.h"
#include "train/svg_internal.h"

namespace fovea {

using namespace svg;

namespace {

constexpr std::string_view kConfusionNote = "rows: true class, columns: predicted; shade: share of the row";

}  // namespace

std::string confusion_svg(const std::vector<std::vector<std::int64_t>>& confusion,
                          const std::vector<std::string>& names, const ConfusionPlot& plot) {
  const std::size_t rows = confusion.size();
  const std::vector<std::string>& column_names = plot.columns.empty() ? names : plot.columns;
  const std::size_t columns = column_names.size();
  if (rows == 0 || columns == 0 || names.size() != rows)
    throw Error(ErrorKind::shape, "confusion plot", str(names.size(), " names for ", rows, " classes"));
  const auto fits = [&](const auto& matrix) {
    return matrix.size() == rows &&
           std::all_of(matrix.begin(), matrix.end(), [&](const auto& row) { return row.size() == columns; });
  };
  if (!fits(confusion) || (!plot.costs.empty() && !fits(plot.costs)))
    throw Error(ErrorKind::shape, "confusion plot", str("counts and costs must be ", rows, " x ", columns));
  std::size_t longest = 0;
  const auto label = [&](const std::string& name) {
    const std::string text = shorten(name, 20);
    longest = std::max(longest, std::min<std::size_t>(text.size(), 22));
    return text;
  };
  std::vector<std::string> row_labels, column_labels;
  for (const std::string& name : names) row_labels.push_back(label(name));
  for (const std::string& name : column_names) column_labels.push_back(label(name));
  const std::size_t most = std::max(rows, columns);
  const bool numbers = most <= 30, costs = !plot.costs.empty();
  const auto count = static_cast<double>(most);
  const double cell = numbers ? std::clamp(560 / count, 30.0, costs ? 96.0 : 64.0) : std::max(720 / count, 2.0);
  const double font = std::clamp(cell * 0.28, 8.5, 13.0), label_font = std::clamp(cell * 0.4, 4.0, 12.0);
  const bool show_labels = cell >= 7;
  const double margin = show_labels ? 30 + label_font * 0.62 * static_cast<double>(longest) : 30;
  // Few short names stand upright below their columns; others are turned.
  const bool upright = label_font * 0.62 * static_cast<double>(longest) < cell - 4;
  const double top = 56, wide = cell * static_cast<double>(columns), high = cell * static_cast<double>(rows),
               width = margin + std::max(wide, 6.1 * static_cast<double>(kConfusionNote.size())) + 24,
               height = top + high + (upright ? 38 : margin - 8);
  Svg svg(width, height);
  svg.title(margin, 24, plot.title);
  svg.text(margin, 44, kConfusionNote, 11, "start", kMuted);
  for (std::size_t j = 0; show_labels && j < columns; ++j) {
    const double x = margin + cell * (static_cast<double>(j) + 0.5);
    if (upright) {
      svg.text(x, top + high + 18, column_labels[j], label_font, "middle");
    } else {
      svg.text(x + label_font * 0.35, top + high + 10, column_labels[j], label_font, "end", kInk, -90);
    }
  }
  for (std::size_t i = 0; i < rows; ++i) {
    std::int64_t total = 0;
    for (const std::int64_t v : confusion[i]) total += v;
    const double y = top + cell * static_cast<double>(i);
    if (show_labels) svg.text(margin - 8, y + cell / 2 + label_font * 0.35, row_labels[i], label_font, "end");
    for (std::size_t j = 0; j < columns; ++j) {
      const double share = total > 0 ? static_cast<double>(confusion[i][j]) / static_cast<double>(total) : 0;
      const double x = margin + cell * static_cast<double>(j);
      if (numbers || share > 0) svg.rect(x, y, cell, cell, shade(share), numbers ? str("stroke=\"", kGrid, "\"") : "");
      if (!numbers || (confusion[i][j] == 0 && !costs)) continue;
      const auto write = [&](const std::string& text, double size, double below) {
        const double fit = std::min(size, cell * 0.92 / (0.64 * static_cast<double>(text.size())));
        svg.text(x + cell / 2, y + cell / 2 + fit * 0.36 + below, text, fit, "middle", share > 0.35 ? "#ffffff" : kInk);
      };
      const bool costly = costs && plot.costs[i][j] != 0;
      write(str(confusion[i][j]), font, costly ? -cell * 0.1 : 0);
      if (costly) {
        write("cost " + number(plot.costs[i][j] * static_cast<double>(confusion[i][j])), font * 0.85, cell * 0.16);
      }
    }
  }
  svg.rect(margin, top, wide, high, "none", str("stroke=\"", kMuted, "\""));
  return svg.finish();
}

}  // namespace fovea
