// HTML text by small pieces.
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "core/error.h"
#include "insight/report/html_internal.h"
#include "train/svg_internal.h"

namespace fovea::insight::html {
namespace {

/// Length of the well-formed UTF-8 sequence at `i` (no overlong forms, surrogates or values above U+10FFFF); 0: none.
std::size_t sequence(std::string_view t, std::size_t i) {
  const auto byte = [&](std::size_t k) { return k < t.size() ? static_cast<unsigned char>(t[k]) : 0u; };
  const unsigned a = byte(i), b = byte(i + 1);
  const auto tail = [](unsigned v) { return (v & 0xC0u) == 0x80u; };
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return tail(b) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    const bool fine = tail(b) && (a != 0xE0 || b >= 0xA0) && (a != 0xED || b < 0xA0);
    return fine && tail(byte(i + 2)) ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    const bool fine = tail(b) && (a != 0xF0 || b >= 0x90) && (a != 0xF4 || b < 0x90);
    return fine && tail(byte(i + 2)) && tail(byte(i + 3)) ? 4 : 0;
  }
  return 0;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence(text, i);
    const char c = text[i];
    if (length == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
      continue;
    }
    if (length == 1) {
      switch (c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        case '\'': out += "&#39;"; break;
        default: out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
      }
    } else if (length == 2 && static_cast<unsigned char>(c) == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      out += ' ';  // C1 controls
    } else {
      out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

std::string name(std::string_view text) { return str("<bdi>", escape(text), "</bdi>"); }

std::string data_uri(const std::vector<std::uint8_t>& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3), '\0');  // and the zero behind a string, which EVP_EncodeBlock writes
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(), static_cast<int>(bytes.size()));
  return "data:image/jpeg;base64," + text;
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string percent(double share, int decimals) {
  return std::isfinite(share) ? fixed(100 * share, decimals) + "\u00a0%" : "–";
}

std::string range(const Interval& i, int decimals) {
  if (!std::isfinite(i.low) || !std::isfinite(i.high)) return "–";
  return str(fixed(100 * i.low, decimals), " to ", percent(i.high, decimals));
}

std::string range_fixed(const Interval& i, int decimals) {
  if (!std::isfinite(i.low) || !std::isfinite(i.high)) return "–";
  return str(fixed(i.low, decimals), " to ", fixed(i.high, decimals));
}

std::string grouped(std::int64_t value) {
  const std::string digits = std::to_string(value < 0 ? -value : value);
  std::string out = value < 0 ? "−" : "";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += "\u202f";
    out += digits[i];
  }
  return out;
}

std::string count(std::int64_t n, const char* noun) { return str(grouped(n), " ", noun, n == 1 ? "" : "s"); }

std::string figure(const std::string& svg, const std::string& label, const std::string& caption) {
  // Ids are the page's: each plot's clip path gets a name of its own. It follows from the plot alone, so that the same
  // report gives the same page.
  std::string plot = svg;
  char id[24];
  std::snprintf(id, sizeof id, "c%zx", std::hash<std::string>{}(svg));
  replace_all(plot, "id=\"frame\"", str("id=\"", id, "\""));
  replace_all(plot, "url(#frame)", str("url(#", id, ")"));
  const std::string_view open = "<svg ";
  if (plot.rfind(open, 0) == 0)
    plot.replace(0, open.size(), str("<svg class=\"plot\" role=\"img\" aria-label=\"", escape(label), "\" "));
  return str("<figure>", plot, caption.empty() ? "" : str("<figcaption>", caption, "</figcaption>"), "</figure>\n");
}

std::string stacked(const std::string& value, const std::string& interval) {
  return interval.empty() || interval == "–" ? value : str(value, "<small class=\"i\">", interval, "</small>");
}

std::string interval_bar(double value, const Interval& i) {
  if (!std::isfinite(value)) return {};
  const auto x = [](double v) { return svg::number(4 + 92 * std::clamp(v, 0.0, 1.0), 1); };
  return str(
      "<svg class=\"bar\" aria-hidden=\"true\" width=\"100\" height=\"14\" viewBox=\"0 0 100 14\"><line class=\"rail\" "
      "x1=\"4\" y1=\"7\" x2=\"96\" y2=\"7\"/><line class=\"span\" x1=\"",
      x(i.low), "\" y1=\"7\" x2=\"", x(i.high), "\" y2=\"7\"/><circle cx=\"", x(value), "\" cy=\"7\" r=\"4\"/></svg>");
}

std::string share_bar(double share) {
  return str(
      "<svg class=\"bar\" aria-hidden=\"true\" width=\"100\" height=\"14\" viewBox=\"0 0 100 14\"><rect class=\"rail\" "
      "x=\"0\" y=\"4\" width=\"100\" height=\"6\" rx=\"3\"/><rect class=\"fill\" x=\"0\" y=\"4\" width=\"",
      svg::number(100 * std::clamp(std::isfinite(share) ? share : 0.0, 0.0, 1.0), 1),
      "\" height=\"6\" rx=\"3\"/></svg>");
}

Table::Table(std::string caption, std::vector<std::string> columns) : caption_(std::move(caption)) {
  for (std::string& c : columns) {
    numeric_.push_back(!c.empty() && c.back() == '>');
    if (numeric_.back()) c.pop_back();
    head_ += str("<th scope=\"col\"", numeric_.back() ? " class=\"n\"" : "", ">", c, "</th>");
  }
}

void Table::row(const std::vector<std::string>& cells, std::string_view style_class) {
  ++rows_;
  body_ += style_class.empty() ? "<tr>" : str("<tr class=\"", style_class, "\">");
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const char* type = i < numeric_.size() && numeric_[i] ? " class=\"n\"" : "";
    body_ += i == 0 ? str("<th scope=\"row\"", type, ">", cells[i], "</th>") : str("<td", type, ">", cells[i], "</td>");
  }
  body_ += "</tr>\n";
}

void Table::heading(const std::string& text) {
  body_ += str("<tr class=\"part\"><th scope=\"rowgroup\" colspan=\"", numeric_.size(), "\">", text, "</th></tr>\n");
}

std::string Table::finish() const {
  // Regions that scroll can be reached by the keyboard and are announced by their caption.
  std::string label;
  bool tag = false;
  for (const char c : caption_) {
    if (c == '<') tag = true;
    if (!tag) label += c;
    if (c == '>') tag = false;
  }
  return str("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"", label, "\"><table><caption>",
             caption_, "</caption><thead><tr>", head_, "</tr></thead>\n<tbody>", body_, "</tbody></table></div>\n");
}

}  // namespace fovea::insight::html
