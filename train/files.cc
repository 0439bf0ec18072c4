// Small questions about files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"
#include "train/files_internal.h"

namespace fovea {

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

void check_writable(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    throw Error(ErrorKind::file, path, "cannot be written: it is no ordinary file", "choose another path");
  }
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) make_folders(path.substr(0, slash));
  const std::string probe = path + ".probe";
  const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0)
    throw Error(ErrorKind::file, path, str("cannot be written: ", std::strerror(errno)), "choose another folder");
  ::close(descriptor);
  ::unlink(probe.c_str());
}

}  // namespace fovea
