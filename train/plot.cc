// Plots as SVG text.
#include "train/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/error.h"

namespace fovea {
namespace {

constexpr const char* kInk = "#24292f";
constexpr const char* kMuted = "#6e7781";
constexpr const char* kGrid = "#e6e8eb";
// Okabe and Ito's colours, told apart with any colour vision.
constexpr const char* kColors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

std::string number(double v, int digits = 1) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  std::string out = text;
  if (out.find('.') != std::string::npos) {
    while (out.back() == '0') out.pop_back();
    if (out.back() == '.') out.pop_back();
  }
  return out == "-0" ? "0" : out;
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        // Control characters are not allowed in XML at all.
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

/// At most `limit` code points, the last an ellipsis where text was cut; never inside a UTF-8 sequence.
std::string shorten(const std::string& text, std::size_t limit) {
  std::size_t points = 0, cut = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0u) == 0x80u) continue;
    if (++points == limit) cut = i;
  }
  return points <= limit ? text : text.substr(0, cut) + "…";
}

class Svg {
 public:
  Svg(double width, double height) {
    out_ = str("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", number(width), "\" height=\"", number(height),
               "\" viewBox=\"0 0 ", number(width), " ", number(height),
               "\" font-family=\"'DejaVu Sans', Helvetica, Arial, sans-serif\">\n");
    rect(0, 0, width, height, "#ffffff");
  }
  void rect(double x, double y, double w, double h, std::string_view fill, std::string_view more = "") {
    out_ += str("<rect x=\"", number(x, 2), "\" y=\"", number(y, 2), "\" width=\"", number(w, 2), "\" height=\"",
                number(h, 2), "\" fill=\"", fill, "\" ", more, "/>\n");
  }
  void line(double x1, double y1, double x2, double y2, std::string_view color, double width = 1,
            std::string_view more = "") {
    out_ += str("<line x1=\"", number(x1, 2), "\" y1=\"", number(y1, 2), "\" x2=\"", number(x2, 2), "\" y2=\"",
                number(y2, 2), "\" stroke=\"", color, "\" stroke-width=\"", number(width), "\" ", more, "/>\n");
  }
  /// anchor: "start", "middle", "end"; turned: read from below.
  void text(double x, double y, std::string_view content, double size, std::string_view anchor = "start",
            std::string_view color = kInk, double turn = 0, std::string_view more = "") {
    out_ += str("<text x=\"", number(x, 2), "\" y=\"", number(y, 2), "\" font-size=\"", number(size),
                "\" text-anchor=\"", anchor, "\" fill=\"", color, "\" ");
    if (turn != 0) out_ += str("transform=\"rotate(", number(turn), " ", number(x, 2), " ", number(y, 2), ")\" ");
    out_ += str(more, ">", escape(content), "</text>\n");
  }
  void raw(std::string_view content) { out_ += content; }
  std::string finish() { return std::move(out_) + "</svg>\n"; }

 private:
  std::string out_;
};

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

/// White to blue; perceptually near enough to even.
std::string shade(double share) {
  const double t = std::pow(std::clamp(share, 0.0, 1.0), 0.6);
  const auto mix = [t](int from, int to) { return static_cast<int>(std::lround(from + (to - from) * t)); };
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mix(255, 8), mix(255, 81), mix(255, 156));
  return text;
}

}  // namespace

std::string line_plot_svg(const LinePlot& plot) {
  constexpr double kWidth = 720, kHeight = 420, kLeft = 88, kRight = 24, kTop = 62, kBottom = 54;
  constexpr double kInner = kWidth - kLeft - kRight, kInnerHeight = kHeight - kTop - kBottom;
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
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 26, plot.title, 16, "start", kInk, 0, "font-weight=\"bold\"");
  svg.text(kLeft + kInner / 2, kHeight - 14, plot.x_label, 13, "middle", kMuted);
  svg.text(18, kTop + kInnerHeight / 2, plot.y_label, 13, "middle", kMuted, -90);
  if (!(x1 >= x0)) {
    svg.rect(kLeft, kTop, kInner, kInnerHeight, "none", str("stroke=\"", kGrid, "\""));
    svg.text(kLeft + kInner / 2, kTop + kInnerHeight / 2, "no data", 14, "middle", kMuted);
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
  const auto px = [&](double x) { return kLeft + ((plot.log_x ? std::log10(x) : x) - xl) / (xh - xl) * kInner; };
  const auto py = [&](double y) { return kTop + kInnerHeight - (y - ty.low) / (ty.high - ty.low) * kInnerHeight; };

  for (int i = 0; ty.low + i * ty.step <= ty.high + ty.step * 1e-6; ++i) {
    const double v = ty.low + i * ty.step;
    svg.line(kLeft, py(v), kLeft + kInner, py(v), kGrid);
    svg.text(kLeft - 8, py(v) + 4, tick_label(v, ty, plot.percent), 12, "end", kMuted);
  }
  for (int i = 0; tx.low + i * tx.step <= xh + tx.step * 1e-6; ++i) {
    const double v = tx.low + i * tx.step;
    if (v < xl - tx.step * 1e-6) continue;
    const double at = kLeft + (v - xl) / (xh - xl) * kInner;
    svg.line(at, kTop + kInnerHeight, at, kTop + kInnerHeight + 5, kMuted);
    svg.text(at, kTop + kInnerHeight + 20, plot.log_x ? str("1e", std::llround(v)) : tick_label(v, tx, false), 12,
             "middle", kMuted);
  }
  svg.line(kLeft, kTop + kInnerHeight, kLeft + kInner, kTop + kInnerHeight, kMuted);

  svg.raw(str("<clipPath id=\"frame\"><rect x=\"", number(kLeft - 4), "\" y=\"", number(kTop - 4), "\" width=\"",
              number(kInner + 8), "\" height=\"", number(kInnerHeight + 8),
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
    if (at >= kLeft - 1 && at <= kLeft + kInner + 1) {
      svg.line(at, kTop, at, kTop + kInnerHeight, kMuted, 1.2, "stroke-dasharray=\"5 4\"");
      const bool left = at > kLeft + kInner / 2;
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

std::string confusion_svg(const std::vector<std::vector<std::int64_t>>& confusion,
                          const std::vector<std::string>& names) {
  const std::size_t n = confusion.size();
  if (n == 0 || names.size() != n)
    throw Error(ErrorKind::shape, "confusion plot", str(names.size(), " names for ", n, " classes"));
  std::size_t longest = 0;
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < n; ++i) {
    if (confusion[i].size() != n) throw Error(ErrorKind::shape, "confusion plot", "the matrix is not square");
    labels.push_back(shorten(names[i], 20));
    longest = std::max(longest, std::min<std::size_t>(labels.back().size(), 22));
  }
  const bool numbers = n <= 30;
  const auto count = static_cast<double>(n);
  const double cell = numbers ? std::clamp(560 / count, 30.0, 64.0) : std::max(720 / count, 2.0);
  const double font = std::clamp(cell * 0.28, 8.5, 13.0), label_font = std::clamp(cell * 0.4, 4.0, 12.0);
  const bool show_labels = cell >= 7;
  const double margin = show_labels ? 30 + label_font * 0.62 * static_cast<double>(longest) : 30;
  const double top = 56, side = cell * count, width = std::max(margin + side, margin + 370) + 24,
               height = top + side + margin + 8;
  Svg svg(width, height);
  svg.text(margin, 24, "Confusion matrix", 16, "start", kInk, 0, "font-weight=\"bold\"");
  svg.text(margin, 44, "rows: true class, columns: predicted; shade: share of the row", 11, "start", kMuted);
  for (std::size_t i = 0; i < n; ++i) {
    std::int64_t total = 0;
    for (const std::int64_t v : confusion[i]) total += v;
    const double y = top + cell * static_cast<double>(i);
    if (show_labels) {
      svg.text(margin - 8, y + cell / 2 + label_font * 0.35, labels[i], label_font, "end");
      const double x = margin + cell * (static_cast<double>(i) + 0.5);
      svg.text(x + label_font * 0.35, top + side + 10, labels[i], label_font, "end", kInk, -90);
    }
    for (std::size_t j = 0; j < n; ++j) {
      const double share = total > 0 ? static_cast<double>(confusion[i][j]) / static_cast<double>(total) : 0;
      const double x = margin + cell * static_cast<double>(j);
      if (numbers || share > 0) svg.rect(x, y, cell, cell, shade(share), numbers ? str("stroke=\"", kGrid, "\"") : "");
      if (numbers && confusion[i][j] != 0) {
        const std::string text = str(confusion[i][j]);
        const double fit = std::min(font, cell * 0.92 / (0.64 * static_cast<double>(text.size())));
        svg.text(x + cell / 2, y + cell / 2 + fit * 0.36, text, fit, "middle", share > 0.35 ? "#ffffff" : kInk);
      }
    }
  }
  svg.rect(margin, top, side, side, "none", str("stroke=\"", kMuted, "\""));
  return svg.finish();
}

std::string reliability_svg(const std::vector<ReliabilityBin>& bins, double ece) {
  constexpr double kSize = 380, kLeft = 70, kTop = 58, kWidth = kLeft + kSize + 24, kHistogram = 70,
                   kHeight = kTop + kSize + kHistogram + 106;
  Svg svg(kWidth, kHeight);
  svg.text(kLeft, 26, "Reliability", 16, "start", kInk, 0, "font-weight=\"bold\"");
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
