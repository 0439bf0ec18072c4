// What MobileNetV2's builder and its layer names share. Internal to models/.
#pragma once

#include <vector>

#include "models/zoo.h"

namespace fovea::models {

/// Blocks per stage, depth multiplier applied.
std::vector<int> mobilenet_v2_repeats(const Architecture& a, const Options& o);

}  // namespace fovea::models
