// What a network costs.
#pragma once

#include <cstdint>
#include <string>

#include "models/model.h"

namespace fovea::models {

struct Cost {
  std::int64_t parameters = 0;  ///< trained ones, without running statistics
  std::int64_t macs = 0;        ///< multiply-adds for one picture
};
FOVEA_API Cost cost(const Model& model);
/// Of a zoo network, without allocating its weights.
FOVEA_API Cost cost(const std::string& name, const Options& options = {});

}  // namespace fovea::models
