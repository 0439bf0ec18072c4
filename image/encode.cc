// Writing pictures to files, whole or not at all.
#include "image/encode.h"

#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace fovea::image {
namespace {

void write_bytes(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
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
  write_bytes(path, encode_png(image, options));
}

void write_jpeg(const std::string& path, const Image& image, const JpegOptions& options) {
  write_bytes(path, encode_jpeg(image, options));
}

void write_image(const std::string& path, const Image& image) {
  if (ends_with_any_case(path, ".png")) return write_png(path, image);
  if (ends_with_any_case(path, ".jpg") || ends_with_any_case(path, ".jpeg")) return write_jpeg(path, image);
  throw Error(ErrorKind::usage, path, "the ending of the file name says no format that can be written",
              "use .png, .jpg or .jpeg");
}

}  // namespace fovea::image
