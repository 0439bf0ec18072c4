// The names of ImageNet's classes, which no weight file brings along.
#pragma once

#include <string>
#include <vector>

#include "core/export.h"

namespace fovea::models {

/// Of 1000 classes, or of 1001 with "background" first as TensorFlow's networks have it: "tench", … "tabby cat", …
/// "toilet tissue". Error{usage} for another number.
FOVEA_API std::vector<std::string> imagenet_class_names(int classes = 1000);

}  // namespace fovea::models
