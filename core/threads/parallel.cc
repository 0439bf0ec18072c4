// parallel_for: settings, and the cutting into chunks. The threads are in team.cc.
#include "core/threads/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "core/threads/team_internal.h"

#ifdef FOVEA_OPENMP
#include <omp.h>
#endif

namespace fovea {
namespace {

thread_local bool inside_parallel = false;

int default_threads() {
  for (const char* name : {"FOVEA_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (const char* text = std::getenv(name)) {
      const int count = std::atoi(text);
      if (count >= 1 && count <= 1024) return count;
    }
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> setting{default_threads()};
  return setting;
}

/// The team's threads do not exist in a forked child and waiting for them would hang: the child works alone.
void after_fork_in_child() {
  thread_setting().store(1, std::memory_order_relaxed);
  detail::forget_team();
#ifdef FOVEA_OPENMP
  omp_set_num_threads(1);
#endif
}

void register_fork_handler() {
  static const int registered = pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)registered;
}

/// Runs one chunk and keeps the first exception of all chunks.
struct Job {
  std::int64_t count;
  int chunks;
  detail::ChunkFn fn;
  void* context;
  std::exception_ptr error = nullptr;
  std::mutex error_mutex = {};

  void run(int chunk) {
    const std::int64_t begin = detail::chunk_begin(count, chunks, chunk);
    const std::int64_t end = detail::chunk_begin(count, chunks, chunk + 1);
    const bool outer = inside_parallel;
    inside_parallel = true;
    try {
      fn(context, begin, end, chunk);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
    inside_parallel = outer;
  }
};

}  // namespace

int num_threads() { return thread_setting().load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  if (count < 1 || count > 1024) {
    throw Error(ErrorKind::usage, "threads", str("expected 1 to 1024 threads, got ", count));
  }
  thread_setting().store(count, std::memory_order_relaxed);
}

bool in_parallel() { return inside_parallel; }

int detail::chunk_count(std::int64_t count, std::int64_t grain) {
  if (inside_parallel || count <= 0) return 1;
  const std::int64_t most = std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, grain));
  return static_cast<int>(std::min<std::int64_t>(num_threads(), most));
}

void detail::sync_thread_team() {
  register_fork_handler();
#ifdef FOVEA_OPENMP
  const int wanted = inside_parallel ? 1 : num_threads();
  if (omp_get_max_threads() != wanted) omp_set_num_threads(wanted);
#endif
}

void detail::parallel_chunks(std::int64_t count, int chunks, ChunkFn fn, void* context) {
  register_fork_handler();
  Job job{count, chunks, fn, context};
  detail::run_on_team({[](void* self, int chunk) { static_cast<Job*>(self)->run(chunk); }, &job, chunks});
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace fovea
