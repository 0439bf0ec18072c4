// What the ResNets' builder and their layer names share. Internal to models/.
#pragma once

#include <array>

#include "models/zoo.h"

namespace fovea::models {

struct ResNetPlan {
  bool bottleneck;             ///< blocks of 1×1, 3×3, 1×1 convolutions instead of two 3×3
  std::array<int, 4> repeats;  ///< blocks per stage
};
/// By the number in the name (Architecture::scale).
ResNetPlan resnet_plan(const Architecture& a);

}  // namespace fovea::models
