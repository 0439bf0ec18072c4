// What a weight file leaves open or two frameworks do differently, in words.
#pragma once

#include <string>

#include "models/load.h"

namespace fovea::models {

/// The network a recognition stands for, without weights (meta tensors): for its preprocessing and description.
FOVEA_API Model preview(const Recognition& recognition, int image_size = 0);
/// What was assumed because the file does not tell, or nothing: "timm's efficientnet_b0 and tf_efficientnet_b0 have the
/// same names…".
FOVEA_API std::string undecided(const Recognition& recognition);
/// Why the model's weights give other results under another layout's conventions, or nothing where they do not:
/// "tensorflow 'same' padding …".
FOVEA_API std::string convention_differences(const Model& model, Layout layout);

}  // namespace fovea::models
