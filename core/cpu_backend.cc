// A caching allocator: freed blocks are kept by size class and handed out again, because a training step asks for the
// same sizes every time and fresh pages cost page faults (4 KiB each, ~0.25 µs: 100 MB of activations are 25 000 of
// them).
#include "core/cpu_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/large_blocks_internal.h"
#include "core/threads/parallel.h"

namespace fovea::detail {
namespace {

constexpr std::size_t kAlignment = 64;
// Blocks above this are aligned to and rounded up to whole 2 MiB pages and advised huge: fewer TLB misses and page
// faults.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

class CpuBackend final : public DeviceBackend {
 public:
  void* allocate(std::size_t bytes, int) override {
    if (bytes == 0) return nullptr;
    if (bytes > (std::size_t{1} << 62)) throw Error(ErrorKind::memory, "allocate", str(bytes, " bytes asked for"));
    const std::size_t size = size_class(bytes);
    void* block = nullptr;
    {
      const std::lock_guard lock(mutex_);
      block = bytes >= LargeBlocks::kSmallest ? take_large(bytes) : nullptr;
      if (!block) block = take_cached(size);
    }
    if (!block) block = system_allocate(size);
    if (!block) {
      // The cache may hold what is missing, in other sizes.
      release_cache(0);
      block = system_allocate(size);
    }
    if (!block) {
      throw Error(ErrorKind::memory, "allocate", str("the system has no ", bytes, " bytes left"),
                  "use a smaller batch or a smaller image size");
    }
    const std::lock_guard lock(mutex_);
    stats_.current += static_cast<std::int64_t>(bytes);
    stats_.peak = std::max(stats_.peak, stats_.current);
    ++stats_.allocations;
    return block;
  }

  void deallocate(void* data, std::size_t bytes, int) noexcept override {
    if (!data) return;
    std::size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    stats_.current -= static_cast<std::int64_t>(bytes);
    if (LargeBlocks* const range = large_.owns(data) ? &large_ : apart_.owns(data) ? &apart_ : nullptr) {
      range->give(data, bytes);  // its maps may throw where not even 100 bytes are left: then the process ends
      stats_.cached += static_cast<std::int64_t>(bytes);
      return;
    }
    if (const auto lent = larger_.find(data); lent != larger_.end()) {
      size = lent->second;
      larger_.erase(lent);
    }
    try {
      free_[size].push_back(data);
      stats_.cached += static_cast<std::int64_t>(size);
    } catch (const std::bad_alloc&) {
      std::free(data);
    }
  }

  void zero(void* data, std::size_t bytes, int) override {
    parallel_for(static_cast<std::int64_t>(bytes), std::int64_t{1} << 18, [&](std::int64_t begin, std::int64_t end) {
      std::memset(static_cast<char*>(data) + begin, 0, static_cast<std::size_t>(end - begin));
    });
  }

  void copy(void* to, const void* from, std::size_t bytes, int) override {
    parallel_for(static_cast<std::int64_t>(bytes), std::int64_t{1} << 18, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                  static_cast<std::size_t>(end - begin));
    });
  }
  void copy_from_host(void* to, const void* from, std::size_t bytes, int i) override { copy(to, from, bytes, i); }
  void copy_to_host(void* to, const void* from, std::size_t bytes, int i) override { copy(to, from, bytes, i); }

  void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int) override {
    // bf16 is added in f32.
    const auto add = [&]<class T, class Wide>(T* sum, const T* term, Wide) {
      parallel_for(count, 1 << 15, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          sum[i] = static_cast<T>(static_cast<Wide>(sum[i]) + static_cast<Wide>(term[i]));
      });
    };
    if (dtype == DType::f32) {
      add(static_cast<float*>(to), static_cast<const float*>(from), float{});
    } else if (dtype == DType::f64) {
      add(static_cast<double*>(to), static_cast<const double*>(from), double{});
    } else if (dtype == DType::bf16) {
      add(static_cast<bf16*>(to), static_cast<const bf16*>(from), float{});
    } else {
      throw Error(ErrorKind::usage, "accumulate", str("gradients are f32, f64 or bf16, not ", fovea::to_string(dtype)));
    }
  }

  MemoryStats stats(int) const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak(int) override {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.current;
  }

  void release_cache(int) override {
    std::map<std::size_t, std::vector<void*>> taken;
    {
      const std::lock_guard lock(mutex_);
      taken.swap(free_);
      large_.release();
      apart_.release();
      stats_.cached = 0;
    }
    for (auto& [size, blocks] : taken) {
      for (void* block : blocks) std::free(block);
    }
  }

 private:
  /// Call it with the mutex held.
  void* take_large(std::size_t bytes) {
    std::size_t fresh = 0;
    void* const block = (AllocationsApart::active() ? apart_ : large_).take(bytes, fresh);
    if (!block) return nullptr;
    if (fresh > 0) ++stats_.system_allocations;
    // Of ranges whose pages were given back nothing was cached.
    const std::int64_t reused = static_cast<std::int64_t>(bytes) - static_cast<std::int64_t>(fresh);
    stats_.cached = std::max<std::int64_t>(0, stats_.cached - std::max<std::int64_t>(0, reused));
    return block;
  }

  /// A free block of that class, or else the smallest of up to twice the size: an epoch's last, smaller batch and
  /// batches of other sizes (validation, features) would otherwise each keep a set of blocks of their own. Call it with
  /// the mutex held.
  void* take_cached(std::size_t size) {
    for (auto bucket = free_.lower_bound(size); bucket != free_.end() && bucket->first <= 2 * size; ++bucket) {
      if (bucket->second.empty()) continue;
      void* block = bucket->second.back();
      if (bucket->first != size) larger_.emplace(block, bucket->first);
      bucket->second.pop_back();
      stats_.cached -= static_cast<std::int64_t>(bucket->first);
      return block;
    }
    return nullptr;
  }

  void* system_allocate(std::size_t size) {
    const bool huge = size >= 2 * kHugePage;
    const std::size_t alignment = huge ? kHugePage : kAlignment;
    const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
    void* block = std::aligned_alloc(alignment, rounded);
    if (block && huge) madvise(block, rounded, MADV_HUGEPAGE);  // a hint: failure costs speed only
    const std::lock_guard lock(mutex_);
    ++stats_.system_allocations;
    return block;
  }

  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  std::unordered_map<void*, std::size_t> larger_;  // blocks in use that are of a larger class than was asked for
  LargeBlocks large_, apart_;
  MemoryStats stats_;
};

}  // namespace

std::size_t size_class(std::size_t bytes) {
  if (bytes <= 512) return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t step = std::max(kAlignment, std::bit_floor(bytes - 1) / 8);
  return (bytes + step - 1) / step * step;
}

DeviceBackend& cpu_backend() {
  static auto* made = new CpuBackend;
  return *made;
}

}  // namespace fovea::detail
