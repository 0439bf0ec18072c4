// What all planned convolutions are told: plain data.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

struct ConvSizes {
  std::int64_t n = 1, h = 1, w = 1, ci = 1;
  std::int64_t ho = 1, wo = 1, co = 1;
  std::int64_t top = 0, left = 0;  ///< padding before the image
};

}  // namespace fovea::kernels::simd
