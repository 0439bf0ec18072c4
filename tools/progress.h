// The progress bar: one line redrawn in place on a terminal, nothing but whole lines when piped.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace fovea::tools {

/// Draws on standard error, so that standard output holds results only.
class ProgressBar {
 public:
  /// @param enabled false draws nothing (--quiet)
  explicit ProgressBar(bool enabled);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws at most ten times a second: "title ━━━━━╸──── 54 %  detail". `done` of `total`, remaining time from
  /// `eta_seconds` (negative: unknown).
  void update(const std::string& title, std::int64_t done, std::int64_t total, double eta_seconds,
              const std::string& detail);
  /// Removes the bar, prints a line in its place. Also when not on a terminal.
  void line(const std::string& text);
  /// Removes the bar.
  void clear();

 private:
  bool enabled_;
  bool terminal_;
  bool unicode_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// "0:07", "12:34", "1:02:03".
std::string format_duration(double seconds);
/// Width in columns, counting UTF-8 code points.
std::size_t text_width(const std::string& text);

}  // namespace fovea::tools
