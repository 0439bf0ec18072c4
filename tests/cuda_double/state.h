// What stands behind the CUDA runtime of the test double: memory of two GPUs, streams and graphs of queued work.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda_double.h"

namespace fovea::cuda_double {
struct Work {
  const char* name;
  std::function<void()> run;
  /// Returns when the work may run; may wait for other threads (wait_for_others) meanwhile. Asked again, it returns at
  /// once.
  std::function<void()> ready = {};
  /// Of captured work: memory that it will read or write. It must be live at every launch.
  std::vector<std::pair<const void*, std::size_t>> memory = {};
};
}  // namespace fovea::cuda_double

// The types behind the opaque pointers of the API.
struct CUgraph_st {
  std::vector<fovea::cuda_double::Work> work;
};
struct CUgraphExec_st {
  std::vector<fovea::cuda_double::Work> work;
};
struct CUevent_st {
  int device = 0;
  CUstream_st* stream = nullptr;
  std::uint64_t stream_id = 0, position = 0;
};
struct CUstream_st {
  int device = 0;
  std::uint64_t id = 0;  // never used again, as addresses are
  std::deque<fovea::cuda_double::Work> queue;
  std::uint64_t queued = 0, done = 0;
  std::unique_ptr<CUgraph_st> capture;
};
struct CUmemPoolHandle_st {
  int device = 0;
};

namespace fovea::cuda_double {

constexpr int kDevices = 2;
constexpr std::size_t kArena = std::size_t{4} << 30, kAlign = 512;
constexpr unsigned char kPoison = 0xff;  // NaN in every floating type

struct Arena {
  char* base = nullptr;
  std::map<std::size_t, std::size_t> live, free;  // offset → bytes
  std::size_t used = 0, end = 0;                  // end: what was ever handed out
  bool contains(const void* p) const { return p >= base && p < base + kArena; }
};

/// A recursive mutex that its owner can let go of wholly, to wait for other threads.
class StateMutex {
 public:
  void lock();
  void unlock();
  /// All levels; returns how many they were, for take().
  int release();
  void take(int levels);

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
  int levels_ = 0;
};

struct State {
  StateMutex mutex;
  std::array<Arena, kDevices> arenas;
  std::array<CUmemPoolHandle_st, kDevices> pools{{{0}, {1}}};
  std::map<const void*, std::size_t> pinned;
  std::size_t limit = kArena;
  std::int64_t launches = 0, copied = 0;
  std::vector<CUstream_st*> streams;
  std::uint64_t streams_made = 0;
  std::string failing;
  int after = 0, times = 0;
  int open = 0;  // how many are running queued work now

  State();
};

State& state();
/// The GPU that is current on this thread.
extern thread_local int current;
/// What cudaGetLastError tells next.
extern thread_local cudaError_t last_error;
/// What was checked_memory for the work that is enqueued next.
extern thread_local std::vector<std::pair<const void*, std::size_t>> checked_memory;
inline cudaError_t fail_with(cudaError_t e) { return last_error = e; }

/// Runs what the stream holds up to a position, with the memory of all GPUs open.
void drain(CUstream_st* s, std::uint64_t until);
/// The same for a stream that may be gone: then all it held is done.
void drain_if_live(CUstream_st* s, std::uint64_t id, std::uint64_t until);
void drain_all();
/// As enqueue(), of work that has to be ready first.
void enqueue_when(cudaStream_t stream, const char* name, std::function<void()> ready, std::function<void()> run);
/// Inside queued work's ready(): lets other threads have the state until `changed` is notified, with the memory of all
/// GPUs closed. False at the deadline.
bool wait_for_others(std::condition_variable_any& changed, std::chrono::steady_clock::time_point deadline);
Arena* arena_of(const void* p);
/// The live block that holds p, or nothing.
bool find_live(const Arena& a, const void* p, std::size_t& begin, std::size_t& bytes);

}  // namespace fovea::cuda_double
