#include "core/graph/attributes.h"

#include "core/error.h"

namespace fovea {
namespace {

template <class T>
const T& expect(const Attribute* value, std::string_view name, const char* type) {
  if (!value) throw Error(ErrorKind::format, "attributes", str("attribute '", name, "' is missing"));
  const T* typed = std::get_if<T>(value);
  if (!typed) throw Error(ErrorKind::format, "attributes", str("attribute '", name, "' is not ", type));
  return *typed;
}

void print(std::string& out, const Attribute& value) {
  std::visit(
      [&]<class T>(const T& v) {
        if constexpr (std::is_same_v<T, std::vector<std::int64_t>> || std::is_same_v<T, std::vector<double>>) {
          out += '[';
          for (std::size_t i = 0; i < v.size(); ++i) {
            if (i > 0) out += ", ";
            detail::append(out, v[i]);
          }
          out += ']';
        } else {
          detail::append(out, v);
        }
      },
      value);
}

}  // namespace

Attributes& Attributes::set(std::string name, Attribute value) {
  for (auto& [key, old] : values_) {
    if (key == name) {
      old = std::move(value);
      return *this;
    }
  }
  values_.emplace_back(std::move(name), std::move(value));
  return *this;
}

const Attribute* Attributes::find(std::string_view name) const {
  for (const auto& [key, value] : values_) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool Attributes::get_bool(std::string_view name) const { return expect<bool>(find(name), name, "true or false"); }
std::int64_t Attributes::get_int(std::string_view name) const {
  return expect<std::int64_t>(find(name), name, "an integer");
}
const std::string& Attributes::get_string(std::string_view name) const {
  return expect<std::string>(find(name), name, "a text");
}
const std::vector<std::int64_t>& Attributes::get_ints(std::string_view name) const {
  return expect<std::vector<std::int64_t>>(find(name), name, "a list of integers");
}

double Attributes::get_double(std::string_view name) const {
  const Attribute* value = find(name);
  if (value) {
    if (const auto* integer = std::get_if<std::int64_t>(value)) return static_cast<double>(*integer);
  }
  return expect<double>(value, name, "a number");
}

std::vector<double> Attributes::get_doubles(std::string_view name) const {
  const Attribute* value = find(name);
  if (value) {
    // JSON cannot tell [1, 2] of doubles from one of integers.
    if (const auto* integers = std::get_if<std::vector<std::int64_t>>(value))
      return {integers->begin(), integers->end()};
  }
  return expect<std::vector<double>>(value, name, "a list of numbers");
}

int Attributes::get_int_in(std::string_view name, int low, int high) const {
  const std::int64_t value = get_int(name);
  if (value < low || value > high) {
    throw Error(ErrorKind::format, "attributes",
                str("attribute '", name, "' is ", value, ", expected ", low, " to ", high));
  }
  return static_cast<int>(value);
}

std::string Attributes::to_string() const {
  std::string out;
  for (const auto& [name, value] : values_) {
    if (!out.empty()) out += ", ";
    out += name;
    out += '=';
    print(out, value);
  }
  return out;
}

}  // namespace fovea
