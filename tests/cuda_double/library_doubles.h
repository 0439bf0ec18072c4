// What the doubles of cuBLAS and cuDNN share, and what tests may ask of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda_double.h"

namespace fovea::cuda_double {

// ---- for tests
std::int64_t live_cublas_handles();
std::int64_t live_cudnn_handles();
/// Descriptors of cuDNN's graph API that were created and not destroyed.
std::int64_t live_cudnn_descriptors();
/// Times that an engine heuristic was asked, since the start.
std::int64_t cudnn_heuristics_asked();
/// The engine that ran last, by its name in cudnn_engines.cc. Empty before any did.
std::string last_cudnn_engine();
/// Which graphs of several operations have engines: none; those that cuDNN 9.19 has some for in f32 on an H100 (asked
/// without one, by its description); all. The second at first.
enum class CudnnFusion { none, as_9_19, all };
void support_cudnn_fusion(CudnnFusion what);
/// While on, no engine accepts anything. Off at first.
void refuse_cudnn(bool on);

// ---- for the doubles
/// Queues a kernel of a library, as cuda_double::launch does; false if an injected failure of "launch" hit it.
bool launch_library(cudaStream_t stream, const char* name, std::initializer_list<const void*> addresses,
                    std::function<void()> run);
/// The GPU that is current on this thread.
int current_gpu();

/// What the handles of both libraries are made of.
struct LibraryHandle {
  int device = current_gpu();
  cudaStream_t stream = nullptr;
  std::atomic<bool> busy = false;
};

/// Those of one library that live.
template <class Handle>
class LiveHandles {
 public:
  static Handle* create() {
    auto* const made = new Handle;
    const std::lock_guard lock(all().mutex);
    all().live.insert(made);
    return made;
  }
  static void destroy(Handle* handle, const char* call) {
    {
      const std::lock_guard lock(all().mutex);
      if (all().live.erase(handle) == 0) gone(call);
    }
    delete handle;
  }
  static std::int64_t count() {
    const std::lock_guard lock(all().mutex);
    return static_cast<std::int64_t>(all().live.size());
  }
  static void check(const Handle* handle, const char* call) {
    const std::lock_guard lock(all().mutex);
    if (!all().live.contains(handle)) gone(call);
  }

 private:
  struct All {
    std::mutex mutex;
    std::set<const Handle*> live;
  };
  static All& all() {
    static auto* made = new All;
    return *made;
  }
  [[noreturn]] static void gone(const char* call) {
    broken(std::string(call) + ": the handle was destroyed or never created");
  }
};

/// Ends the program unless the handle lives, belongs to the current GPU, and is used by one thread at a time.
template <class Handle>
class Use {
 public:
  Use(Handle* handle, const char* call) : handle_(handle) {
    LiveHandles<Handle>::check(handle, call);
    if (handle->device != current_gpu()) broken(std::string(call) + ": the handle belongs to another GPU");
    if (handle->busy.exchange(true)) broken(std::string(call) + ": two threads use one handle at once");
    std::this_thread::yield();  // for the other one to be seen
  }
  ~Use() { handle_->busy = false; }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  Handle* handle_;
};

/// x rounded to TF32's 10 bits of mantissa, to nearest even.
float to_tf32(float x);

}  // namespace fovea::cuda_double
