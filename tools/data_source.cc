#include "tools/data_source.h"

#include <algorithm>

#include "augment/idx.h"
#include "core/error.h"

namespace fovea::tools {

std::string data_path(const std::string& given, const std::string& folder) {
  constexpr const char* kDebianFashion = "/usr/share/datasets/fashion-mnist";
  if (given != "fashion-mnist") return given;
  if (!folder.empty()) return folder;
  if (IdxDataset::found_in(kDebianFashion, "train")) return kDebianFashion;
  throw Error(
      ErrorKind::file, "fashion-mnist", str("the data is not at ", kDebianFashion),
      "install it with `apt-get install dataset-fashion-mnist`, or give the folder of the four IDX files instead");
}

std::string judged_split(const std::vector<std::string>& parts) {
  for (const char* wanted : {"test", "val"}) {
    if (std::find(parts.begin(), parts.end(), wanted) != parts.end()) return wanted;
  }
  return {};
}

std::filesystem::path last_name(const std::filesystem::path& path) {
  const std::filesystem::path clean = path.lexically_normal();
  return (clean.has_filename() ? clean : clean.parent_path()).filename();
}

std::optional<SmallPictures> small_pictures(const Dataset& data) {
  std::optional<SmallPictures> result;
  const std::int64_t looked_at = std::min<std::int64_t>(data.size(), 5);
  for (std::int64_t k = 0; k < looked_at; ++k) {
    try {
      const image::Image picture = data.image(k * data.size() / looked_at);
      const int side = std::max(picture.width, picture.height);
      if (side > 40) return std::nullopt;
      if (!result) result = {side, picture.channels};
      result->channels = std::max(result->channels, picture.channels);
    } catch (const Error&) {  // reported when it is its turn
    }
  }
  return result;
}

}  // namespace fovea::tools
