// parallel_for on OpenMP when linked with oneDNN (one team for both), on a small pool of our own otherwise.
#include "core/threads/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"

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
    const std::int64_t begin = count / chunks * chunk + std::min<std::int64_t>(chunk, count % chunks);
    const std::int64_t end = begin + count / chunks + (chunk < count % chunks ? 1 : 0);
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

#ifndef FOVEA_OPENMP

/// Workers sleep between jobs. One job at a time: an application thread that finds them busy does its chunks itself.
class Pool {
 public:
  void run(Job& job) {
    std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) {
      for (int chunk = 0; chunk < job.chunks; ++chunk) job.run(chunk);
      return;
    }
    while (static_cast<int>(workers_.size()) < job.chunks - 1) {
      workers_.emplace_back([this] { work(); });
      workers_.back().detach();  // they live as long as the process
    }
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      next_chunk_ = 1;
      running_ = job.chunks - 1;
    }
    wake_.notify_all();
    job.run(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return running_ == 0; });
    job_ = nullptr;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return job_ && next_chunk_ < job_->chunks; });
      Job& job = *job_;
      const int chunk = next_chunk_++;
      lock.unlock();
      job.run(chunk);
      lock.lock();
      if (--running_ == 0) done_.notify_all();
    }
  }

  std::mutex turn_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<std::thread> workers_;
  Job* job_ = nullptr;
  int next_chunk_ = 0;
  int running_ = 0;
};

Pool& pool() {
  static auto* made = new Pool;  // never destroyed: its workers never end
  return *made;
}

#endif

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
#ifdef FOVEA_OPENMP
  // A team may come out smaller than asked for (limits, nesting), so chunks are dealt round robin.
#pragma omp parallel num_threads(chunks)
  {
    const int team = omp_get_num_threads();
    for (int chunk = omp_get_thread_num(); chunk < chunks; chunk += team) job.run(chunk);
  }
#else
  pool().run(job);
#endif
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace fovea
