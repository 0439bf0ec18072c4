// Curves over an x axis as SVG text.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/error.h"
#include "train/plot.h"
#include "train/svg_internal.h"

namespace fovea {

using namespace svg;

namespace {

/// Round numbers (1, 2, 5 × 10ⁿ) that cover a range with about `wanted` steps.
struct Ticks {
  double low, high, step;
  int digits;
};

Ticks ticks_of(double low, double high, int wanted, bool whole) {
  if (!(high > low)) {
    const double pad = low == 0 ? 1 : std::abs(low) * 0.5;
    low -= pad;
    high += pad;
  }
  const double raw = (high - low) / wanted, power = std::pow(10, std::floor(std::log10(raw)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (step >= raw * 0.999) break;
  }
  if (whole) step = std::max(1.0, std::round(step));
  const int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step, digits};
}

std::string tick_label(double v, const Ticks& t, bool percent) {
  if (percent) return number(v * 100, std::max(0, t.digits - 2)) + " %";
  const double largest = std::max(std::abs(t.low), std::abs(t.high));
  if (v != 0 && (largest < 1e-3 || largest >= 1e6)) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", v);
    return text;
  }
  return number(v, t.digits);
}

}  // namespace

std::string line_plot_svg(const LinePlot& plot) {
  constexpr double kLeft = 88, kRight = 24, kTop = 62, kBottom = 54;
  const double width = std::max(plot.width, 200.0), height = std::max(plot.height, 160.0);
  const double inner = width - kLeft - kRight, inner_height = height - kTop - kBottom;
  double x0 = std::numeric_limits<double>::infinity(), x1 = -x0, y0 = x0, y1 = -x0;
  const auto usable = [&](double x, double y) {
    return std::isfinite(x) && std::isfinite(y) && (!plot.log_x || x > 0);
  };
  for (const Series& s : plot.series) {
    if (s.x.size() != s.y.size())
      throw Error(ErrorKind::shape, "plot",
                  str("series '", s.name, "' has ", s.x.size(), " x and ", s.y.size(), " y values"));
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!usable(s.x[i], s.y[i])) continue;
      const double x = plot.log_x ? std::log10(s.x[i]) : s.x[i];
      x0 = std::min(x0, x);
      x1 = std::max(x1, x);
      y0 = std::min(y0, s.y[i]);
      y1 = std::max(y1, s.y[i]);
    }
  }
  Svg svg(width, height);
  svg.text(kLeft, 26, plot.title, 16, "start", kInk, 0, "font-weight=\"bold\"");
  svg.text(kLeft + inner / 2, height - 14, plot.x_label, 13, "middle", kMuted);
  svg.text(18, kTop + inner_height / 2, plot.y_label, 13, "middle", kMuted, -90);
  if (!(x1 >= x0)) {
    svg.rect(kLeft, kTop, inner, inner_height, "none", str("stroke=\"", kGrid, "\""));
    svg.text(kLeft + inner / 2, kTop + inner_height / 2, "no data", 14, "middle", kMuted);
    return svg.finish();
  }
  if (plot.from_zero) y0 = std::min(y0, 0.0);
  Ticks ty = ticks_of(y0, y1, 6, false);
  // Shares end at 100 %.
  if (plot.percent && y1 <= 1) ty.high = std::min(ty.high, 1.0);
  const Ticks tx =
      plot.log_x ? Ticks{std::floor(x0 + 1e-9), std::ceil(x1 - 1e-9), 1, 0} : ticks_of(x0, x1, 8, plot.whole_x);
  // The x axis ends with the data, so that curves fill the frame.
  const double xl = x1 > x0 ? x0 : tx.low, xh = x1 > x0 ? x1 : tx.high;
  const auto px = [&](double x) { return kLeft + ((plot.log_x ? std::log10(x) : x) - xl) / (xh - xl) * inner; };
  const auto py = [&](double y) { return kTop + inner_height - (y - ty.low) / (ty.high - ty.low) * inner_height; };

  for (int i = 0; ty.low + i * ty.step <= ty.high + ty.step * 1e-6; ++i) {
    const double v = ty.low + i * ty.step;
    svg.line(kLeft, py(v), kLeft + inner, py(v), kGrid);
    svg.text(kLeft - 8, py(v) + 4, tick_label(v, ty, plot.percent), 12, "end", kMuted);
  }
  for (int i = 0; tx.low + i * tx.step <= xh + tx.step * 1e-6; ++i) {
    const double v = tx.low + i * tx.step;
    if (v < xl - tx.step * 1e-6) continue;
    const double at = kLeft + (v - xl) / (xh - xl) * inner;
    svg.line(at, kTop + inner_height, at, kTop + inner_height + 5, kMuted);
    svg.text(at, kTop + inner_height + 20, plot.log_x ? str("1e", std::llround(v)) : tick_label(v, tx, false), 12,
             "middle", kMuted);
  }
  svg.line(kLeft, kTop + inner_height, kLeft + inner, kTop + inner_height, kMuted);

  svg.raw(str("<clipPath id=\"frame\"><rect x=\"", number(kLeft - 4), "\" y=\"", number(kTop - 4), "\" width=\"",
              number(inner + 8), "\" height=\"", number(inner_height + 8),
              "\"/></clipPath>\n<g clip-path=\"url(#frame)\" fill=\"none\" stroke-linejoin=\"round\" "
              "stroke-linecap=\"round\">\n"));
  for (const bool faint : {true, false}) {
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
      const Series& s = plot.series[i];
      if (s.faint != faint) continue;
      const char* color = kColors[i % std::size(kColors)];
      std::string path;
      bool pen_down = false;
      std::size_t points = 0;
      for (std::size_t k = 0; k < s.x.size(); ++k) {
        if (!usable(s.x[k], s.y[k])) {
          pen_down = false;
          continue;
        }
        path += str(pen_down ? "L" : "M", number(px(s.x[k])), " ", number(py(s.y[k])), " ");
        pen_down = true;
        ++points;
      }
      svg.raw(str("<path d=\"", path, "\" stroke=\"", color, "\" stroke-width=\"", faint ? "1" : "2.2", "\"",
                  faint ? " stroke-opacity=\"0.35\"" : "", "/>\n"));
      // Few points are seen as such; a single one would otherwise be invisible.
      if (points <= 40 && !faint) {
        for (std::size_t k = 0; k < s.x.size(); ++k) {
          if (usable(s.x[k], s.y[k]))
            svg.raw(str("<circle cx=\"", number(px(s.x[k])), "\" cy=\"", number(py(s.y[k])), "\" r=\"3\" fill=\"",
                        color, "\"/>\n"));
        }
      }
    }
  }
  svg.raw("</g>\n");
  if (!plot.mark_label.empty() && std::isfinite(plot.mark_x) && (!plot.log_x || plot.mark_x > 0)) {
    const double at = px(plot.mark_x);
    if (at >= kLeft - 1 && at <= kLeft + inner + 1) {
      svg.line(at, kTop, at, kTop + inner_height, kMuted, 1.2, "stroke-dasharray=\"5 4\"");
      const bool left = at > kLeft + inner / 2;
      svg.text(at + (left ? -6 : 6), kTop + 14, plot.mark_label, 12, left ? "end" : "start", kMuted);
    }
  }
  // Legend in one row under the title.
  double at = kLeft;
  for (std::size_t i = 0; i < plot.series.size() && plot.series.size() > 1; ++i) {
    const Series& s = plot.series[i];
    const std::string name = shorten(s.name, 28);
    svg.line(at, 44, at + 20, 44, kColors[i % std::size(kColors)], s.faint ? 1.2 : 2.6,
             s.faint ? "stroke-opacity=\"0.5\"" : "");
    svg.text(at + 26, 48, name, 12, "start", kInk);
    at += 26 + 7.2 * static_cast<double>(name.size()) + 22;
  }
  return svg.finish();
}

}  // namespace fovea
