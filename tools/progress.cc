#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fovea::tools {
namespace {

bool utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value && *value) return std::strstr(value, "UTF-8") || std::strstr(value, "utf8");
  }
  return false;
}

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// Cuts a text to a number of columns without cutting a code point.
std::string clip(const std::string& text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) continue;
    if (seen++ == columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

std::size_t text_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string format_duration(double seconds) {
  const auto s = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  char text[32];
  if (s >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
  }
  return text;
}

ProgressBar::ProgressBar(bool enabled)
    : enabled_(enabled), terminal_(isatty(STDERR_FILENO) == 1), unicode_(utf8_locale()) {
  const char* term = std::getenv("TERM");
  if (term && std::strcmp(term, "dumb") == 0) terminal_ = false;
}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::update(const std::string& title, std::int64_t done, std::int64_t total, double eta_seconds,
                         const std::string& detail) {
  if (!enabled_ || !terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && done < total && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double share = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0.0;
  char percent[16];
  std::snprintf(percent, sizeof percent, " %3.0f %%", 100 * share);
  // Where the terminal is narrow the bar shrinks first; then details go, the last ones first.
  constexpr std::size_t kMost = 24, kFew = 8;
  const std::size_t room = terminal_columns() - 1;
  std::vector<std::string> pieces;
  if (eta_seconds >= 0) pieces.push_back(format_duration(eta_seconds) + " left");
  for (std::size_t at = 0; at < detail.size();) {
    const std::size_t end = std::min(detail.find("  ", at), detail.size());
    pieces.push_back(detail.substr(at, end - at));
    at = end + 2;
  }
  std::size_t used = text_width(title) + 1 + std::strlen(percent);
  for (const std::string& piece : pieces) used += 2 + text_width(piece);
  for (; !pieces.empty() && used + kFew > room; pieces.pop_back()) used -= 2 + text_width(pieces.back());
  const auto cells = static_cast<int>(std::min(kMost, room > used ? room - used : 0));
  const int filled = static_cast<int>(share * cells);
  std::string bar;
  for (int i = 0; i < cells; ++i) {
    if (i < filled) {
      bar += unicode_ ? "━" : "#";
    } else if (i == filled && share < 1) {
      bar += unicode_ ? "╸" : ">";
    } else {
      bar += unicode_ ? "─" : ".";
    }
  }
  std::string text = title + " " + bar + percent;
  for (const std::string& piece : pieces) text += "  " + piece;
  std::fprintf(stderr, "\r\x1b[K%s", clip(text, room).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

void ProgressBar::line(const std::string& text) {
  if (!enabled_) return;
  clear();
  std::fprintf(stderr, "%s\n", text.c_str());
}

}  // namespace fovea::tools
