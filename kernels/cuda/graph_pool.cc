#include "kernels/cuda/graph_pool.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/runtime.h"

namespace fovea::kernels::cuda {
namespace {

constexpr std::size_t kAlign = 512;  // as of memory from the driver
// Less would cut the small maps of a network into many slabs, more would be wasted on networks that need little.
constexpr std::size_t kSlab = std::size_t{8} << 20;

std::size_t rounded(std::size_t bytes, std::size_t to) { return (std::max<std::size_t>(bytes, 1) + to - 1) / to * to; }

}  // namespace

std::size_t GraphPool::slab_bytes(std::size_t bytes) { return bytes <= kSlab ? kSlab : rounded(bytes, kSlab / 4); }

GraphPool::~GraphPool() {
  try {
    const cudaStream_t queue = stream(device_);
    for (const Slab& slab : slabs_) cudaFreeAsync(slab.base, queue);
  } catch (const Error&) {  // at the end of the program the driver may be gone: nothing is left to free then
  }
  cudaGetLastError();
}

void* GraphPool::take(std::size_t bytes) {
  const std::size_t size = rounded(bytes, kAlign);
  const std::lock_guard lock(mutex_);
  Slab* best = nullptr;
  std::map<std::size_t, std::size_t>::iterator piece;
  for (Slab& slab : slabs_) {
    for (auto it = slab.free.begin(); it != slab.free.end(); ++it) {
      if (it->second >= size && (!best || it->second < piece->second)) {
        best = &slab;
        piece = it;
      }
    }
  }
  if (!best) return nullptr;
  const auto [offset, available] = *piece;
  best->free.erase(piece);
  if (available > size) best->free.emplace(offset + size, available - size);
  best->used.emplace(offset, size);
  return best->base + offset;
}

void GraphPool::add_slab(void* data, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  slabs_.push_back({static_cast<char*>(data), bytes, {{0, bytes}}, {}});
}

void GraphPool::give(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  for (Slab& slab : slabs_) {
    const char* const p = static_cast<char*>(data);
    if (p < slab.base || p >= slab.base + slab.bytes) continue;
    const auto used = slab.used.find(static_cast<std::size_t>(p - slab.base));
    if (used == slab.used.end()) return;
    // Joined with its free neighbours.
    auto [offset, size] = *used;
    slab.used.erase(used);
    auto next = slab.free.lower_bound(offset);
    if (next != slab.free.end() && offset + size == next->first) {
      size += next->second;
      next = slab.free.erase(next);
    }
    if (next != slab.free.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += size;
        return;
      }
    }
    slab.free.emplace(offset, size);
    return;
  }
}

std::size_t GraphPool::bytes() const {
  const std::lock_guard lock(mutex_);
  std::size_t sum = 0;
  for (const Slab& slab : slabs_) sum += slab.bytes;
  return sum;
}

}  // namespace fovea::kernels::cuda
