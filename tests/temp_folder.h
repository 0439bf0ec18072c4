// A folder for a test's files.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "catch.h"

namespace fovea::test {

/// A new folder that is gone when the test ends.
class TempFolder {
 public:
  /// @param in_memory where the system has such a place: for tests whose many small files are synced
  explicit TempFolder(bool in_memory = false) {
    const bool memory = in_memory && ::access("/dev/shm", W_OK) == 0;
    std::string pattern = (memory ? "/dev/shm" : std::filesystem::temp_directory_path()) / "fovea_test_XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace fovea::test
