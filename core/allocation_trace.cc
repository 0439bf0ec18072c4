#include "core/allocation_trace_internal.h"

#include <algorithm>
#include <map>

#include "core/cpu_backend.h"
#include "core/large_blocks_internal.h"

namespace fovea {
namespace {

thread_local AllocationTrace* current = nullptr;

/// The policy of the CPU's allocator (cpu_backend.cc) without its memory: LargeBlocks only reserves addresses.
class Replay {
 public:
  struct Block {
    void* large = nullptr;  // or of a size class:
    std::size_t bytes = 0, size = 0;
  };

  Block take(std::size_t bytes) {
    Block block{nullptr, bytes, detail::size_class(bytes)};
    if (bytes == 0) return block;
    if (bytes >= detail::LargeBlocks::kSmallest) {
      std::size_t fresh = 0;
      block.large = large_.take(bytes, fresh);
      if (block.large) {
        end_ = std::max(end_, static_cast<char*>(block.large) + bytes);
        if (!begin_) begin_ = static_cast<char*>(block.large);
        return block;
      }
    }
    for (auto bucket = free_.lower_bound(block.size); bucket != free_.end() && bucket->first <= 2 * block.size;
         ++bucket) {
      if (bucket->second == 0) continue;
      --bucket->second;
      block.size = bucket->first;
      return block;
    }
    small_ += static_cast<std::int64_t>(block.size);
    return block;
  }

  void give(const Block& block) {
    if (block.bytes == 0) return;
    if (block.large) {
      large_.give(block.large, block.bytes);
    } else {
      ++free_[block.size];
    }
  }

  /// Large blocks lie from the first one on without gaps that were never used.
  std::int64_t held() const { return small_ + (end_ - begin_); }

 private:
  detail::LargeBlocks large_;
  std::map<std::size_t, int> free_;
  char *begin_ = nullptr, *end_ = nullptr;
  std::int64_t small_ = 0;
};

}  // namespace

AllocationTrace::AllocationTrace() : outer_(current) { current = this; }
AllocationTrace::~AllocationTrace() { current = outer_; }

void AllocationTrace::taken(std::uint64_t storage, std::size_t bytes) {
  if (!current) return;
  const auto block = static_cast<std::int32_t>(current->block_of_.size());
  current->block_of_.emplace(storage, block);
  current->events_.push_back({block, false, static_cast<std::int64_t>(bytes)});
}

void AllocationTrace::freed(std::uint64_t storage) {
  if (!current) return;
  const auto found = current->block_of_.find(storage);
  if (found != current->block_of_.end()) current->events_.push_back({found->second, true, 0});
}

std::vector<AllocationTrace::Event> extrapolate(std::span<const AllocationTrace::Event> a, std::int64_t batch_a,
                                                std::span<const AllocationTrace::Event> b, std::int64_t batch_b,
                                                std::int64_t batch) {
  std::vector<AllocationTrace::Event> out;
  if (a.size() != b.size() || batch_a == batch_b) return out;
  out.reserve(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].block != b[i].block || a[i].freed != b[i].freed) return {};
    const double slope = static_cast<double>(b[i].bytes - a[i].bytes) / static_cast<double>(batch_b - batch_a);
    const double bytes = static_cast<double>(a[i].bytes) + slope * static_cast<double>(batch - batch_a);
    out.push_back({a[i].block, a[i].freed, std::max<std::int64_t>(0, static_cast<std::int64_t>(bytes + 0.5))});
  }
  return out;
}

std::int64_t memory_for(std::span<const AllocationTrace::Event> events, int times,
                        std::span<const std::int64_t> lasting) {
  Replay memory;
  Replay apart;
  for (const std::int64_t bytes : lasting) {
    (static_cast<std::size_t>(bytes) >= detail::LargeBlocks::kSmallest ? apart : memory)
        .take(static_cast<std::size_t>(bytes));
  }
  std::vector<Replay::Block> blocks;
  for (const AllocationTrace::Event& e : events) {
    if (static_cast<std::size_t>(e.block) >= blocks.size()) blocks.resize(static_cast<std::size_t>(e.block) + 1);
  }
  for (int t = 0; t < times; ++t) {
    for (const AllocationTrace::Event& e : events) {
      Replay::Block& block = blocks[static_cast<std::size_t>(e.block)];
      if (!e.freed) block = memory.take(static_cast<std::size_t>(e.bytes));
      if (!e.freed) continue;
      memory.give(block);
      block = {};
    }
    // What outlives the work (packed weights, say) is replaced when it is done again.
    for (Replay::Block& block : blocks) {
      memory.give(block);
      block = {};
    }
  }
  return memory.held() + apart.held();
}

}  // namespace fovea
