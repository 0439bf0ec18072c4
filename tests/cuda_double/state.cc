// Memory and streams of the test double.
#include "state.h"

#include <sys/mman.h>

namespace fovea::cuda_double {

State::State() {
  for (Arena& a : arenas) {
    void* got = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) broken("no address space for the double's memory");
    a.base = static_cast<char*>(got);
    madvise(got, kArena, MADV_HUGEPAGE);  // opened and closed at every synchronisation: the fewer pages, the sooner
  }
}

State& state() {
  static auto* made = new State;
  return *made;
}

thread_local int current = 0;
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::vector<std::pair<const void*, std::size_t>> checked_memory;

void StateMutex::lock() {
  if (owner_ == std::this_thread::get_id()) {
    ++levels_;
  } else {
    take(1);
  }
}
void StateMutex::unlock() {
  if (levels_ > 1) {
    --levels_;
  } else {
    release();
  }
}
int StateMutex::release() {
  const int levels = levels_;
  levels_ = 0;
  owner_ = std::thread::id();
  mutex_.unlock();
  return levels;
}
void StateMutex::take(int levels) {
  mutex_.lock();
  owner_ = std::this_thread::get_id();
  levels_ = levels;
}

namespace {

/// While it lives the memory of all GPUs may be read and written.
class Open {
 public:
  Open() { add(1); }
  ~Open() { add(-1); }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;

  /// How many of this thread live.
  static thread_local int mine;
  /// Counts `levels` more or fewer.
  static void add(int levels) {
    int& open = state().open;
    const int before = open;
    mine += levels;
    open += levels;
    if (before == 0 && open > 0) protect(PROT_READ | PROT_WRITE);
    if (before > 0 && open == 0) protect(PROT_NONE);
  }

 private:
  static void protect(int how) {
    for (const Arena& a : state().arenas) {
      if (a.end > 0) mprotect(a.base, a.end, how);
    }
  }
};
thread_local int Open::mine = 0;

/// All levels of this thread's lock, for a condition variable.
struct WholeLock {
  int levels = 0, open = 0;
  void unlock() {
    open = Open::mine;
    Open::add(-open);
    levels = state().mutex.release();
  }
  void lock() {
    state().mutex.take(levels);
    Open::add(open);
  }
};

}  // namespace

bool wait_for_others(std::condition_variable_any& changed, std::chrono::steady_clock::time_point deadline) {
  WholeLock whole;
  return changed.wait_until(whole, deadline) == std::cv_status::no_timeout;
}

void drain(CUstream_st* s, std::uint64_t until) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (s->done >= until) return;
  const Open open;
  while (s->done < until && !s->queue.empty()) {
    if (s->queue.front().ready) {
      const std::uint64_t next = s->done;
      const std::function<void()> ready = s->queue.front().ready;
      ready();
      if (s->done != next) continue;  // another thread has run it while this one waited
    }
    Work work = std::move(s->queue.front());
    s->queue.pop_front();
    work.run();
    ++s->done;
  }
}

void drain_if_live(CUstream_st* s, std::uint64_t id, std::uint64_t until) {
  const std::lock_guard lock(state().mutex);
  for (CUstream_st* live : state().streams) {
    if (live == s && live->id == id) return drain(s, until);
  }
}

void drain_all() {
  const std::vector<CUstream_st*> all = state().streams;  // a copy: others may be made while one is waited for
  for (CUstream_st* s : all) drain(s, s->queued);
}

Arena* arena_of(const void* p) {
  for (Arena& a : state().arenas) {
    if (a.contains(p)) return &a;
  }
  return nullptr;
}

/// The live block that holds p, or nothing.
bool find_live(const Arena& a, const void* p, std::size_t& begin, std::size_t& bytes) {
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(p) - a.base);
  auto it = a.live.upper_bound(offset);
  if (it == a.live.begin()) return false;
  --it;
  if (offset > it->first + it->second) return false;
  begin = it->first;
  bytes = it->second;
  return true;
}

}  // namespace fovea::cuda_double
