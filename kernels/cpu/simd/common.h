// What the Highway kernels share outside their per-target code: scratch memory, work sizes, folding of channels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fovea::kernels::simd {

/// Fewer elements than this per thread cost more to hand out than to do (a team's start and join is 3 to 5 µs; a core
/// streams 32 768 floats in about 10).
inline constexpr std::int64_t kGrain = 32768;
/// The same where an element costs an exponential or more.
inline constexpr std::int64_t kHeavyGrain = 8192;

/// Longest vector of any target in floats. Periods are multiples of it, and padding to it ends false sharing.
inline constexpr std::int64_t kMaxLanes = 16;

/// Which of a thread's scratch buffers. A function holds at most one buffer per slot; those that run inside a
/// parallel_for body (block…) differ from those of the caller (columns…), because the caller runs a chunk itself.
enum class Slot { columns, partials, weights, block_a, block_b, block_c, count };

namespace detail {
void* scratch_bytes(Slot slot, std::size_t bytes);
}

/// At least `count` elements, 64-byte aligned, uninitialised, this thread's; kept and reused until the thread ends.
template <class T>
T* scratch(Slot slot, std::int64_t count) {
  return static_cast<T*>(detail::scratch_bytes(slot, static_cast<std::size_t>(count) * sizeof(T)));
}

/// Rows of C channels are walked as rows of `period` = `repeat`·C values, a multiple of the longest vector, so that any
/// number of channels (1, 3, 10, 100) fills vectors. Per-channel values are repeated to the period's length, per-column
/// sums folded.
struct Fold {
  std::int64_t repeat = 1;
  std::int64_t period = 1;
};
Fold fold_channels(std::int64_t channels);

/// to[0, fold.period) = from[0, channels) over and over; `otherwise` where from is null.
void repeat_channels(const float* from, float otherwise, std::int64_t channels, const Fold& fold, float* to);

/// Per-channel sums from per-column sums of `chunks` chunks, in chunk order: to[c] = Σ_chunk Σ_repeat
/// columns[chunk·stride + r·C + c].
void fold_columns(const double* columns, int chunks, std::int64_t stride, std::int64_t channels, const Fold& fold,
                  double* to);

}  // namespace fovea::kernels::simd
