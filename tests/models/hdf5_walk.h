// Everything that an HDF5 file holds: for tests and the fuzz target.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "models/weights/hdf5/hdf5_internal.h"

/// All objects that hard links reach, by path, each once.
inline std::map<std::string, std::uint64_t> objects(fovea::weights::hdf5::File& file) {
  std::map<std::string, std::uint64_t> result;
  std::set<std::uint64_t> seen;
  std::vector<std::pair<std::string, std::uint64_t>> todo = {{"", file.root()}};
  while (!todo.empty()) {
    const auto [path, address] = todo.back();
    todo.pop_back();
    if (!seen.insert(address).second) continue;
    result[path] = address;
    if (file.is_dataset(address)) continue;
    for (const auto& [name, link] : file.group(address).links) {
      if (link.kind == fovea::weights::hdf5::LinkKind::hard) todo.emplace_back(path + "/" + name, link.address);
    }
  }
  return result;
}

/// Reads an object's texts and values.
inline void read_object(fovea::weights::hdf5::File& file, const std::string& path, std::uint64_t address) {
  using Kind = fovea::weights::hdf5::Type::Kind;
  for (const auto& attribute : file.attributes(address)) {
    if (attribute.type.kind == Kind::vlen_string || attribute.type.kind == Kind::fixed_string) file.strings(attribute);
  }
  if (file.is_dataset(address)) file.read(file.dataset(address, path));
}

inline void read_all(fovea::weights::hdf5::File& file) {
  for (const auto& [path, address] : objects(file)) read_object(file, path, address);
}
