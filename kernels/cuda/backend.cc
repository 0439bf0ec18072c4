// Memory of GPUs: the driver's stream-ordered pools (cudaMallocAsync), which keep what was freed until it is asked for
// again, and copies through pinned staging buffers, so that a copy from ordinary memory does not wait for the GPU.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/tensor_table.h"
#include "kernels/cuda/weight_cache.h"

namespace fovea::kernels::cuda {
namespace {

/// Pinned memory through which copies to one GPU go, in turns: while one half travels the other is filled.
class Staging {
 public:
  static constexpr std::size_t kHalf = std::size_t{8} << 20;

  void copy(void* to, const void* from, std::size_t bytes, cudaStream_t queue) {
    const std::lock_guard lock(mutex_);
    if (!memory_) make();
    const char* source = static_cast<const char*>(from);
    char* target = static_cast<char*>(to);
    while (bytes > 0) {
      const std::size_t part = std::min(bytes, kHalf);
      check(cudaEventSynchronize(free_[turn_]), "wait for a staging buffer");
      char* half = memory_ + turn_ * kHalf;
      std::memcpy(half, source, part);
      check(cudaMemcpyAsync(target, half, part, cudaMemcpyHostToDevice, queue), "copy to the GPU");
      check(cudaEventRecord(free_[turn_], queue), "cudaEventRecord");
      turn_ = 1 - turn_;
      source += part;
      target += part;
      bytes -= part;
    }
  }

 private:
  void make() {
    void* made = nullptr;
    check(cudaHostAlloc(&made, 2 * kHalf, cudaHostAllocDefault), "pinned staging memory");
    for (cudaEvent_t& event : free_) check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    memory_ = static_cast<char*>(made);
  }

  std::mutex mutex_;
  char* memory_ = nullptr;
  std::array<cudaEvent_t, 2> free_{};
  std::size_t turn_ = 0;
};

/// A graph cannot hold what waits for the GPU, or reads memory of the host that will be something else by then.
void refuse_in_capture(const char* what, int index) {
  const Recording* const recorded = recording(index);
  if (!recorded || !recorded->capture) return;
  throw Error(ErrorKind::device, "graph", str(what, " cannot be recorded"),
              "make operands on the GPU before DeviceGraph::record, and read results after DeviceGraph::launch");
}

class CudaBackend final : public DeviceBackend {
 public:
  void* allocate(std::size_t bytes, int index) override {
    if (bytes == 0) return nullptr;
    PerDevice& d = device(index);
    Recording* const recorded = recording(index);
    if (!recorded) {
      void* const data = from_driver(d, bytes, index);
      count(d, data, bytes, nullptr);
      return data;
    }
    GraphPool& pool = *recorded->pool;
    void* data = pool.take(bytes);
    if (!data) {
      if (recorded->capture) {
        throw Error(ErrorKind::device, "graph",
                    str("the run that is recorded asks for ", bytes, " bytes that the runs before it did not"),
                    "work that is recorded must do the same each time");
      }
      const std::size_t slab = GraphPool::slab_bytes(bytes);
      pool.add_slab(from_driver(d, slab, index), slab);
      data = pool.take(bytes);
    }
    count(d, data, bytes, recorded->pool);
    return data;
  }

  void deallocate(void* data, std::size_t, int index) noexcept override {
    if (!data) return;
    PerDevice& d = device(index);
    std::shared_ptr<GraphPool> pool;
    {
      const std::lock_guard lock(d.mutex);
      const auto found = d.blocks.find(data);
      if (found != d.blocks.end()) {
        d.counted.current -= static_cast<std::int64_t>(found->second.bytes);
        pool = std::move(found->second.pool);
        d.blocks.erase(found);
      }
    }
    if (pool) return pool->give(data);
    // At the end of the program the driver may be gone: nothing is left to free then.
    try {
      cudaFreeAsync(data, stream(index));
    } catch (const Error&) {
    }
    cudaGetLastError();
  }

  void zero(void* data, std::size_t bytes, int index) override {
    if (bytes > 0) check(cudaMemsetAsync(data, 0, bytes, stream(index)), "cudaMemsetAsync");
  }
  void copy(void* to, const void* from, std::size_t bytes, int index) override {
    if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream(index)), "copy on the GPU");
  }
  void copy_from_host(void* to, const void* from, std::size_t bytes, int index) override {
    const cudaStream_t queue = stream(index);
    refuse_in_capture("a copy from the host", index);
    if (bytes > 0) device(index).staging.copy(to, from, bytes, queue);
  }
  void copy_to_host(void* to, const void* from, std::size_t bytes, int index) override {
    const cudaStream_t queue = stream(index);
    if (bytes == 0) return;
    refuse_in_capture("reading values on the host", index);
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue), "copy from the GPU");
    check(cudaStreamSynchronize(queue), "copy from the GPU");
  }
  void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int index) override {
    cuda::accumulate(to, from, count, dtype, index);
  }

  bool convert(const void* from, DType dtype, void* to, DType to_dtype, std::int64_t count, int index) override {
    return cuda::convert({from, Shape{count}, dtype, {DeviceType::cuda, index}, 0, 0}, to, to_dtype);
  }

  MemoryStats stats(int index) const override {
    PerDevice& d = device(index);
    const std::lock_guard lock(d.mutex);
    MemoryStats s = d.counted;
    std::uint64_t reserved = 0;
    if (d.pool && cudaMemPoolGetAttribute(d.pool, cudaMemPoolAttrReservedMemCurrent, &reserved) == cudaSuccess)
      s.cached = std::max<std::int64_t>(0, static_cast<std::int64_t>(reserved) - s.current);
    return s;
  }
  void reset_peak(int index) override {
    PerDevice& d = device(index);
    const std::lock_guard lock(d.mutex);
    d.counted.peak = d.counted.current;
  }
  void release_cache(int index) override {
    clear_weight_cache(index);
    clear_table_cache(index);
    check(cudaStreamSynchronize(stream(index)), "cudaStreamSynchronize");
    if (device(index).pool) check(cudaMemPoolTrimTo(device(index).pool, 0), "cudaMemPoolTrimTo");
  }

 private:
  struct Block {
    std::size_t bytes;
    std::shared_ptr<GraphPool> pool;  // where it goes back to; nullptr: to the driver
  };
  struct PerDevice {
    std::once_flag once;
    cudaMemPool_t pool = nullptr;
    Staging staging;
    std::mutex mutex;
    MemoryStats counted;
    std::unordered_map<void*, Block> blocks;
  };
  static PerDevice& device(int index) {
    static auto* all = new std::array<PerDevice, kMaxDevices>;
    return (*all)[static_cast<std::size_t>(index)];
  }

  void* from_driver(PerDevice& d, std::size_t bytes, int index) {
    const cudaStream_t queue = stream(index);
    std::call_once(d.once, [&] {
      check(cudaDeviceGetDefaultMemPool(&d.pool, index), "cudaDeviceGetDefaultMemPool");
      std::uint64_t keep = ~std::uint64_t{0};
      check(cudaMemPoolSetAttribute(d.pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
    });
    void* data = nullptr;
    cudaError_t status = cudaMallocAsync(&data, bytes, queue);
    if (status == cudaErrorMemoryAllocation) {  // what lies free in pieces may do as a whole
      cudaGetLastError();
      clear_weight_cache(index);
      clear_table_cache(index);
      check(cudaStreamSynchronize(queue), "cudaStreamSynchronize");
      check(cudaMemPoolTrimTo(d.pool, 0), "cudaMemPoolTrimTo");
      status = cudaMallocAsync(&data, bytes, queue);
    }
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw Error(ErrorKind::memory, str("cuda:", index),
                  str("no memory for ", bytes, " bytes: tensors hold ", stats(index).current, ", ", free, " of ", total,
                      " are free"),
                  kOutOfMemory);
    }
    check(status, "cudaMallocAsync");
    return data;
  }

  static void count(PerDevice& d, void* data, std::size_t bytes, std::shared_ptr<GraphPool> pool) {
    const std::lock_guard lock(d.mutex);
    d.blocks.emplace(data, Block{bytes, std::move(pool)});
    d.counted.current += static_cast<std::int64_t>(bytes);
    d.counted.peak = std::max(d.counted.peak, d.counted.current);
    ++d.counted.allocations;
  }
};

}  // namespace

void copy_to_device(void* to, const void* from, std::size_t bytes, int index) {
  backend({DeviceType::cuda, index}).copy_from_host(to, from, bytes, index);
}
void copy_to_host(void* to, const void* from, std::size_t bytes, int index) {
  backend({DeviceType::cuda, index}).copy_to_host(to, from, bytes, index);
}

void install_backend() {
  static CudaBackend* made = [] {
    auto* backend = new CudaBackend;
    set_backend(DeviceType::cuda, backend);
    return backend;
  }();
  (void)made;
}

}  // namespace fovea::kernels::cuda
