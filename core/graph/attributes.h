// An op's parameters as named plain values: what a saved model stores and what a listing prints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/export.h"

namespace fovea {

using Attribute = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>>;

/// Ordered (name, value) pairs. Getters throw Error{format} naming the op when a value is missing or of another type:
/// attributes come from files.
class FOVEA_API Attributes {
 public:
  Attributes() = default;

  Attributes& set(std::string name, Attribute value);
  Attributes& set(std::string name, int value) { return set(std::move(name), Attribute(std::int64_t{value})); }
  Attributes& set(std::string name, const char* value) { return set(std::move(name), Attribute(std::string(value))); }

  bool has(std::string_view name) const { return find(name) != nullptr; }
  bool get_bool(std::string_view name) const;
  std::int64_t get_int(std::string_view name) const;
  /// Accepts an integer too.
  double get_double(std::string_view name) const;
  const std::string& get_string(std::string_view name) const;
  const std::vector<std::int64_t>& get_ints(std::string_view name) const;
  std::vector<double> get_doubles(std::string_view name) const;
  /// An integer that fits int and lies in [low, high]; otherwise Error{format}.
  int get_int_in(std::string_view name, int low, int high) const;

  const std::vector<std::pair<std::string, Attribute>>& all() const { return values_; }
  /// "stride=[2, 2], groups=1".
  std::string to_string() const;
  friend bool operator==(const Attributes&, const Attributes&) = default;

 private:
  const Attribute* find(std::string_view name) const;
  std::vector<std::pair<std::string, Attribute>> values_;
};

}  // namespace fovea
