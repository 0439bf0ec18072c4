#include "core/error.h"

#include <cstdio>

namespace fovea {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage: return "usage";
    case ErrorKind::file: return "file";
    case ErrorKind::format: return "format";
    case ErrorKind::shape: return "shape";
    case ErrorKind::memory: return "memory";
    case ErrorKind::device: return "device";
    case ErrorKind::numeric: return "numeric";
    case ErrorKind::cancelled: return "cancelled";
  }
  return "unknown";
}

namespace {
std::string compose(std::string_view where, std::string_view what, std::string_view hint) {
  std::string text = str("[", where, "] ", what);
  if (!hint.empty()) text += str(" (", hint, ")");
  return text;
}
}  // namespace

Error::Error(ErrorKind kind, std::string_view where, std::string_view what, std::string_view hint)
    : std::runtime_error(compose(where, what, hint)), kind_(kind), where_(where), hint_(hint) {}

Error::~Error() = default;

void detail::append(std::string& out, double v) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", v);
  out += buffer;
}

}  // namespace fovea
