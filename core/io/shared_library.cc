#include "core/io/shared_library.h"

#include <dlfcn.h>

#include "core/error.h"

namespace fovea {

SharedLibrary::SharedLibrary(std::initializer_list<std::string> names, Symbols symbols) {
  for (const std::string& name : names) {
    handle_ = ::dlopen(name.c_str(), RTLD_NOW | (symbols == Symbols::global ? RTLD_GLOBAL : RTLD_LOCAL));
    const char* const why = handle_ ? nullptr : ::dlerror();
    if (name_.empty() || handle_) name_ = name;
    if (handle_) {
      problem_.clear();
      return;
    }
    if (problem_.empty()) problem_ = str(name, " cannot be loaded: ", why ? why : "no reason given");
  }
}

void* SharedLibrary::symbol(const char* name) {
  void* const found = handle_ ? ::dlsym(handle_, name) : nullptr;
  if (!found && problem_.empty()) problem_ = str(name_, " has no ", name);
  return found;
}

}  // namespace fovea
