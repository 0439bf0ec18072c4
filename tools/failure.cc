#include "tools/failure.h"

#include <cstdio>
#include <exception>
#include <new>

#include "core/error.h"
#include "tools/command.h"

namespace fovea::tools {

int report_failure(const std::string& who) {
  try {
    throw;
  } catch (const Error& e) {
    std::fprintf(stderr, "fovea: %s%s\n", who.c_str(), e.what());
    if (e.kind() == ErrorKind::cancelled) return interrupted_code();
    return e.kind() == ErrorKind::usage ? 2 : 1;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "fovea: %sout of memory (use a smaller --batch-size or --image-size)\n", who.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fovea: %s%s\n", who.c_str(), e.what());
  }
  return 1;
}

}  // namespace fovea::tools
