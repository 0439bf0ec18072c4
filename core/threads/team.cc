// Workers that spin for a moment after a job and then sleep, and a caller that never waits for a worker which has not
// begun: it takes the chunk itself. OpenMP's team waits at the end of every loop for each of its threads; when another
// process holds one core of two, every loop then takes a time slice (measured with a compiled MobileNetV2 beside a
// compiler on two cores: 320 ms a picture with OpenMP).
#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "core/threads/team_internal.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace fovea::detail {
namespace {

constexpr int kMaxChunks = 1024;
constexpr int kWords = kMaxChunks / 64;
// Checks before sleeping: 20 to 60 µs, longer than the pause between two layers and short enough not to be seen by
// those who share the machine.
constexpr int kSpins = 1500;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  void run(const TeamJob& job) {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) {
      for (int chunk = 0; chunk < job.chunks; ++chunk) job.run(job.context, chunk);
      return;
    }
    while (workers_ < job.chunks - 1) {
      // They live as long as the process.
      std::thread([this, index = workers_ + 1, seen = turns_.load()] { work(index, seen); }).detach();
      ++workers_;
    }
    job_ = job;
    job_chunks_.store(job.chunks, std::memory_order_relaxed);
    left_.store(job.chunks - 1, std::memory_order_relaxed);
    // Whoever clears a chunk's bit runs it. The job stays in place until all of them have run, so a worker that comes
    // late from the job before and finds a bit set has every right to it. Chunk 0 is this thread's.
    for (int word = 1; word * 64 < job.chunks; ++word) more_[word].store(bits_of(job.chunks - word * 64));
    free_.store(bits_of(job.chunks) & ~std::uint64_t{1}, std::memory_order_release);
    turns_.fetch_add(1);
    if (sleepers_.load() > 0) turns_.notify_all();

    job.run(job.context, 0);
    claim_all(1);
    // What is left has begun on another core.
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < kSpins) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static std::uint64_t bits_of(int chunks) {
    return chunks >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << chunks) - 1;
  }
  std::atomic<std::uint64_t>& word_of(int chunk) {
    return chunk < 64 ? free_ : more_[static_cast<std::size_t>(chunk / 64)];
  }

  bool claim(int chunk) {
    const std::uint64_t bit = std::uint64_t{1} << (chunk % 64);
    std::atomic<std::uint64_t>& word = word_of(chunk);
    if ((word.load(std::memory_order_acquire) & bit) == 0) return false;
    if ((word.fetch_and(~bit, std::memory_order_acq_rel) & bit) == 0) return false;
    job_.run(job_.context, chunk);
    left_.fetch_sub(1, std::memory_order_acq_rel);
    return true;
  }

  /// First the chunk of this thread's own number, whose data its cache has from the loop before; then what others have
  /// not begun.
  void claim_all(int own) {
    claim(own);
    for (int first = 0; first == 0 || first < job_chunks_.load(std::memory_order_acquire); first += 64) {
      std::atomic<std::uint64_t>& word = word_of(first);
      for (std::uint64_t bits = word.load(std::memory_order_acquire); bits != 0;
           bits = word.load(std::memory_order_acquire)) {
        claim(first + __builtin_ctzll(bits));
      }
    }
  }

  void work(int index, std::uint32_t seen) {
    for (;;) {
      int spins = 0;
      while (turns_.load(std::memory_order_acquire) == seen && spins < kSpins) {
        relax();
        ++spins;
      }
      if (spins == kSpins) {
        sleepers_.fetch_add(1);
        turns_.wait(seen);
        sleepers_.fetch_sub(1);
      }
      seen = turns_.load(std::memory_order_acquire);
      claim_all(index);
    }
  }

  // What a worker needs to begin lies in one cache line: handing it over takes 60 to 300 ns.
  alignas(64) std::atomic<std::uint32_t> turns_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<std::uint64_t> free_{0};
  TeamJob job_;
  std::atomic<int> job_chunks_{0};
  alignas(64) std::atomic<int> left_{0};
  alignas(64) std::array<std::atomic<std::uint64_t>, kWords> more_{};
  std::mutex turn_;
  int workers_ = 0;
};

// Never destroyed: the workers never end.
std::atomic<Team*> current{nullptr};

}  // namespace

void run_on_team(const TeamJob& job) {
  Team* team = current.load(std::memory_order_acquire);
  if (!team) {
    auto* made = new Team;
    if (current.compare_exchange_strong(team, made)) {
      team = made;
    } else {
      delete made;
    }
  }
  team->run(job);
}

void forget_team() { current.store(nullptr); }

}  // namespace fovea::detail
