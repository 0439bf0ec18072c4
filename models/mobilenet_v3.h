// What MobileNetV3's builder and its layer names share. Internal to models/.
#pragma once

#include <vector>

#include "models/zoo.h"

namespace fovea::models {

/// A block with its channels as a layout rounds them.
struct MobileNetV3Block {
  int kernel = 3, stride = 1;
  int in = 0, expanded = 0, out = 0;
  int squeezed = 0;  ///< channels inside squeeze and excite; 0: none
  bool expand = true;
  bool hard_swish = false;  ///< else ReLU
  int stage = 0;            ///< timm's numbering
  bool shortcut() const { return stride == 1 && in == out; }
};
struct MobileNetV3Sizes {
  int stem = 0, head = 0, hidden = 0;
  std::vector<MobileNetV3Block> blocks;
};
MobileNetV3Sizes mobilenet_v3_sizes(const Architecture& a, const Options& o);

}  // namespace fovea::models
