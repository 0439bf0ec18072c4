// Folders and paths for the datasets that live in files.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "augment/files_internal.h"
#include "core/error.h"

namespace fovea::files {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::string join(const std::string& folder, const std::string& path) { return (fs::path(folder) / path).string(); }

void require_folder(const std::string& folder, const std::string& hint) {
  if (folder.empty()) throw Error(ErrorKind::usage, "dataset", "the folder's name is empty");
  if (folder.find('\0') != folder.npos)
    throw Error(ErrorKind::usage, "dataset", "the folder's name contains a NUL character");
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) throw Error(ErrorKind::file, folder, "there is no such folder", hint);
  if (error) throw Error(ErrorKind::file, folder, str("cannot read this folder: ", error.message()));
  if (status.type() != fs::file_type::directory)
    throw Error(ErrorKind::file, folder, "this is a file, not a folder", hint);
}

std::vector<Entry> list(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator it(folder, error);
  const auto fail = [&] { return Error(ErrorKind::file, folder, str("cannot read this folder: ", error.message())); };
  if (error) throw fail();
  std::vector<Entry> entries;
  for (; it != fs::directory_iterator(); it.increment(error)) {
    if (error) throw fail();
    std::string name = it->path().filename().string();
    if (name.starts_with('.') || name == "__MACOSX") continue;
    std::error_code unknown;
    const fs::file_type type = it->status(unknown).type();
    if (type == fs::file_type::directory) {
      entries.push_back({std::move(name), true});
    } else if (type == fs::file_type::regular || is_picture(name)) {
      // A picture that is a dangling link or cannot be examined stays in the list: reading it reports it by path.
      entries.push_back({std::move(name), false});
    }
  }
  if (error) throw fail();
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::string canonical(const std::string& path) {
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  return error ? path : resolved.string();
}

std::string lower_extension(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos || dot == 0 || name.find('/', dot) != name.npos) return {};
  std::string extension = name.substr(dot + 1);
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return extension;
}

bool is_picture(const std::string& name) {
  const std::string extension = lower_extension(name);
  constexpr std::array<const char*, 8> kKnown = {"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "dcm"};
  return std::any_of(kKnown.begin(), kKnown.end(), [&](const char* known) { return extension == known; });
}

bool is_foreign_picture(const std::string& name) {
  const std::string extension = lower_extension(name);
  constexpr std::array<const char*, 15> kForeign = {"gif", "webp", "tif", "tiff", "heic", "heif", "avif", "jp2",
                                                    "jxl", "ppm",  "pgm", "tga",  "psd",  "svg",  "raw"};
  return std::any_of(kForeign.begin(), kForeign.end(), [&](const char* known) { return extension == known; });
}

}  // namespace fovea::files
