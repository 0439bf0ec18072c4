// Scratch memory and channel folding of the Highway kernels.
#include "kernels/cpu/simd/common.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "core/error.h"

namespace fovea::kernels::simd {
namespace {

struct Buffers {
  void* data[static_cast<int>(Slot::count)] = {};
  std::size_t size[static_cast<int>(Slot::count)] = {};
  Buffers() = default;
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  ~Buffers() {
    for (void* p : data) std::free(p);
  }
};

}  // namespace

void* detail::scratch_bytes(Slot slot, std::size_t bytes) {
  thread_local Buffers buffers;
  const int i = static_cast<int>(slot);
  if (bytes > buffers.size[i] || !buffers.data[i]) {
    // Pages, so that growing step by step (shapes of a network) settles soon.
    const std::size_t rounded = (bytes + 4096) / 4096 * 4096;
    std::free(buffers.data[i]);
    buffers.size[i] = 0;
    buffers.data[i] = std::aligned_alloc(64, rounded);
    if (!buffers.data[i]) throw Error(ErrorKind::memory, "simd", str("no memory for ", rounded, " bytes of scratch"));
    buffers.size[i] = rounded;
  }
  return buffers.data[i];
}

Fold fold_channels(std::int64_t channels) {
  constexpr std::int64_t kLongEnough = 256;  // amortises a row's start; 1 KB per parameter array stays in the L1 cache
  constexpr std::int64_t kTooLong = 16384;   // beyond this an uneven end of a row costs nothing
  const std::int64_t even = kMaxLanes / std::gcd(channels, kMaxLanes);
  if (channels * even > kTooLong) return {1, channels};
  const std::int64_t repeat = even * std::max<std::int64_t>(1, kLongEnough / (channels * even));
  return {repeat, repeat * channels};
}

void repeat_channels(const float* from, float otherwise, std::int64_t channels, const Fold& fold, float* to) {
  if (!from) {
    std::fill(to, to + fold.period, otherwise);
    return;
  }
  for (std::int64_t r = 0; r < fold.repeat; ++r) std::copy(from, from + channels, to + r * channels);
}

void fold_columns(const double* columns, int chunks, std::int64_t stride, std::int64_t channels, const Fold& fold,
                  double* to) {
  std::fill(to, to + channels, 0.0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const double* from = columns + chunk * stride;
    for (std::int64_t r = 0; r < fold.repeat; ++r, from += channels) {
      for (std::int64_t c = 0; c < channels; ++c) to[c] += from[c];
    }
  }
}

}  // namespace fovea::kernels::simd
