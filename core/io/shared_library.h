// A shared library that is loaded when it is first needed instead of when the program starts: what few runs use, and
// what not every machine has.
#pragma once

#include <initializer_list>
#include <string>

#include "core/export.h"

namespace fovea {

/// Stays loaded for good once it is.
class FOVEA_API SharedLibrary {
 public:
  enum class Symbols { local, global };  ///< global: libraries that it loads itself find its symbols
  /// The first of these names, as programs ask for them ("libmpi.so.40") or with a folder, that can be loaded.
  explicit SharedLibrary(std::initializer_list<std::string> names, Symbols symbols = Symbols::local);

  bool loaded() const { return handle_ != nullptr; }
  /// Empty where the library is here and had all that was asked of it; else what went wrong first.
  const std::string& problem() const { return problem_; }
  /// The address of a function or object, nullptr where it is not there (then problem() says so).
  void* symbol(const char* name);
  template <class T>
  void find(const char* name, T*& to) {
    to = reinterpret_cast<T*>(symbol(name));
  }

 private:
  void* handle_ = nullptr;
  std::string name_, problem_;
};

}  // namespace fovea
