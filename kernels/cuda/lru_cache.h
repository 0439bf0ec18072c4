// A bounded map that forgets what was used least recently. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace fovea::kernels::cuda {

struct CacheStats {
  std::size_t entries = 0, cost = 0;
  std::uint64_t hits = 0, misses = 0;
};

/// Value is cheap to copy (a shared pointer). What an entry costs is told when it is put in.
template <class Key, class Value, class Hash>
class LruCache {
 public:
  explicit LruCache(std::size_t limit) : limit_(limit) {}

  /// The value if it is there and `fits(value)`; counts a hit or a miss.
  template <class Fits>
  std::optional<Value> find(const Key& key, const Fits& fits) {
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(key);
    if (found == index_.end() || !fits(found->second->value)) {
      ++stats_.misses;
      return std::nullopt;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    ++stats_.hits;
    return found->second->value;
  }
  std::optional<Value> find(const Key& key) {
    return find(key, [](const Value&) { return true; });
  }

  /// Puts the value in the place of an earlier one. Values that would leave no room for another are not kept.
  void put(const Key& key, Value value, std::size_t cost) {
    std::list<Entry> dropped;  // destroyed after the lock is gone: that may take a while
    const std::lock_guard lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) drop(found->second, dropped);
    if (cost > limit_ / 2) return;
    entries_.push_front({key, std::move(value), cost});
    index_.emplace(key, entries_.begin());
    stats_.cost += cost;
    while (stats_.cost > limit_) drop(std::prev(entries_.end()), dropped);
  }

  /// Forgets the entries whose key says so.
  template <class Which>
  void erase_if(const Which& which) {
    std::list<Entry> dropped;
    const std::lock_guard lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
      const auto next = std::next(it);
      if (which(it->key)) drop(it, dropped);
      it = next;
    }
  }

  CacheStats stats() {
    const std::lock_guard lock(mutex_);
    CacheStats s = stats_;
    s.entries = entries_.size();
    return s;
  }
  std::size_t limit() const { return limit_; }

 private:
  struct Entry {
    Key key;
    Value value;
    std::size_t cost;
  };
  using Iterator = typename std::list<Entry>::iterator;

  void drop(Iterator entry, std::list<Entry>& dropped) {
    stats_.cost -= entry->cost;
    index_.erase(entry->key);
    dropped.splice(dropped.end(), entries_, entry);
  }

  std::mutex mutex_;
  std::size_t limit_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<Key, Iterator, Hash> index_;
  CacheStats stats_;
};

}  // namespace fovea::kernels::cuda
