// A nameless temporary file: for what has to be unpacked before it can be used, and is too large for memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace fovea::weights {

class ScratchFile {
 public:
  /// In the system's folder for temporary files (TMPDIR). Error{file} that names what needs it.
  explicit ScratchFile(std::string where);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  void write(std::span<const std::uint8_t> bytes);

  /// Maps what was written, privately. The file is gone when the mapping is.
  struct Mapping {
    std::span<std::uint8_t> bytes;
    std::shared_ptr<const void> owner;
  };
  Mapping map() const;

 private:
  [[noreturn]] void fail(const char* action) const;
  std::string where_, folder_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace fovea::weights
