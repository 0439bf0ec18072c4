// Reliability diagrams as SVG text.
#include <algorithm>
#include <utility>

#include "core/error.h"
#include "train/plot.h"
#include "train/svg_internal.h"

namespace fovea {

using namespace svg;

std::string reliability_svg(const std::vector<ReliabilityBin>& bins, double ece, const std::string& title) {
  constexpr double kSize = 380, kLeft = 70, kTop = 58, kWidth = kLeft + kSize + 24, kHistogram = 70,
                   kHeight = kTop + kSize + kHistogram + 106;
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 26, title, 16, "start", kInk, 0, "font-weight=\"bold\"");
  svg.text(kLeft, 46, str("expected calibration error ", number(100 * ece, 2), " %"), 12, "start", kMuted);
  const auto px = [&](double v) { return kLeft + v * kSize; };
  const auto py = [&](double v) { return kTop + (1 - v) * kSize; };
  std::int64_t largest = 1;
  for (const ReliabilityBin& b : bins) largest = std::max(largest, b.count);
  for (int i = 0; i <= 5; ++i) {
    const double v = i / 5.0;
    svg.line(kLeft, py(v), kLeft + kSize, py(v), kGrid);
    svg.text(kLeft - 8, py(v) + 4, number(v * 100) + " %", 12, "end", kMuted);
  }
  for (const ReliabilityBin& b : bins) {
    if (b.count == 0) continue;
    const double x = px(b.low) + 1, w = px(b.high) - px(b.low) - 2;
    // The gap between what was promised (confidence) and what was kept (accuracy).
    const double high = std::max(b.accuracy, b.confidence), low = std::min(b.accuracy, b.confidence);
    svg.rect(x, py(low), w, py(0) - py(low), kColors[0]);
    svg.rect(x, py(high), w, py(low) - py(high), b.accuracy > b.confidence ? kColors[5] : kColors[4]);
  }
  svg.line(px(0), py(0), px(1), py(1), kMuted, 1.2, "stroke-dasharray=\"5 4\"");
  svg.text(18, kTop + kSize / 2, "accuracy", 13, "middle", kMuted, -90);
  const double base = kTop + kSize + 14 + kHistogram;
  for (const ReliabilityBin& b : bins) {
    const double h = kHistogram * static_cast<double>(b.count) / static_cast<double>(largest);
    svg.rect(px(b.low) + 1, base - h, px(b.high) - px(b.low) - 2, h, "#afb8c1");
  }
  svg.line(kLeft, py(0), kLeft + kSize, py(0), kMuted);
  svg.line(kLeft, base, kLeft + kSize, base, kMuted);
  svg.text(kLeft - 8, base - kHistogram + 8, str(largest), 11, "end", kMuted);
  svg.text(18, base - kHistogram / 2, "pictures", 12, "middle", kMuted, -90);
  for (int i = 0; i <= 5; ++i) svg.text(px(i / 5.0), base + 18, number(i * 20.0) + " %", 12, "middle", kMuted);
  svg.text(kLeft + kSize / 2, base + 40, "confidence", 13, "middle", kMuted);
  // Below the plot: inside, bars of confident models would run into it.
  const std::pair<const char*, const char*> legend[] = {
      {kColors[0], "accuracy"}, {kColors[4], "overconfident by"}, {kColors[5], "underconfident by"}};
  double at = kLeft;
  for (const auto& [color, name] : legend) {
    svg.rect(at, base + 58, 12, 12, color);
    svg.text(at + 18, base + 68, name, 12);
    at += 44 + 7 * static_cast<double>(std::string_view(name).size());
  }
  return svg.finish();
}

}  // namespace fovea
