#include "tools/table.h"

#include <algorithm>
#include <cstdio>

#include "tools/progress.h"

namespace fovea::tools {

std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (int i = static_cast<int>(text.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3)
    text.insert(static_cast<std::size_t>(i), " ");
  return text;
}

Table::Table(std::vector<std::string> columns) : columns_(std::move(columns)) {
  for (std::string& name : columns_) {
    right_.push_back(name.ends_with('>'));
    if (right_.back()) name.pop_back();
  }
}

void Table::print() const {
  std::vector<std::size_t> width;
  for (const std::string& name : columns_) width.push_back(text_width(name));
  const auto widen = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size() && i < width.size(); ++i)
      width[i] = std::max(width[i], text_width(cells[i]));
  };
  for (const auto& row : rows_) widen(row);
  widen(total_);
  const auto print_row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string cell = i < cells.size() ? cells[i] : "";
      const std::string space(width[i] - text_width(cell), ' ');
      line += (i ? "  " : "") + (right_[i] ? space + cell : cell + space);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%s\n", line.c_str());
  };
  std::size_t all = 2 * (columns_.size() - 1);
  for (const std::size_t w : width) all += w;
  std::string rule;
  for (std::size_t i = 0; i < all; ++i) rule += "─";
  print_row(columns_);
  std::printf("%s\n", rule.c_str());
  for (const auto& row : rows_) print_row(row);
  if (total_.empty()) return;
  std::printf("%s\n", rule.c_str());
  print_row(total_);
}

}  // namespace fovea::tools
