// Internal: HTML text by small pieces. Whatever goes through text(), attribute values and cells is escaped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/metrics.h"

namespace fovea::insight::html {

/// For text and for attribute values in double quotes. Control characters become spaces, bytes that are no UTF-8
/// U+FFFD.
std::string escape(std::string_view text);
/// A name from a file: escaped, and kept apart from the direction of the text around it.
std::string name(std::string_view text);
/// An embedded picture's address.
std::string data_uri(const std::vector<std::uint8_t>& jpeg);

/// "93.1 %", with a space that does not break.
std::string percent(double share, int decimals = 1);
/// "91.0 to 94.8 %".
std::string range(const Interval& interval, int decimals = 1);
/// "0.931"; "–" where it does not exist.
std::string fixed(double value, int decimals = 3);
std::string range_fixed(const Interval& interval, int decimals = 3);
/// "1 234 567" with narrow spaces.
std::string grouped(std::int64_t value);
/// "1 picture", "2 pictures".
std::string count(std::int64_t n, const char* noun);

/// A plot of train/plot.h as part of a page: named for those who cannot see it, recoloured by the page's style sheet,
/// with ids of its own.
std::string figure(const std::string& svg, const std::string& label, const std::string& caption = {});
/// A figure with its interval below it.
std::string stacked(const std::string& value, const std::string& interval);
/// A dot within its interval on a scale from 0 to 1.
std::string interval_bar(double value, const Interval& interval);
/// A share as a bar, 0 to 1.
std::string share_bar(double share);

/// A table that scrolls by itself where the page is narrow. Cells are HTML already.
class Table {
 public:
  /// A column that ends in '>' holds numbers. `caption` is HTML.
  Table(std::string caption, std::vector<std::string> columns);
  /// The first cell is the row's heading.
  void row(const std::vector<std::string>& cells, std::string_view style_class = {});
  /// A row that names those below it.
  void heading(const std::string& text);
  bool empty() const { return rows_ == 0; }
  std::string finish() const;

 private:
  std::string caption_, head_, body_;
  std::vector<bool> numeric_;
  int rows_ = 0;
};

/// The page's style sheet.
std::string style();

}  // namespace fovea::insight::html
