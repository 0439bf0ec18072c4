// Data that users may call by a name instead of a path. Internal to tools/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "augment/dataset.h"

namespace fovea::tools {

/// Of pictures in one piece, the share that training keeps apart.
inline constexpr double kValidationShare = 0.2;

/// The path a user means: "fashion-mnist" is `folder` if given, else where Debian's package has it (Error{file} with
/// what to install); anything else is a path already.
std::string data_path(const std::string& given, const std::string& folder = {});

/// Of a data set's parts, that by which a network is judged: "test", or else "val", or else "" (all there is).
std::string judged_split(const std::vector<std::string>& parts);

/// The last name of a path, of a folder with a slash at its end too.
std::filesystem::path last_name(const std::filesystem::path& path);

/// Pictures of MNIST's or CIFAR's kind, which want a network and augmentation of their own.
struct SmallPictures {
  int side = 0;  ///< of the first
  int channels = 0;
};
/// Looks at a few of the pictures: nothing where one is larger than 40 pixels or none can be read.
std::optional<SmallPictures> small_pictures(const Dataset& data);

}  // namespace fovea::tools
