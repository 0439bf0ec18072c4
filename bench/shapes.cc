#include "bench/shapes.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.h"

namespace fovea::bench {

std::int64_t NamedShape::number(const std::string& key) const {
  const auto found = values.find(key);
  const std::string what = str(network, ": ", kernel, " ", name);
  if (found == values.end()) throw Error(ErrorKind::format, what, "has no " + key + "=");
  std::int64_t value = 0;
  const std::string& digits = found->second;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw Error(ErrorKind::format, what, str(key, "=", digits, " is no number"));
  }
  return value;
}

std::int64_t NamedShape::number(const std::string& key, std::int64_t otherwise) const {
  return values.contains(key) ? number(key) : otherwise;
}

std::string NamedShape::text(const std::string& key, const std::string& otherwise) const {
  const auto found = values.find(key);
  return found == values.end() ? otherwise : found->second;
}

std::vector<NamedShape> read_shapes(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(ErrorKind::file, path, "cannot be read");
  std::vector<NamedShape> shapes;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    NamedShape shape;
    shape.network = std::filesystem::path(path).stem().string();
    if (!(words >> shape.kernel)) continue;
    const std::string where = str(path, ":", number);
    if (!(words >> shape.name)) throw Error(ErrorKind::format, where, "a shape needs a kernel and a name");
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      if (equals == std::string::npos || equals == 0) throw Error(ErrorKind::format, where, word + " is no key=value");
      shape.values[word.substr(0, equals)] = word.substr(equals + 1);
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

std::vector<NamedShape> all_shapes() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(FOVEA_SHAPES)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  std::vector<NamedShape> shapes;
  for (const std::string& file : files) {
    for (NamedShape& shape : read_shapes(file)) shapes.push_back(std::move(shape));
  }
  return shapes;
}

}  // namespace fovea::bench
