// What the bf16 tile needs and every CPU can do: the question whether it may run, and packing.
#include <cstring>

#include "core/dtype.h"
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

}  // namespace fovea::kernels::simd
