// The CUDA runtime of the test double: errors, devices, memory and copies. See cuda_double.h.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "state.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace fovea::cuda_double {
namespace {
// For 9 and up cuBLAS is given 32 MB of workspace instead of 4, which would have to be opened each time.
std::atomic<int> capability = 8;
}  // namespace

void set_capability(int major) { capability = major; }

void broken(const std::string& what) {
  std::fprintf(stderr, "CUDA test double: %s\n", what.c_str());
  std::abort();
}

bool fails_now(const char* call) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (st.times == 0 || st.failing != call) return false;
  if (st.after > 0) {
    --st.after;
    return false;
  }
  --st.times;
  return true;
}

void enqueue(cudaStream_t stream, const char* name, std::function<void()> run) {
  enqueue_when(stream, name, {}, std::move(run));
}

void enqueue_when(cudaStream_t stream, const char* name, std::function<void()> ready, std::function<void()> run) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (!stream) broken(std::string(name) + ": on the default stream, which would wait for all others");
  if (stream->device != current) {
    broken(std::string(name) + ": the stream belongs to GPU " + std::to_string(stream->device) + ", current is " +
           std::to_string(current));
  }
  if (stream->capture) {
    auto& work = stream->capture->work;
    if (!ready) {
      work.push_back({name, std::move(run)});
    } else {
      work.push_back({name, [ready = std::move(ready), run = std::move(run)] {
                        ready();
                        run();
                      }});
    }
    work.back().memory = std::move(checked_memory);
    checked_memory.clear();
    return;
  }
  checked_memory.clear();
  stream->queue.push_back({name, std::move(run), std::move(ready)});
  ++stream->queued;
}

void check_device_memory(const void* data, std::size_t bytes, const char* what) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  const Arena& a = st.arenas[static_cast<std::size_t>(current)];
  const std::string name = what;
  if (!a.contains(data)) {
    broken(name + (arena_of(data) ? ": the address belongs to another GPU" : ": the address is not GPU memory"));
  }
  std::size_t begin = 0, size = 0;
  if (!find_live(a, data, begin, size)) broken(name + ": the memory was freed or never allocated");
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(data) - a.base);
  if (offset + bytes > begin + size) {
    broken(name + ": " + std::to_string(bytes) + " bytes reach beyond an allocation of " + std::to_string(size));
  }
  checked_memory.emplace_back(data, bytes);
}

void look_through(cudaStream_t stream, const char* kernel, const void* functor, std::size_t bytes) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  // Every word that is an address must be one that this GPU could read.
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    std::uintptr_t word = 0;
    std::memcpy(&word, static_cast<const char*>(functor) + at, 8);
    const auto* p = reinterpret_cast<const void*>(word);
    if (const Arena* a = arena_of(p)) {
      std::size_t begin = 0, size = 0;
      const std::string name = kernel;
      if (a != &st.arenas[static_cast<std::size_t>(stream->device)]) broken(name + ": was given memory of another GPU");
      if (!find_live(*a, p, begin, size)) broken(name + ": was given memory that was freed");
      checked_memory.emplace_back(p, 0);
    } else if (word >= 0x100000000ull && word < 0x800000000000ull) {
      unsigned char resident = 0;
      if (mincore(reinterpret_cast<void*>(word & ~std::uintptr_t{4095}), 1, &resident) == 0)
        broken(std::string(kernel) + ": was given an address of the host");
    }
  }
}

void launch(cudaStream_t stream, const char* kernel, const void* functor, std::size_t bytes,
            std::function<void()> run) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (fails_now("launch")) {
    fail_with(cudaErrorLaunchOutOfResources);
    return;
  }
  look_through(stream, kernel, functor, bytes);
  ++st.launches;
  enqueue(stream, kernel, std::move(run));
}

void fail(const std::string& call, int after, int times) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  st.failing = call;
  st.after = after;
  st.times = times;
}
void stop_failing() { fail("", 0, 0); }
std::int64_t live_bytes() {
  std::int64_t sum = 0;
  for (const Arena& a : state().arenas) sum += static_cast<std::int64_t>(a.used);
  return sum;
}
std::int64_t live_allocations() {
  std::int64_t sum = 0;
  for (const Arena& a : state().arenas) sum += static_cast<std::int64_t>(a.live.size());
  return sum;
}
std::int64_t launches() { return state().launches; }
std::int64_t copied_bytes() { return state().copied; }
void set_memory_limit(std::size_t bytes) { state().limit = std::min(bytes, kArena); }

}  // namespace fovea::cuda_double

using namespace fovea::cuda_double;

extern "C" {

cudaError_t cudaGetLastError() {
  const cudaError_t e = last_error;
  last_error = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorLaunchOutOfResources: return "cudaErrorLaunchOutOfResources";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    default: return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return fail_with(cudaErrorInvalidDevice);
  current = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= kDevices) return fail_with(cudaErrorInvalidDevice);
  std::memset(p, 0, sizeof *p);
  std::snprintf(p->name, sizeof p->name, "test double %d", device);
  std::snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "double %d", device);
  p->totalGlobalMem = state().limit;
  p->major = capability;
  p->minor = 0;
  p->multiProcessorCount = 4;
  p->sharedMemPerBlock = 48 * 1024;
  p->warpSize = 32;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = capability; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; return cudaSuccess;
    default: broken("cudaDeviceGetAttribute: an attribute the double does not know");
  }
}
cudaError_t cudaDeviceSynchronize() {
  drain_all();
  return cudaSuccess;
}

// ---- memory

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = &state().pools[static_cast<std::size_t>(device)];
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  if (attribute != cudaMemPoolAttrReservedMemCurrent)
    broken("cudaMemPoolGetAttribute: an attribute the double does not know");
  const std::size_t used = state().arenas[static_cast<std::size_t>(pool->device)].used;
  std::memcpy(value, &used, sizeof used);
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = state().limit;
  *free = state().limit - std::min(state().limit, state().arenas[static_cast<std::size_t>(current)].used);
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** data, std::size_t bytes, cudaStream_t stream) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (!stream || stream->device != current) broken("cudaMallocAsync: the stream is not one of the current GPU");
  if (stream->capture) broken("cudaMallocAsync: in a captured stream; plan memory before the capture");
  if (fails_now("cudaMallocAsync")) return fail_with(cudaErrorMemoryAllocation);
  Arena& a = st.arenas[static_cast<std::size_t>(current)];
  const std::size_t size = std::max<std::size_t>(1, (bytes + kAlign - 1) / kAlign) * kAlign;
  if (a.used + size > st.limit) return fail_with(cudaErrorMemoryAllocation);
  std::size_t offset = 0;
  // First fit among the freed blocks, with a gap of poison behind each block.
  auto fit = std::find_if(a.free.begin(), a.free.end(), [&](const auto& f) { return f.second >= size + kAlign; });
  if (fit != a.free.end()) {
    // The earlier owner's work may still be queued: it runs before what is queued from here on.
    offset = fit->first;
    const std::size_t rest = fit->second - size - kAlign;
    a.free.erase(fit);
    if (rest > 0) a.free.emplace(offset + size + kAlign, rest);
  } else {
    offset = a.end;
    if (offset + size + kAlign > kArena) return fail_with(cudaErrorMemoryAllocation);
    if (state().open > 0) mprotect(a.base + offset, size + kAlign, PROT_READ | PROT_WRITE);
    a.end = offset + size + kAlign;
  }
  a.live.emplace(offset, bytes);
  a.used += size;
  enqueue(stream, "malloc", [p = a.base + offset, size, bytes] {
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(p, size + kAlign);
#endif
    std::memset(p, kPoison, size + kAlign);
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(p + bytes, size + kAlign - bytes);
#else
    (void)bytes;
#endif
  });
  *data = a.base + offset;
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  if (!data) return cudaSuccess;
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (!stream || stream->capture) broken("cudaFreeAsync: in a captured stream");
  Arena& a = st.arenas[static_cast<std::size_t>(stream->device)];
  const auto offset = static_cast<std::size_t>(static_cast<char*>(data) - a.base);
  const auto found = a.contains(data) ? a.live.find(offset) : a.live.end();
  if (found == a.live.end()) broken("cudaFreeAsync: not the start of a live allocation of this GPU");
  const std::size_t size = std::max<std::size_t>(1, (found->second + kAlign - 1) / kAlign) * kAlign;
  a.live.erase(found);
  a.used -= size;
  enqueue(stream, "free", [&a, offset, size] {
    char* const p = a.base + offset;
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(p, size + kAlign);
#endif
    std::memset(p, kPoison, size + kAlign);
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(p, size + kAlign);
#endif
  });
  // Joined with free neighbours.
  auto at = a.free.emplace(offset, size + kAlign).first;
  if (auto next = std::next(at); next != a.free.end() && at->first + at->second == next->first) {
    at->second += next->second;
    a.free.erase(next);
  }
  if (at != a.free.begin()) {
    auto before = std::prev(at);
    if (before->first + before->second == at->first) {
      before->second += at->second;
      a.free.erase(at);
    }
  }
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  if (fails_now("cudaHostAlloc")) return fail_with(cudaErrorMemoryAllocation);
  *data = std::malloc(bytes);
  state().pinned.emplace(*data, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  state().pinned.erase(data);
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  check_device_memory(data, bytes, "cudaMemsetAsync");
  enqueue(stream, "memset", [=] { std::memset(data, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (fails_now("cudaMemcpyAsync")) return fail_with(cudaErrorInvalidValue);
  const bool from_device = kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyDeviceToHost;
  const bool to_device = kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyHostToDevice;
  if (from_device) check_device_memory(from, bytes, "source of a copy");
  if (to_device) check_device_memory(to, bytes, "target of a copy");
  if (!from_device && arena_of(from)) broken("a copy from the host reads GPU memory");
  if (!to_device && arena_of(to)) broken("a copy to the host writes GPU memory");
  if (!from_device || !to_device) st.copied += static_cast<std::int64_t>(bytes);
  if (from_device && to_device && from < static_cast<char*>(to) + bytes &&
      to < static_cast<const char*>(from) + bytes && from != to)
    broken("a copy on the GPU overlaps itself");
  const auto is_pinned = [&](const void* p) {
    auto it = st.pinned.upper_bound(p);
    if (it == st.pinned.begin()) return false;
    --it;
    return p < static_cast<const char*>(it->first) + it->second;
  };
  if (!from_device && !is_pinned(from)) {  // the runtime has read ordinary memory when the call returns
    auto staged =
        std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    enqueue(stream, "copy", [to, staged] { std::memcpy(to, staged->data(), staged->size()); });
  } else {
    enqueue(stream, "copy", [=] { std::memcpy(to, from, bytes); });
  }
  return cudaSuccess;
}

}  // extern "C"
