// A run folder holds what one training left: model.fovea, checkpoint, metrics, plots.
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"

namespace fovea::tools {

/// The model file a user means: the file itself, or model.fovea in a run folder.
inline std::string model_path(const std::string& given) {
  if (!std::filesystem::is_directory(given)) return given;
  const std::string inside = (std::filesystem::path(given) / "model.fovea").string();
  if (!std::filesystem::exists(inside)) {
    throw Error(ErrorKind::file, given, "this folder holds no model.fovea",
                "give a .fovea file or the folder of a finished run");
  }
  return inside;
}

}  // namespace fovea::tools
