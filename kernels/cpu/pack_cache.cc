#include "kernels/cpu/pack_cache.h"

#include <list>
#include <mutex>
#include <new>
#include <unordered_map>

namespace fovea::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Entry {
  PackKey key;
  std::uint64_t version;
  std::size_t floats;
  std::shared_ptr<float> data;
};

struct Hash {
  std::size_t operator()(const PackKey& key) const {
    std::uint64_t h = key.storage_id * 0x9e3779b97f4a7c15u ^ reinterpret_cast<std::uintptr_t>(key.data);
    for (const std::int64_t v : key.layout) h = (h ^ static_cast<std::uint64_t>(v)) * 0x100000001b3u;
    return static_cast<std::size_t>(h ^ (h >> 29));
  }
};

struct Cache {
  std::mutex mutex;
  std::list<Entry> entries;  // most recently used first
  std::unordered_map<PackKey, std::list<Entry>::iterator, Hash> index;
  PackCacheStats stats;

  void remove(std::list<Entry>::iterator entry) {
    stats.bytes -= entry->floats * sizeof(float);
    index.erase(entry->key);
    entries.erase(entry);
  }
};

Cache& cache() {
  static auto* made = new Cache;  // never destroyed: threads may still compute while the process ends
  return *made;
}

std::shared_ptr<float> allocate(std::size_t floats) {
  auto* data = static_cast<float*>(::operator new(floats * sizeof(float), kAlignment));
  return {data, [](float* p) { ::operator delete(p, kAlignment); }};
}

}  // namespace

std::shared_ptr<const float> cached_pack(const PackKey& key, std::uint64_t version, std::size_t floats, PackFn fn,
                                         void* context) {
  Cache& c = cache();
  std::shared_ptr<float> memory;
  {
    const std::lock_guard lock(c.mutex);
    if (const auto found = c.index.find(key); found != c.index.end()) {
      const auto entry = found->second;
      if (entry->version == version && entry->floats == floats) {
        c.entries.splice(c.entries.begin(), c.entries, entry);
        ++c.stats.hits;
        return entry->data;
      }
      // Outdated (an optimizer's step): take its memory along if nobody reads it any more.
      if (entry->floats == floats && entry->data.use_count() == 1) memory = std::move(entry->data);
      c.remove(entry);
    }
    ++c.stats.misses;
  }
  if (!memory) memory = allocate(floats);
  fn(context, memory.get());  // outside the lock; two threads may pack the same, the later one stays
  const std::size_t bytes = floats * sizeof(float);
  if (bytes > pack_cache_limit() / 2) return memory;
  const std::lock_guard lock(c.mutex);
  if (const auto found = c.index.find(key); found != c.index.end()) c.remove(found->second);
  c.entries.push_front({key, version, floats, memory});
  c.index.emplace(key, c.entries.begin());
  c.stats.bytes += bytes;
  while (c.stats.bytes > pack_cache_limit()) c.remove(std::prev(c.entries.end()));
  return memory;
}

PackCacheStats pack_cache_stats() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  PackCacheStats stats = c.stats;
  stats.entries = c.entries.size();
  return stats;
}

void clear_pack_cache() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  c.entries.clear();
  c.index.clear();
  c.stats = {};
}

}  // namespace fovea::kernels
