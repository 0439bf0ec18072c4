// What MobileNetV1's builder and its layer names share. Internal to models/.
#pragma once

#include <vector>

#include "models/zoo.h"

namespace fovea::models {

/// Blocks per stage, depth multiplier applied.
std::vector<int> mobilenet_v1_repeats(const Options& o);

}  // namespace fovea::models
