// Files: mapping one for reading, and writing one so that readers see the old content or the new, never half of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/export.h"

namespace fovea {

/// A file's bytes, mapped privately: writes through the mapping stay in memory. Error{file} names the path and the
/// system's reason; directories, pipes and devices are refused. The file must not be truncated while mapped.
class FOVEA_API MappedFile {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<std::uint8_t> bytes() const { return {data_, size_}; }
  /// Gives the memory of whole pages within `part` back; they are read from the file anew when touched, and what was
  /// written to them is lost.
  void forget(std::span<const std::uint8_t> part) const noexcept;

 private:
  MappedFile(std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t* data_;
  std::size_t size_;
};

/// A file's bytes in memory of our own. Error{file}; Error{memory} when it is larger than `limit`.
FOVEA_API std::vector<std::uint8_t> read_file(const std::string& path, std::size_t limit = std::size_t{1} << 32);

/// Writes a file under a temporary name beside `path`, syncs it, and renames it over `path`. Until commit() returns, an
/// existing file is untouched; without commit() (an exception, a full disk) the temporary is removed.
class FOVEA_API AtomicFile {
 public:
  /// @param mode permissions of a new file, less what the process's umask takes away: 0600 for what is private
  explicit AtomicFile(std::string path, unsigned mode = 0666);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail(const char* action);
  std::string path_, temporary_;
  int descriptor_ = -1;
};

/// The whole of AtomicFile for content that is in memory.
FOVEA_API void write_file(const std::string& path, std::string_view content);
/// Creates a folder and the folders above it. Error{file} naming the part that cannot be made.
FOVEA_API void make_folders(const std::string& path);
/// Removes temporary files of AtomicFile directly in a folder whose writers were killed before they could.
FOVEA_API void remove_stale_temporaries(const std::string& folder);

}  // namespace fovea
