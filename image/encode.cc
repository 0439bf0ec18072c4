// Writing pictures to files, whole or not at all.
#include "image/encode.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace fovea::image {
namespace {

Error cannot_write(const std::string& path, const std::string& what, int code) {
  return Error(ErrorKind::file, path, str(what, ": ", std::strerror(code)));
}

void write_atomically(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  static std::atomic<unsigned> serial{0};
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == path.npos ? "" : path.substr(0, slash + 1);
  // Not derived from the file's name, which may already be as long as names can be.
  const std::string temporary = str(folder, ".fovea-", ::getpid(), "-", serial.fetch_add(1), ".tmp");
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) throw cannot_write(path, "cannot write here", errno);
  const auto fail = [&](const char* what, int code, bool close_it) {
    if (close_it) ::close(fd);
    ::unlink(temporary.c_str());
    return cannot_write(path, what, code);
  };
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t wrote = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw fail("cannot write", errno, true);
    done += static_cast<std::size_t>(wrote);
  }
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS) throw fail("cannot write to the disk", errno, true);
  if (::close(fd) != 0) throw fail("cannot finish writing", errno, false);
  if (::rename(temporary.c_str(), path.c_str()) != 0) throw fail("cannot put the file in its place", errno, false);
}

bool ends_with_any_case(const std::string& path, const char* ending) {
  const std::size_t n = std::strlen(ending);
  if (path.size() < n) return false;
  for (std::size_t i = 0; i < n; ++i) {
    const char c = path[path.size() - n + i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != ending[i]) return false;
  }
  return true;
}

}  // namespace

void write_png(const std::string& path, const Image& image, const PngOptions& options) {
  write_atomically(path, encode_png(image, options));
}

void write_jpeg(const std::string& path, const Image& image, const JpegOptions& options) {
  write_atomically(path, encode_jpeg(image, options));
}

void write_image(const std::string& path, const Image& image) {
  if (ends_with_any_case(path, ".png")) return write_png(path, image);
  if (ends_with_any_case(path, ".jpg") || ends_with_any_case(path, ".jpeg")) return write_jpeg(path, image);
  throw Error(ErrorKind::usage, path, "the ending of the file name says no format that can be written",
              "use .png, .jpg or .jpeg");
}

}  // namespace fovea::image
