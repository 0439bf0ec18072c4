#include "core/io/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"

namespace fovea {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenFile {
  int descriptor;
  std::size_t size;
};

/// O_NONBLOCK so that opening a pipe without a writer fails below instead of hanging.
OpenFile open_regular(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw Error(ErrorKind::file, path, str("cannot be opened: ", std::strerror(errno)));
  struct stat info {};
  const char* reason = nullptr;
  if (fstat(fd, &info) != 0) reason = std::strerror(errno);
  if (!reason && S_ISDIR(info.st_mode)) reason = "it is a folder";
  if (!reason && !S_ISREG(info.st_mode)) reason = "it is not a regular file";
  if (reason) {
    close(fd);
    throw Error(ErrorKind::file, path, str("cannot be read: ", reason));
  }
  return {fd, static_cast<std::size_t>(info.st_size)};
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  const OpenFile file = open_regular(path);
  const Descriptor closer(file.descriptor);
  if (file.size == 0) return std::shared_ptr<MappedFile>(new MappedFile(nullptr, 0));
  void* data = mmap(nullptr, file.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.descriptor, 0);
  if (data == MAP_FAILED) throw Error(ErrorKind::file, path, str("cannot be mapped: ", std::strerror(errno)));
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<std::uint8_t*>(data), file.size));
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

void MappedFile::forget(std::span<const std::uint8_t> part) const noexcept {
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
  // Advice may be refused: then the memory stays until the file is unmapped.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::vector<std::uint8_t> read_file(const std::string& path, std::size_t limit) {
  const OpenFile file = open_regular(path);
  const Descriptor closer(file.descriptor);
  if (file.size > limit) {
    throw Error(ErrorKind::memory, path, str("has ", file.size, " bytes, more than the limit of ", limit));
  }
  std::vector<std::uint8_t> bytes(file.size);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(file.descriptor, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(ErrorKind::file, path, str("cannot be read: ", std::strerror(errno)));
    if (n == 0) throw Error(ErrorKind::file, path, "became shorter while it was read");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

AtomicFile::AtomicFile(std::string path, unsigned mode) : path_(std::move(path)) {
  static std::atomic<unsigned> next{0};
  struct stat info {};
  if (stat(path_.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    throw Error(ErrorKind::file, path_, "cannot be written: it is a folder");
  }
  // A device (/dev/full, /dev/stdout) is not replaced but written.
  if (stat(path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("opened for writing");
    return;
  }
  // The name of the temporary is short whatever the target's: names may have 255 bytes.
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  temporary_ = (folder / str(".fovea-", getpid(), "-", next.fetch_add(1), ".tmp")).string();
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, static_cast<mode_t>(mode));
  if (descriptor_ < 0) {
    temporary_.clear();
    fail("created");
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* action) {
  const int code = errno;
  throw Error(ErrorKind::file, path_, str("cannot be ", action, ": ", std::strerror(code)),
              code == ENOSPC   ? "free some space on the disk; an existing file was left as it was"
              : code == ENOENT ? "make its folder first"
                               : "");
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(descriptor_, from, std::min(bytes, std::size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("written");
    from += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (close(std::exchange(descriptor_, -1)) != 0) fail("closed");
    return;
  }
  if (fsync(descriptor_) != 0) fail("synced");
  if (close(std::exchange(descriptor_, -1)) != 0) fail("closed");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("replaced");
  temporary_.clear();
  std::string folder = std::filesystem::path(path_).parent_path().string();
  if (folder.empty()) folder = ".";
  const Descriptor directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) fsync(directory.get());  // some file systems cannot; the rename itself has happened
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void make_folders(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (!code && std::filesystem::is_directory(path, code)) return;
  throw Error(ErrorKind::file, path,
              str("the folder cannot be made: ", code ? code.message() : "a file of that name is in the way"));
}

void remove_stale_temporaries(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    int writer = 0;
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".tmp") || std::sscanf(name.c_str(), ".fovea-%d-", &writer) != 1 || writer <= 0) continue;
    if (::kill(writer, 0) != 0 && errno == ESRCH) std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace fovea
