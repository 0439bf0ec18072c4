// SVG text by small pieces.
#include "train/svg_internal.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/error.h"

namespace fovea::svg {
namespace {

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

}  // namespace

std::string number(double v, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  std::string out = text;
  if (out.find('.') != std::string::npos) {
    while (out.back() == '0') out.pop_back();
    if (out.back() == '.') out.pop_back();
  }
  return out == "-0" ? "0" : out;
}

std::string shorten(const std::string& text, std::size_t limit) {
  std::size_t points = 0, cut = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0u) == 0x80u) continue;
    if (++points == limit) cut = i;
  }
  return points <= limit ? text : text.substr(0, cut) + "…";
}

std::string shade(double share) {
  const double t = std::pow(std::clamp(share, 0.0, 1.0), 0.6);
  const auto mix = [t](int from, int to) { return static_cast<int>(std::lround(from + (to - from) * t)); };
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mix(255, 8), mix(255, 81), mix(255, 156));
  return text;
}

Svg::Svg(double width, double height) {
  out_ = str("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", number(width), "\" height=\"", number(height),
             "\" viewBox=\"0 0 ", number(width), " ", number(height),
             "\" font-family=\"'DejaVu Sans', Helvetica, Arial, sans-serif\">\n");
  rect(0, 0, width, height, "#ffffff");
}

void Svg::rect(double x, double y, double w, double h, std::string_view fill, std::string_view more) {
  out_ += str("<rect x=\"", number(x, 2), "\" y=\"", number(y, 2), "\" width=\"", number(w, 2), "\" height=\"",
              number(h, 2), "\" fill=\"", fill, "\" ", more, "/>\n");
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view color, double width,
               std::string_view more) {
  out_ += str("<line x1=\"", number(x1, 2), "\" y1=\"", number(y1, 2), "\" x2=\"", number(x2, 2), "\" y2=\"",
              number(y2, 2), "\" stroke=\"", color, "\" stroke-width=\"", number(width), "\" ", more, "/>\n");
}

void Svg::text(double x, double y, std::string_view content, double size, std::string_view anchor,
               std::string_view color, double turn, std::string_view more) {
  out_ += str("<text x=\"", number(x, 2), "\" y=\"", number(y, 2), "\" font-size=\"", number(size), "\" text-anchor=\"",
              anchor, "\" fill=\"", color, "\" ");
  if (turn != 0) out_ += str("transform=\"rotate(", number(turn), " ", number(x, 2), " ", number(y, 2), ")\" ");
  out_ += str(more, ">", escape(content), "</text>\n");
}

}  // namespace fovea::svg
