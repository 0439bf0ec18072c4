#include "kernels/cuda/weight_cache.h"

#include "kernels/cuda/graph.h"
#include "kernels/cuda/ops.h"

namespace fovea::kernels::cuda {
namespace {

struct Key {
  int device = 0;
  std::uint64_t storage_id = 0;
  const void* data = nullptr;
  std::int64_t taps = 0, ci = 0, co = 0;
  friend bool operator==(const Key&, const Key&) = default;
};
struct Hash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t h = key.storage_id * 0x9e3779b97f4a7c15u ^ reinterpret_cast<std::uintptr_t>(key.data);
    h = (h ^ static_cast<std::uint64_t>(key.co)) * 0x100000001b3u;
    return static_cast<std::size_t>(h ^ (h >> 29));
  }
};
struct Kept {
  std::uint64_t version = 0;
  std::shared_ptr<const Scratch> memory;
};
LruCache<Key, Kept, Hash>& cache() {
  static auto* made = new LruCache<Key, Kept, Hash>(kWeightCacheLimit);  // the driver may be gone at the end
  return *made;
}

std::size_t weight_bytes(const ConstView& hwio, std::int64_t taps, std::int64_t ci, std::int64_t co) {
  return static_cast<std::size_t>(taps * ci * co) * dtype_size(hwio.dtype);
}
std::shared_ptr<const Scratch> turned(const ConstView& hwio, std::int64_t taps, std::int64_t ci, std::int64_t co) {
  auto memory = std::make_shared<const Scratch>(weight_bytes(hwio, taps, ci, co), hwio.device.index);
  weights_to_ohwi(hwio, memory->data(), taps, ci, co);
  return memory;
}

}  // namespace

std::shared_ptr<const Scratch> ohwi_weights(const ConstView& hwio, std::int64_t taps, std::int64_t ci,
                                            std::int64_t co) {
  const int device = hwio.device.index;
  const Key key{device, hwio.storage_id, hwio.data, taps, ci, co};
  // Memory that is no tensor's has no version; a graph whose weights change must turn them at each launch; and halves
  // are the casts of one training step, but where a graph's do not change.
  Recording* const recorded = recording(device);
  const bool constant = recorded && recorded->constant_weights;
  if (hwio.storage_id == 0 || (!constant && (recorded || is_half(hwio.dtype)))) return turned(hwio, taps, ci, co);
  const auto current = [&](const Kept& k) { return k.version == hwio.version; };
  auto found = cache().find(key, current);
  std::shared_ptr<const Scratch> memory = found ? std::move(found->memory) : nullptr;
  if (!memory) {
    const OutsideRecording apart;  // it outlives the graph
    memory = turned(hwio, taps, ci, co);
    cache().put(key, {hwio.version, memory}, weight_bytes(hwio, taps, ci, co));
  }
  if (recorded) recorded->kept.push_back(memory);
  return memory;
}

CacheStats weight_cache_stats() { return cache().stats(); }
void clear_weight_cache(int device) {
  cache().erase_if([&](const Key& key) { return key.device == device; });
}

}  // namespace fovea::kernels::cuda
