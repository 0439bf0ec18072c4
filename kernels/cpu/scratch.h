// Scratch memory of the CPU kernels: per thread, grown on demand and kept, because a malloc of more than 128 KB per
// call is an mmap and page-faults every time (measured: 2 to 4 ms per training step of a small CNN).
#pragma once

#include <cstddef>

namespace fovea::kernels {

/// Two live buffers per thread: what the calling thread shares with its team, and what each worker uses alone (the
/// calling thread works too).
enum class ScratchSlot { caller, worker };

/// At least `count` floats, 64-byte aligned, uninitialised; valid until this thread asks for the same slot again.
float* scratch(ScratchSlot slot, std::size_t count);

/// Rounds up to whole 64-byte lines, for cutting several arrays from one scratch.
constexpr std::size_t line_floats(std::size_t count) { return (count + 15) / 16 * 16; }

}  // namespace fovea::kernels
