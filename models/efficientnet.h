// What EfficientNet's builder and its layer names share, and the published sizes for the zoo's table. Internal to
// models/.
#pragma once

#include <span>
#include <vector>

#include "models/zoo.h"

namespace fovea::models {

struct EfficientNetSize {
  const char* name;
  double width, depth;
  int image_size;
  double dropout;
};
/// B0 to B7 and Lite0 to Lite4.
std::span<const EfficientNetSize> efficientnet_b_sizes();
std::span<const EfficientNetSize> efficientnet_lite_sizes();
/// Architecture::scale of the networks of any size, efficientnet and efficientnet_lite.
inline constexpr int kEfficientNetAnySize = -1;

/// Width, depth and image size of the compound coefficient phi by the paper's formula.
EfficientNetSize efficientnet_of_phi(double phi);
/// The image size that a source's weights were evaluated at, where it is not the published one.
int efficientnet_image_size(const Architecture& a, const Options& o);

/// A block with its channels as scaled.
struct EfficientNetBlock {
  int stage = 0, in_stage = 0;  ///< its place: the in_stage-th of its stage
  int kernel = 3, stride = 1;
  int in = 0, expanded = 0, out = 0;
  int squeezed = 0;  ///< channels inside squeeze and excite; 0: none (Lite)
  bool expand = true, shortcut = false;
  bool last = false;  ///< of its stage
};
struct EfficientNetChannels {
  int stem = 0, head = 0;
  std::vector<EfficientNetBlock> blocks;
};
EfficientNetChannels efficientnet_channels(const Options& o, bool lite);

}  // namespace fovea::models
