// Named shapes of real networks, read from the text files in bench/shapes/.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fovea::bench {

/// One line of a shape file: `conv2d block_1/expand h=112 w=112 ci=16 co=96 k=1 s=1 pad=same x=2`.
struct NamedShape {
  std::string network;  ///< the file's name without ending
  std::string kernel;   ///< first word
  std::string name;     ///< second word
  std::map<std::string, std::string> values;

  /// Error{format} if it is neither there nor given a default, or no number.
  std::int64_t number(const std::string& key) const;
  std::int64_t number(const std::string& key, std::int64_t otherwise) const;
  std::string text(const std::string& key, const std::string& otherwise) const;
};

/// Error{file}, Error{format} naming file and line.
std::vector<NamedShape> read_shapes(const std::string& path);
/// Those of every .txt file of bench/shapes, by name.
std::vector<NamedShape> all_shapes();

}  // namespace fovea::bench
