// The one exception type. An error says what was expected, what came, and what to do about it.
#pragma once

#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/export.h"

namespace fovea {

enum class ErrorKind {
  usage,      ///< a wrong argument or option
  file,       ///< cannot open, read, write
  format,     ///< a file's content is damaged or not what it should be
  shape,      ///< tensors that do not fit an operation or each other
  memory,     ///< out of memory, or a size beyond a stated cap
  device,     ///< a device that is missing or mixed up
  numeric,    ///< NaN or Inf where there must be none
  cancelled,  ///< stopped by the user
};

FOVEA_API std::string_view to_string(ErrorKind kind);

/// Text reads "[where] what" and, when there is a hint, " (hint)" after it.
class FOVEA_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string_view where, std::string_view what, std::string_view hint = {});
  ~Error() override;

  ErrorKind kind() const { return kind_; }
  /// The operation, file or option the error is about.
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }

 private:
  ErrorKind kind_;
  std::string where_;
  std::string hint_;
};

namespace detail {
inline void append(std::string& out, std::string_view v) { out += v; }
inline void append(std::string& out, const char* v) { out += v; }
inline void append(std::string& out, char v) { out += v; }
inline void append(std::string& out, bool v) { out += v ? "true" : "false"; }
FOVEA_API void append(std::string& out, double v);
template <class T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>) void append(std::string& out,
                                                                                                    T v) {
  out += std::to_string(v);
}
template <class T>
requires requires(const T& v) {
  { v.to_string() } -> std::convertible_to<std::string>;
}
void append(std::string& out, const T& v) { out += v.to_string(); }
}  // namespace detail

/// Concatenates texts and numbers: str("has ", 3, " channels"). Light on compile time, unlike streams.
template <class... Args>
std::string str(const Args&... args) {
  std::string out;
  (detail::append(out, args), ...);
  return out;
}

}  // namespace fovea
