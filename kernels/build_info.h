// What the kernels of this build and machine are made of.
#pragma once

#include <string>

#include "core/export.h"

namespace fovea::kernels {

struct BuildInfo {
  std::string simd_target;  ///< the SIMD instruction set chosen at run time, "AVX2"
  std::string onednn;       ///< its version, or "not built in"
};
FOVEA_API BuildInfo build_info();

}  // namespace fovea::kernels
