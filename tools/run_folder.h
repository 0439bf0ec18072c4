// A run folder holds what one training left: model.fovea, checkpoint, metrics, plots.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "core/error.h"

namespace fovea::tools {

/// model.fovea in the folder of a finished run; anything else as it is given.
inline std::string model_or_given(const std::string& given) {
  std::error_code failed;  // a name that is too long, say: whoever opens it says what is wrong
  const std::filesystem::path inside = std::filesystem::path(given) / "model.fovea";
  return std::filesystem::exists(inside, failed) ? inside.string() : given;
}

/// The model file a user means: the file itself, or model.fovea in a run folder.
inline std::string model_path(const std::string& given) {
  const std::string path = model_or_given(given);
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) {
    throw Error(ErrorKind::file, given, "this folder holds no model.fovea",
                "give a .fovea file or the folder of a finished run");
  }
  return path;
}

}  // namespace fovea::tools
