// Inception v3 as data, for its builder and its layer names. Internal to models/.
#pragma once

#include <string>
#include <vector>

#include "models/zoo.h"

namespace fovea::models {

enum class InceptionOp : std::uint8_t { conv, max_pool, average_pool };

/// One step of a branch. Poolings are 3×3. A step of stride 2 has no padding, one of stride 1 keeps the size.
struct InceptionStep {
  InceptionOp op = InceptionOp::conv;
  int kh = 1, kw = 1;
  int channels = 0;
  int stride = 1;
  const char* torch = "";  ///< in torchvision and timm: "branch5x5_1"
  const char* slim = "";   ///< in TF-slim, below "Branch_1/": "Conv2d_0a_1x1"
};

struct InceptionBranch {
  std::vector<InceptionStep> steps;
  std::vector<InceptionStep> fork;  ///< applied side by side to the result of `steps`, and concatenated
};

struct InceptionBlock {
  std::string torch;  ///< "Mixed_5b", in TF-slim too
  std::vector<InceptionBranch> branches;
};

/// Eleven blocks: mixed_0 to mixed_10.
std::vector<InceptionBlock> inception_blocks();

}  // namespace fovea::models
