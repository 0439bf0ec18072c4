// Large blocks of CPU memory from one range of addresses, in which what was freed grows together again. A training step
// frees its maps in another order and in other sizes than it asks for gradients: kept apart by size they would take a
// third more (MobileNetV2, 16 pictures of 224: 665 instead of 504 MB). Internal to core.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include "core/export.h"

namespace fovea::detail {

/// Not thread-safe: its owner locks.
class LargeBlocks {
 public:
  /// Smaller blocks are no business of this class.
  static constexpr std::size_t kSmallest = std::size_t{1} << 20;

  /// Reserves addresses (not memory) for as much as the machine has. Without them every take() is null.
  LargeBlocks();
  LargeBlocks(const LargeBlocks&) = delete;
  LargeBlocks& operator=(const LargeBlocks&) = delete;

  /// The smallest free range that holds so many bytes, or fresh memory behind all others, 64-byte aligned; null where
  /// the range is used up. `fresh` says how much of it was never used before.
  void* take(std::size_t bytes, std::size_t& fresh);
  bool owns(const void* block) const { return block >= base_ && block < base_ + reserved_; }
  void give(void* block, std::size_t bytes);
  /// Gives the pages of all free ranges back to the system; the ranges can still be taken.
  void release();

 private:
  static std::size_t rounded(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
  void insert(char* begin, std::size_t bytes);
  void erase(std::map<char*, std::size_t>::iterator range);

  char *base_ = nullptr, *top_ = nullptr;
  std::size_t reserved_ = 0;
  std::map<char*, std::size_t> free_;                // by address, no two beside each other
  std::set<std::pair<std::size_t, char*>> by_size_;  // the same
};

/// While alive, large blocks that this thread takes come from a second range. For threads beside a training step, such
/// as a loader's: when they ask depends on time, and a batch that once fell into the gap of a map made the same
/// training need 156 MB or 169 MB (MobileNetV2, 8 pictures of 128).
class FOVEA_API AllocationsApart {
 public:
  AllocationsApart();
  ~AllocationsApart();
  AllocationsApart(const AllocationsApart&) = delete;
  AllocationsApart& operator=(const AllocationsApart&) = delete;
  static bool active();

 private:
  bool outer_;
};

}  // namespace fovea::detail
