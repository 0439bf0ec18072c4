// The model a user means: a zoo name, pretrained weights by name, a model file, a run folder, or a weight file of any
// framework. Internal to
// tools/.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "models/load.h"

namespace fovea::tools {

struct ModelSource {
  std::string path;             ///< what stands on the command line
  std::string model = "auto";   ///< --model
  std::string layout = "auto";  ///< --layout
  double width = 0;             ///< --width
  int image_size = 0;           ///< --size
  int classes = 0;              ///< --classes
  std::string variant;          ///< --variant
  std::string formula;          ///< --formula: weights from a formula instead of a file
  /// A name means a network with fresh weights, even where pretrained weights have that name.
  bool names_are_networks = false;
};

/// Adds --model, --layout, --width, --size, --classes and --variant.
void add_model_options(CLI::App& command, ModelSource& source);
models::LoadOptions load_options(const ModelSource& source);
/// Loads it. With a seed, a zoo name is accepted too and gives fresh weights drawn by it, unless pretrained weights
/// have that name.
Model open_model(const ModelSource& source, std::optional<std::uint64_t> seed = {});

/// "mobilenet_v2, width 0.35, 10 classes, keras conventions, input 96×96×3".
std::string describe(const Model& model);
/// "resize shorter side to 256 (bicubic), centre crop 224×224, (x/255 − mean)/std, …".
std::string describe(const image::Preprocessing& p);

}  // namespace fovea::tools
