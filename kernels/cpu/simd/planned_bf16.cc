// What the bf16 kernels need and every CPU can do: the question whether it may run, and packing.
#include <cstring>

#include "core/dtype.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

bool has_bf16() {
#if defined(__x86_64__)
  static const bool have = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  return have && panel_width() == 32;  // tests that force an older target mean this one too
#else
  return false;
#endif
}

void pack_bf16(const float* b, std::int64_t k, std::int64_t n, std::uint16_t* packed) {
  for (std::int64_t p = 0; p * 32 < n; ++p) {
    const std::int64_t columns = n - p * 32 < 32 ? n - p * 32 : 32, width = columns <= 16 ? 16 : 32;
    std::uint16_t* to = packed + p * 32 * k;
    for (std::int64_t i = 0; i < k; i += 2) {
      for (std::int64_t j = 0; j < width; ++j) {
        for (std::int64_t q = 0; q < 2; ++q)
          *to++ = j < columns ? bf16(b[(i + q) * n + p * 32 + j]).bits : std::uint16_t{0};
      }
    }
  }
}

bool splits_channels(std::int64_t taps, std::int64_t step) {
  return has_bf16() && (taps == 3 || taps == 5) && (step == 1 || step == 2);
}

void split_channels(const float* from, std::int64_t rows, std::int64_t channels, float* to) {
  for (std::int64_t r = 0; r < rows; ++r, from += channels) {
    for (std::int64_t block = 0; block < channels; block += 32) {
      for (std::int64_t odd = 0; odd < 2; ++odd) {
        for (std::int64_t i = 0; i < 16; ++i) {
          const std::int64_t c = block + 2 * i + odd;
          *to++ = c < channels ? from[c] : 0.0f;
        }
      }
    }
  }
}

}  // namespace fovea::kernels::simd
