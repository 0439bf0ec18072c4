// Catch2 2 (Debian 12) or 3, whichever is installed. FOVEA_SKIP(reason) reports a skip to ctest, never a pass.
#pragma once
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#define FOVEA_SKIP(reason) SKIP("SKIPPED: " << reason)
#else
#include <catch2/catch.hpp>
// ctest marks the test as skipped when it sees "SKIPPED:" (SKIP_REGULAR_EXPRESSION in tests/CMakeLists.txt).
#define FOVEA_SKIP(reason)       \
  do {                           \
    WARN("SKIPPED: " << reason); \
    return;                      \
  } while (false)
#endif

#include <cstdlib>
#include <optional>
#include <string>

/// Path inside the shared reference data, or nothing where there is none: then call FOVEA_SKIP.
inline std::optional<std::string> shared_path(const std::string& relative) {
  const char* root = std::getenv("FOVEA_SHARED");
  if (!root || !*root) return std::nullopt;
  return std::string(root) + "/" + relative;
}
