// Good files for the fuzz targets to damage.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

/// The files of a folder with one of these endings, in the same order everywhere; none when there is no such folder.
inline std::vector<std::string> files_in(const std::string& folder, std::initializer_list<std::string_view> endings) {
  std::vector<std::filesystem::path> paths;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (std::find(endings.begin(), endings.end(), entry.path().extension().string()) != endings.end())
      paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> contents;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return contents;
}

/// Adds the reference networks (about 2 MB each) where FOVEA_SHARED names them.
inline void add_golden(std::vector<std::string>& seeds, std::initializer_list<std::string_view> endings) {
  const char* shared = std::getenv("FOVEA_SHARED");
  if (!shared) return;
  for (std::string& content : files_in(std::string(shared) + "/golden/files", endings))
    seeds.push_back(std::move(content));
}

}  // namespace fuzz
