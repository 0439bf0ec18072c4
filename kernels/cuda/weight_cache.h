// Weights in cuDNN's layout, kept on the GPU while they do not change, as kernels/cpu/pack_cache.h does on the CPU: in
// training the gradient uses what the forward pass laid out, in inference they are laid out once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/view.h"
#include "kernels/cuda/lru_cache.h"
#include "kernels/cuda/runtime.h"

namespace fovea::kernels::cuda {

/// ResNet-50 has 45 MB of weights larger than 1×1, VGG-16 has 59 MB.
inline constexpr std::size_t kWeightCacheLimit = std::size_t{256} << 20;

/// HWIO [taps, ci, co] as OHWI [co, taps, ci]. Hold the pointer until the work that reads it is queued. Where a
/// graph is recorded whose weights may change, nothing is taken from the cache or put in: it lays them out each time.
/// Weights in bf16 and f16 are not kept either: they are copies that a training step makes of its f32 ones.
std::shared_ptr<const Scratch> ohwi_weights(const ConstView& hwio, std::int64_t taps, std::int64_t ci, std::int64_t co);

CacheStats weight_cache_stats();  ///< cost is in bytes
/// Frees the kept weights of a GPU.
void clear_weight_cache(int device);

}  // namespace fovea::kernels::cuda
