// parallel_for and parallel_shares: coverage, exceptions, nesting, application threads, fork, help for a late thread.
#include "core/threads/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "catch.h"
#include "core/error.h"
#include "core/threads/share.h"

using namespace fovea;

namespace {
struct Threads {
  explicit Threads(int n) : before(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before;
};

bool covers(std::int64_t count, std::int64_t grain) {
  std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
  parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
  });
  for (const auto& h : hits) {
    if (h != 1) return false;
  }
  return true;
}

/// Takes `most` at a time; spins a while on every item whose number is a multiple of `slow`.
bool shares_cover(const ShareSizes& sizes, std::int64_t most, std::int64_t slow) {
  std::vector<std::atomic<int>> hits(static_cast<std::size_t>(sizes.count));
  std::atomic<bool> good{true};
  parallel_shares(sizes, [&](Share& share) {
    while (share.take(most)) {
      if (share.begin() >= share.end() || share.end() > share.reach()) good = false;
      if (share.end() - share.begin() > most) good = false;
      for (std::int64_t i = share.begin(); i < share.end(); ++i) {
        if (slow > 0 && i % slow == 0) std::this_thread::yield();
        ++hits[static_cast<std::size_t>(i)];
      }
    }
  });
  return good && std::all_of(hits.begin(), hits.end(), [](const auto& h) { return h == 1; });
}
}  // namespace

TEST_CASE("every item of shared work is taken once") {
  for (const int threads : {1, 2, 3, 8, 70}) {
    const Threads guard(threads);
    for (const std::int64_t count : {0, 1, 2, 3, 7, 16, 100, 1001}) {
      for (const std::int64_t least : {1, 5, 1000}) {
        for (const bool fixed : {false, true}) {
          for (const std::int64_t most : {1, 4, 5000}) {
            REQUIRE(shares_cover({.count = count, .least = least, .fixed = fixed}, most, count % 2 == 0 ? 3 : 0));
          }
        }
      }
    }
  }
}

TEST_CASE("threads take what a late one has not begun, from its end, but for the last item") {
  const Threads guard(2);
  std::atomic<std::int64_t> done{0}, lowest{1000};
  std::atomic<bool> in_order{true};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  parallel_shares({.count = 1000}, [&](Share& share) {
    const bool late = share.take(1) && share.begin() == 0;  // it has [0, 500), of which [250, 500) can be taken
    std::int64_t next = share.end();
    while (late && done < 749 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    do {
      if (!late && share.begin() < 500 && share.begin() < lowest) lowest = share.begin();
      if (late && share.begin() != 0 && share.begin() < 250) in_order = in_order && share.begin() == next;
      next = share.end();
      done += share.end() - share.begin();
    } while (share.take(10));
  });
  CHECK(done == 1000);
  CHECK(in_order);
  CHECK(lowest == 251);
}

TEST_CASE("an exception in shared work reaches the caller, and shared work in a loop runs inline") {
  const Threads guard(2);
  const auto fails = [](Share& share) {
    while (share.take(3)) {
      if (share.begin() > 50) throw std::runtime_error("x");
    }
  };
  REQUIRE_THROWS_AS(parallel_shares({.count = 100}, fails), std::runtime_error);
  std::atomic<int> whole{0};
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    parallel_shares({.count = 50}, [&](Share& share) {
      while (share.take(50)) whole += share.begin() == 0 && share.end() == 50;
    });
  });
  CHECK(whole == 2);
}

TEST_CASE("every item is visited once for any count, grain and number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads guard(threads);
    for (const std::int64_t count : {0, 1, 2, 3, 7, 8, 9, 100, 1001}) {
      for (const std::int64_t grain : {1, 2, 5, 1000}) REQUIRE(covers(count, grain));
    }
  }
}

TEST_CASE("chunks are contiguous, numbered, and no smaller than the grain") {
  const Threads guard(4);
  CHECK(parallel_chunk_count(100, 50) == 2);
  CHECK(parallel_chunk_count(99, 50) == 1);
  CHECK(parallel_chunk_count(1000, 1) == 4);
  std::vector<std::pair<std::int64_t, std::int64_t>> chunks(4);
  parallel_for(10, 1, [&](std::int64_t begin, std::int64_t end, int chunk) {
    chunks[static_cast<std::size_t>(chunk)] = {begin, end};
  });
  CHECK(chunks == std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {3, 6}, {6, 8}, {8, 10}});
}

TEST_CASE("an exception reaches the caller and the team works on") {
  const Threads guard(4);
  for (int round = 0; round < 20; ++round) {
    REQUIRE_THROWS_AS(parallel_for(100, 1,
                                   [](std::int64_t begin, std::int64_t) {
                                     if (begin > 0) throw std::runtime_error("x");
                                   }),
                      std::runtime_error);
    REQUIRE(covers(100, 1));
  }
}

TEST_CASE("nested calls run inline") {
  const Threads guard(2);
  CHECK_FALSE(in_parallel());
  std::atomic<int> total{0};
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    if (!in_parallel()) return;
    parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end) {
      if (begin == 0 && end == 1000) ++total;  // one chunk
    });
  });
  CHECK(total == 2);
}

TEST_CASE("eight application threads at once") {
  const Threads guard(2);
  std::vector<std::thread> threads;
  threads.reserve(8);
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      bool ok = true;
      for (int round = 0; round < 50; ++round) ok &= covers(257, 1);
      good += ok;
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(good == 8);
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a forked child can go on working") {
  const Threads guard(2);
  REQUIRE(covers(1000, 1));  // the team exists
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);
    _exit(num_threads() == 1 && covers(1000, 1) ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("the thread count is checked") {
  CHECK_THROWS_AS(set_num_threads(0), Error);
  CHECK_THROWS_AS(set_num_threads(100000), Error);
}
