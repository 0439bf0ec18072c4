// A flag that stops long work at the next safe point.
#pragma once

#include <atomic>

namespace fovea {

/// request() may be called from any thread and from a signal handler (Ctrl-C).
class CancelToken {
 public:
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
  void reset() noexcept { requested_.store(false, std::memory_order_relaxed); }

 private:
  static_assert(std::atomic<bool>::is_always_lock_free);
  std::atomic<bool> requested_{false};
};

}  // namespace fovea
