// Sizes and order of a thread's allocations of tensors, and what the caching allocator would take from the system for
// the same ones in other sizes: how much memory a training step of a large batch needs is told from steps of small
// ones.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/export.h"

namespace fovea {

/// While alive, keeps what tensors of this thread take and give back in CPU memory. Guards nest; the innermost one
/// keeps.
class FOVEA_API AllocationTrace {
 public:
  struct Event {
    std::int32_t block = 0;  ///< blocks are numbered from 0 in the order in which they were taken
    bool freed = false;
    std::int64_t bytes = 0;
    friend bool operator==(const Event&, const Event&) = default;
  };

  AllocationTrace();
  ~AllocationTrace();
  AllocationTrace(const AllocationTrace&) = delete;
  AllocationTrace& operator=(const AllocationTrace&) = delete;

  /// So far. Blocks that were taken before the trace began are not in it.
  const std::vector<Event>& events() const { return events_; }

  /// Called by Storage.
  static void taken(std::uint64_t storage, std::size_t bytes);
  static void freed(std::uint64_t storage);

 private:
  std::vector<Event> events_;
  std::unordered_map<std::uint64_t, std::int32_t> block_of_;
  AllocationTrace* outer_;
};

/// The events of the same work on `batch` examples, told from those on two numbers of examples: each size grows along a
/// straight line. Empty where the two do not consist of the same events (a kernel that chose otherwise).
FOVEA_API std::vector<AllocationTrace::Event> extrapolate(std::span<const AllocationTrace::Event> a,
                                                          std::int64_t batch_a,
                                                          std::span<const AllocationTrace::Event> b,
                                                          std::int64_t batch_b, std::int64_t batch);

/// Bytes that the caching allocator takes from the system, starting with nothing, for `lasting` blocks that stay
/// (large ones apart, as a loader's threads take them) and the events `times` times over. Exact up to whole pages, and
/// up to what other threads allocate meanwhile.
FOVEA_API std::int64_t memory_for(std::span<const AllocationTrace::Event> events, int times,
                                  std::span<const std::int64_t> lasting = {});

}  // namespace fovea
