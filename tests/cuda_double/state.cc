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

namespace {

/// While it lives the memory of all GPUs may be read and written.
class Open {
 public:
  Open() {
    if (state().open++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  ~Open() {
    if (--state().open == 0) protect(PROT_NONE);
  }

 private:
  static void protect(int how) {
    for (const Arena& a : state().arenas) {
      if (a.end > 0) mprotect(a.base, a.end, how);
    }
  }
};

}  // namespace

void drain(CUstream_st* s, std::uint64_t until) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  if (s->done >= until) return;
  const Open open;
  while (s->done < until && !s->queue.empty()) {
    Work work = std::move(s->queue.front());
    s->queue.pop_front();
    work.run();
    ++s->done;
  }
}

void drain_all() {
  for (CUstream_st* s : state().streams) drain(s, s->queued);
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
