// Ranks that are threads of this process: what training on several ranks computes, without an engine that starts them.
#pragma once

#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "core/distributed/communicator.h"
#include "core/error.h"

namespace fovea::test {

/// What the ranks share: the calls in progress, by their number.
class RankGroup {
 public:
  explicit RankGroup(int size) : size_(size) {}
  int size() const { return size_; }

  void post(int rank, std::uint64_t call, const View& buffer, bool sum, int root) {
    const std::lock_guard lock(mutex_);
    Call& c = calls_[call];
    c.buffers.resize(static_cast<std::size_t>(size_));
    c.buffers[static_cast<std::size_t>(rank)] = buffer;
    c.same = c.same && (c.posted == 0 || (c.sum == sum && c.elements == buffer.numel() && c.dtype == buffer.dtype));
    c.sum = sum;
    c.elements = buffer.numel();
    c.dtype = buffer.dtype;
    if (++c.posted < size_) return;
    if (c.same) sum ? add(c) : copy(c, static_cast<std::size_t>(root));
    c.done = true;
    changed_.notify_all();
  }
  void wait(std::uint64_t call) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_[call].done || gone_; });
    Call& c = calls_[call];
    if (!c.done) throw Error(ErrorKind::usage, "thread ranks", "another rank is gone");
    const bool same = c.same;
    if (++c.seen == size_) calls_.erase(call);
    if (!same) throw Error(ErrorKind::usage, "thread ranks", str("the ranks' calls ", call, " differ"));
  }
  void check_all_here() {
    const std::lock_guard lock(mutex_);
    if (gone_) throw Error(ErrorKind::usage, "thread ranks", "another rank is gone");
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    changed_.notify_all();
  }

 private:
  struct Call {
    std::vector<View> buffers;
    int posted = 0, seen = 0;
    bool done = false, same = true, sum = true;
    std::int64_t elements = 0;
    DType dtype = DType::f32;
  };
  void add(Call& c) const { c.dtype == DType::f64 ? add_as<double>(c) : add_as<float>(c); }
  template <class T>
  void add_as(Call& c) const {
    for (std::int64_t i = 0; i < c.elements; ++i) {
      T total = 0;
      for (const View& b : c.buffers) total += b.ptr<T>()[i];
      for (const View& b : c.buffers) b.ptr<T>()[i] = total;
    }
  }
  void copy(Call& c, std::size_t root) const {
    const std::size_t bytes = static_cast<std::size_t>(c.elements) * dtype_size(c.dtype);
    for (std::size_t r = 0; r < c.buffers.size(); ++r)
      if (r != root && bytes > 0) std::memcpy(c.buffers[r].data, c.buffers[root].data, bytes);
  }

  int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Call> calls_;
  bool gone_ = false;
};

class ThreadRank final : public Communicator {
 public:
  ThreadRank(RankGroup& group, int rank) : Communicator(rank, group.size()), group_(group) {}
  using Communicator::sum;
  int processors() const override { return 1; }
  Ticket start_sum(const View& buffer) override {
    check_sum(buffer);
    group_.post(rank(), ++calls_, buffer, true, 0);
    return calls_;
  }
  void wait(Ticket ticket) override { group_.wait(ticket); }
  void progress() override { group_.check_all_here(); }
  void sum(const View& buffer) override { wait(start_sum(buffer)); }
  void broadcast(const View& buffer, int root) override {
    group_.post(rank(), ++calls_, buffer, false, root);
    wait(calls_);
  }
  void barrier() override {
    double nothing = 0;
    Communicator::sum({&nothing, 1});
  }
  /// The others' calls fail from here on.
  void leave() { group_.leave(); }
  [[noreturn]] void abort(int code) override {
    group_.leave();
    throw Error(ErrorKind::usage, "thread ranks", str("rank ", rank(), " ended all with ", code));
  }

 private:
  RankGroup& group_;
  Ticket calls_ = 0;
};

/// Runs body on `size` ranks and rethrows what the first of them threw by itself.
inline void run_ranks(int size, const std::function<void(Communicator&)>& body) {
  RankGroup group(size);
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::exception_ptr first;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      try {
        ThreadRank rank(group, r);
        body(rank);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
        group.leave();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace fovea::test
