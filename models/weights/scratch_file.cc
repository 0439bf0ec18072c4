#include "models/weights/scratch_file_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace fovea::weights {

ScratchFile::ScratchFile(std::string where) : where_(std::move(where)) {
  std::error_code code;
  folder_ = std::filesystem::temp_directory_path(code).string();
  if (code) folder_ = "/tmp";
  std::string name = folder_ + "/fovea-XXXXXX";
  descriptor_ = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail("made");
  unlink(name.c_str());
}

ScratchFile::~ScratchFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void ScratchFile::fail(const char* action) const {
  throw Error(ErrorKind::file, where_,
              str("has to be unpacked, but no file can be ", action, " in ", folder_, ": ", std::strerror(errno)),
              "free some space there, or let TMPDIR name another folder");
}

void ScratchFile::write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("written");
    size_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

ScratchFile::Mapping ScratchFile::map() const {
  if (size_ == 0) return {};
  const auto size = static_cast<std::size_t>(size_);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor_, 0);
  if (data == MAP_FAILED) fail("mapped");
  return {{static_cast<std::uint8_t*>(data), size},
          std::shared_ptr<const void>(data, [size](const void* p) { munmap(const_cast<void*>(p), size); })};
}

}  // namespace fovea::weights
