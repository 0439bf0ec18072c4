// A loop whose threads help each other: each begins with the part that parallel_for would give it, front to back, and
// when it is done takes half of what another has not begun, from the back. For loops of 10 to 300 µs on machines where
// a core can be slowed from outside while it works (virtual machines, other processes): with fixed parts the other
// cores wait for it. Where no thread is late, the parts and what is in each core's cache are parallel_for's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "core/threads/parallel.h"

namespace fovea {

/// How a loop is cut.
struct ShareSizes {
  std::int64_t count = 0;  ///< items
  std::int64_t grain = 1;  ///< see parallel_for
  std::int64_t least = 1;  ///< items that a thread takes of its own at a time, if it has so many
  bool fixed = false;      ///< parallel_for's parts, for loops that are too short to pay for more
};

/// One thread's part of the items [0, count).
class Share {
 public:
  /// What other threads can take: first item and end, in one word.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> range;
  };

  Share(int own, std::int64_t begin, std::int64_t end) : own_(own), rest_(begin), rest_end_(end) {}
  /// Thread `own` of `count`, which has [begin, end) to itself.
  Share(Slot* slots, int count, int own, const ShareSizes& sizes, std::int64_t begin, std::int64_t end)
      : slots_(slots),
        count_(count),
        own_(own),
        least_(static_cast<std::uint64_t>(sizes.least)),
        rest_(begin),
        rest_end_(end) {
    __builtin_prefetch(&slots[own], 1);
  }

  /// Takes the next items, at most `most` of them, into [begin(), end()); false when there are none. They follow the
  /// ones before unless they are another thread's.
  bool take(std::int64_t most) {
    if (rest_ == rest_end_ && count_ > 0 && !take_own() && !take_other()) return false;
    begin_ = rest_;
    end_ = rest_ = std::min(rest_end_, rest_ + most);
    return begin_ < end_;
  }
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }
  /// The thread's number, as parallel_for's chunk.
  int thread() const { return own_; }
  /// Where this thread's items end, as far as they follow the ones just taken and nobody takes them away.
  std::int64_t reach() const {
    if (rest_ < rest_end_ || count_ == 0) return rest_end_;
    const std::uint64_t word = slots_[own_].range.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(first(word)) == end_ ? static_cast<std::int64_t>(last(word)) : end_;
  }

  static std::uint64_t word(std::uint64_t begin, std::uint64_t end) { return begin << 32 | end; }

 private:
  static std::uint64_t first(std::uint64_t word) { return word >> 32; }
  static std::uint64_t last(std::uint64_t word) { return word & 0xffffffffu; }

  /// Half of what is left of this thread's own.
  bool take_own() {
    std::atomic<std::uint64_t>& range = slots_[own_].range;
    std::uint64_t word = range.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t begin = first(word), count = last(word) - begin;
      if (count == 0) return false;
      const std::uint64_t some = std::min(count, std::max((count + 1) / 2, least_));
      if (range.compare_exchange_weak(word, Share::word(begin + some, begin + count), std::memory_order_relaxed)) {
        set_rest(begin, begin + some);
        return true;
      }
    }
  }

  /// Half of what another thread has not begun.
  bool take_other() {
    for (int i = 1; i < count_; ++i) {
      std::atomic<std::uint64_t>& range = slots_[(own_ + i) % count_].range;
      std::uint64_t word = range.load(std::memory_order_relaxed);
      for (;;) {
        const std::uint64_t begin = first(word), end = last(word);
        if (end - begin < kLeast) break;
        const std::uint64_t middle = end - (end - begin + 1) / 2;
        if (range.compare_exchange_weak(word, Share::word(begin, middle), std::memory_order_relaxed)) {
          set_rest(middle, end);
          return true;
        }
      }
    }
    return false;
  }

  // The last item remains its owner's. Leaving it several, because another core has to fetch what they need first, made
  // medians beside busy neighbours a tenth longer and more.
  static constexpr std::uint64_t kLeast = 2;

  void set_rest(std::uint64_t begin, std::uint64_t end) {
    rest_ = static_cast<std::int64_t>(begin);
    rest_end_ = static_cast<std::int64_t>(end);
  }

  Slot* slots_ = nullptr;
  int count_ = 0, own_ = 0;
  std::uint64_t least_ = 1;
  std::int64_t begin_ = 0, end_ = 0;
  std::int64_t rest_ = 0, rest_end_ = 0;  ///< taken, and not yet given out
};

/// Calls body(Share&) once on each of as many threads as parallel_for(count, grain, ...) uses; together they take each
/// item once. Which thread takes which differs from run to run, so a result must not depend on it. A thread takes half
/// of its items first, then half of the rest, and so on: large parts while it has far to go, small ones when others
/// look for work. Costs 0.3 µs more than parallel_for, which it is where no thread has items left after its first part.
template <class Body>
void parallel_shares(const ShareSizes& sizes, Body&& body) {
  constexpr int kMost = 64;
  const std::int64_t count = sizes.count;
  if (count <= 0) return;
  const int chunks = parallel_chunk_count(count, sizes.grain);
  const auto begin_of = [&](std::int64_t chunk) { return detail::chunk_begin(count, chunks, chunk); };
  const auto free_of = [&](std::int64_t chunk) {
    const std::int64_t begin = begin_of(chunk), size = begin_of(chunk + 1) - begin;
    return begin + std::min(size, std::max((size + 1) / 2, sizes.least));
  };
  const bool any_free = !sizes.fixed && begin_of(1) > free_of(0);  // the first part is the longest
  if (chunks <= 1 || chunks > kMost || count > 0xffffffff || !any_free) {
    return parallel_for(count, sizes.grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
      Share share(chunk, begin, end);
      body(share);
    });
  }
  // Only those that are used are written: 64 lines would be a tenth of L1.
  alignas(Share::Slot) std::byte memory[kMost * sizeof(Share::Slot)];
  Share::Slot* const slots = reinterpret_cast<Share::Slot*>(memory);
  for (int i = 0; i < chunks; ++i) {
    const auto free = static_cast<std::uint64_t>(free_of(i)), end = static_cast<std::uint64_t>(begin_of(i + 1));
    new (slots + i) Share::Slot{Share::word(free, end)};
  }
  parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Share share(slots, chunks, static_cast<int>(i), sizes, begin_of(i), free_of(i));
      body(share);
    }
  });
}

}  // namespace fovea
