#include "kernels/cuda/tensor_table.h"

#include <algorithm>

#include "kernels/cuda/graph.h"
#include "kernels/cuda/lru_cache.h"

namespace fovea::kernels::cuda {
namespace {

struct Key {
  int device = 0;
  std::vector<TableRow> rows;
  friend bool operator==(const Key&, const Key&) = default;
};
struct Hash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t h = 0xcbf29ce484222325u;
    const auto add = [&](std::uint64_t word) { h = (h ^ word ^ (h >> 29)) * 0x100000001b3u; };
    for (const TableRow& row : key.rows) {
      add(static_cast<std::uint64_t>(row.count));
      for (const void* p : row.at) add(reinterpret_cast<std::uintptr_t>(p));
      add(static_cast<std::uint64_t>(row.set));
    }
    return static_cast<std::size_t>(h ^ (h >> 32));
  }
};
LruCache<Key, std::shared_ptr<const Scratch>, Hash>& cache() {
  static auto* made = new LruCache<Key, std::shared_ptr<const Scratch>, Hash>(kTablesKept);  // as the weights'
  return *made;
}

}  // namespace

std::shared_ptr<const Scratch> TensorTable::on_device(int device) const {
  if (rows_.size() == 1) return nullptr;
  Recording* const recorded = recording(device);
  const OutsideRecording apart;  // a table outlives the graph that reads it, and its copy is not recorded
  const Key key{device, rows_};
  if (auto kept = cache().find(key)) {
    if (recorded) recorded->kept.push_back(*kept);
    return std::move(*kept);
  }
  auto memory = std::make_shared<const Scratch>(rows_.size() * sizeof(TableRow), device);
  copy_to_device(memory->data(), rows_.data(), rows_.size() * sizeof(TableRow), device);
  if (recorded) recorded->kept.push_back(memory);
  cache().put(key, memory, 1);
  return memory;
}

void clear_table_cache(int device) {
  cache().erase_if([&](const Key& key) { return key.device == device; });
}

}  // namespace fovea::kernels::cuda
