// Numbers and columns as the program prints them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fovea::tools {

/// 1234567 → "1 234 567".
std::string grouped(std::int64_t value);

/// Rows of cells under a heading, columns as wide as their widest cell, numbers to the right.
class Table {
 public:
  /// A name that ends in '>' makes its column right-aligned.
  explicit Table(std::vector<std::string> columns);
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// A last row below a rule.
  void total(std::vector<std::string> cells) { total_ = std::move(cells); }
  /// On standard output, with a rule below the heading.
  void print() const;

 private:
  std::vector<std::string> columns_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> total_;
};

}  // namespace fovea::tools
