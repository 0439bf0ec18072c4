// Memory of GPUs: the driver's stream-ordered pools (cudaMallocAsync), which keep what was freed until it is asked for
// again, and copies through pinned staging buffers, so that a copy from ordinary memory does not wait for the GPU.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
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

class CudaBackend final : public DeviceBackend {
 public:
  void* allocate(std::size_t bytes, int index) override {
    if (bytes == 0) return nullptr;
    const cudaStream_t queue = stream(index);
    PerDevice& d = device(index);
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
    const std::lock_guard lock(d.mutex);
    d.sizes.emplace(data, bytes);
    d.counted.current += static_cast<std::int64_t>(bytes);
    d.counted.peak = std::max(d.counted.peak, d.counted.current);
    ++d.counted.allocations;
    return data;
  }

  void deallocate(void* data, std::size_t, int index) noexcept override {
    if (!data) return;
    PerDevice& d = device(index);
    {
      const std::lock_guard lock(d.mutex);
      const auto found = d.sizes.find(data);
      if (found != d.sizes.end()) {
        d.counted.current -= static_cast<std::int64_t>(found->second);
        d.sizes.erase(found);
      }
    }
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
    if (bytes > 0) device(index).staging.copy(to, from, bytes, queue);
  }
  void copy_to_host(void* to, const void* from, std::size_t bytes, int index) override {
    const cudaStream_t queue = stream(index);
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue), "copy from the GPU");
    check(cudaStreamSynchronize(queue), "copy from the GPU");
  }
  void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int index) override {
    cuda::accumulate(to, from, count, dtype, index);
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
  struct PerDevice {
    std::once_flag once;
    cudaMemPool_t pool = nullptr;
    Staging staging;
    std::mutex mutex;
    MemoryStats counted;
    std::unordered_map<void*, std::size_t> sizes;
  };
  static PerDevice& device(int index) {
    static auto* all = new std::array<PerDevice, kMaxDevices>;
    return (*all)[static_cast<std::size_t>(index)];
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
