// Memory for the runs of a graph's recording. A graph remembers addresses, so what a run frees may serve the same run
// again but nobody else.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace fovea::kernels::cuda {

/// Cuts blocks from slabs, the smallest free piece that does, and joins what comes back. A block that is free on the
/// host is free for what is queued next, because all work of a GPU is in one order. Thread-safe. Owned by the graph and
/// by every block that lives (backend.cc).
class GraphPool {
 public:
  explicit GraphPool(int device) : device_(device) {}
  ~GraphPool();
  GraphPool(const GraphPool&) = delete;
  GraphPool& operator=(const GraphPool&) = delete;

  /// nullptr where no slab has room.
  void* take(std::size_t bytes);
  /// Takes memory [data, data + bytes) in, which goes back by cudaFreeAsync in the end.
  void add_slab(void* data, std::size_t bytes);
  void give(void* data) noexcept;
  std::size_t bytes() const;  ///< of all slabs

  /// What a slab for such a block should have.
  static std::size_t slab_bytes(std::size_t bytes);

 private:
  struct Slab {
    char* base;
    std::size_t bytes;
    std::map<std::size_t, std::size_t> free, used;  // offset → bytes
  };
  int device_;
  mutable std::mutex mutex_;
  std::vector<Slab> slabs_;
};

}  // namespace fovea::kernels::cuda
