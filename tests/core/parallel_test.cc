// parallel_for: coverage, exceptions, nesting, application threads, fork.
#include "core/threads/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "catch.h"
#include "core/error.h"

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
}  // namespace

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
