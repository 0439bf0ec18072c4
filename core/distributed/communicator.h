// What the ranks of one training say to each other: the interface behind which an engine of message passing stands
// (MPI: train/distributed/mpi.h). Core knows no engine, and layers know only this.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/view.h"

namespace fovea {

/// A group of ranks, numbered from 0, each a process, a thread or a GPU of its own. Every rank must make the same calls
/// in the same order with buffers of the same size and type; only progress() is each rank's own business. Called
/// from one thread of a rank at a time. Buffers are dense, on a device that the engine serves (MPI: the CPU; with NCCL
/// also the rank's GPU). On a GPU calls are queued: what they say of values holds for work that is queued later. A rank
/// that can no longer take part ends the group by abort(): the others would wait for ever.
class FOVEA_API Communicator {
 public:
  /// Names a sum that was started.
  using Ticket = std::uint64_t;

  virtual ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// The processors of this machine that are this rank's to use, at least 1: those that it may run on, shared evenly
  /// with the other ranks that may too.
  virtual int processors() const = 0;

  /// Begins to add up `buffer` (f32 or f64) over all ranks, in place, and returns at once. Until wait() the buffer must
  /// live and be left alone. All ranks get the same bits. Error{usage} for other types, Error{device} for memory that
  /// the engine does not reach.
  virtual Ticket start_sum(const View& buffer) = 0;
  /// Returns when that sum is there. A ticket is waited for once. An engine that has nothing to gain from an early
  /// start may do all of it here.
  virtual void wait(Ticket ticket) = 0;
  /// Lets started sums move on; cheap, never waits. Engines that move by themselves only say here, by an Error, that a
  /// sum has failed.
  virtual void progress() = 0;
  /// start_sum() and wait(), for short buffers that are needed at once.
  virtual void sum(const View& buffer) = 0;
  /// The same for numbers at hand.
  void sum(std::span<double> numbers);

  /// Rank `root`'s bytes become everybody's. Any type.
  virtual void broadcast(const View& buffer, int root) = 0;
  /// Returns when every rank has come here. May take as long as the slowest rank needs: a waiting rank leaves its
  /// processor to others.
  virtual void barrier() = 0;

  /// Ends all ranks' processes, this one's with this exit code. What is to be said must have been said.
  [[noreturn]] virtual void abort(int exit_code) = 0;

 protected:
  /// Error{usage} unless 0 ≤ rank < size.
  Communicator(int rank, int size);
  /// Error{usage} unless a sum takes this type.
  static void check_sum(const View& buffer);

 private:
  int rank_, size_;
};

}  // namespace fovea
