// Internal: folders and paths as bytes, with errors that say what is wrong with them. Not installed.
#pragma once

#include <string>
#include <vector>

namespace fovea::files {

struct Entry {
  std::string name;  ///< without its folder
  bool is_folder = false;
};

bool exists(const std::string& path);
bool is_folder(const std::string& path);
bool is_file(const std::string& path);
/// `path` as it stands where it is absolute, else below `folder`.
std::string join(const std::string& folder, const std::string& path);
/// Error{file}: missing, or not a folder. `hint` is added when it is missing.
void require_folder(const std::string& folder, const std::string& hint = {});
/// Folders and regular files (links followed) sorted by the bytes of their names, so the same everywhere; names that
/// begin with a dot, and macOS' "__MACOSX", are left out. Error{file} where the folder cannot be read.
std::vector<Entry> list(const std::string& folder);
/// The path with links resolved; the path itself where that fails.
std::string canonical(const std::string& path);
/// "jpg" of "a/B.JPG"; empty where there is none.
std::string lower_extension(const std::string& name);
/// Extensions of pictures this library reads.
bool is_picture(const std::string& name);
/// Extensions of pictures it does not read (.webp, .tif, …): worth a word to the user.
bool is_foreign_picture(const std::string& name);

}  // namespace fovea::files
