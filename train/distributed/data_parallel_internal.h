// What the trainer does with the other ranks: equal beginnings, averaged gradients, common decisions. Internal to
// train.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/autograd/tape.h"
#include "core/distributed/communicator.h"
#include "layers/module.h"

namespace fovea {

/// Gradients of one pass on every rank, added up bucket by bucket while the pass still runs: backward meets the last
/// layers first, so buckets hold parameters in reverse order, and one goes on its way when its last gradient is
/// complete.
class GradientSum final : public GradientListener {
 public:
  /// Small gradients travel together in buckets of some 4 MB: fewer, and a sum costs its latency too often; more, and
  /// the last one, which nothing overlaps, grows. A gradient from 1 MB up travels alone, from where it lies.
  GradientSum(Communicator& ranks, const std::vector<NamedTensor>& parameters);
  ~GradientSum() override;

  void complete(const Tensor& leaf) override;
  /// Starts what is left and waits for all: grad() of each parameter is then the sum over ranks. One that has no
  /// gradient here has none on the other ranks either, and stays so.
  void finish();

 private:
  struct Member {
    Tensor parameter;
    std::int64_t offset = 0;  // in the bucket, in elements
    bool complete = false;
  };
  struct Bucket {
    std::vector<Member> members;
    Tensor sum;  // of several members
    std::int64_t elements = 0;
    std::size_t missing = 0;
    Communicator::Ticket ticket = 0;
    bool started = false;
  };
  void start(Bucket& bucket);
  void start_complete();

  Communicator& ranks_;
  std::vector<Bucket> buckets_;
  std::size_t next_ = 0;                                                        // the first that has not been started
  std::unordered_map<const void*, std::pair<std::size_t, std::size_t>> place_;  // bucket and member
};

/// Running statistics that each rank moves by its own part of the batch: they move on by the mean. Changes and not
/// values are averaged, so that constants stay what they are to the bit. On the tensors' device; nothing waits for a
/// GPU.
class BufferMeans {
 public:
  /// @param tensors of which floating buffers are looked after
  BufferMeans(Communicator& ranks, const std::vector<NamedTensor>& tensors);

  /// What all ranks agree on, before the first batch of a step.
  void keep();
  /// Behind the last batch's forward pass. @param share this rank's in the mean
  void start(double share);
  void finish();

 private:
  /// Buffers of one type travel together.
  struct Pack {
    std::vector<Tensor> members;
    std::int64_t elements = 0;
    Tensor before, moved;
    bool kept = false;
    Communicator::Ticket ticket = 0;
  };
  /// f(member, its place in `packed`)
  template <class F>
  void for_each_member(Pack& pack, Tensor& packed, F&& f);

  Communicator& ranks_;
  std::vector<Pack> packs_;
};

/// A rank's side of a training.
class DataParallel {
 public:
  /// @param tensors parameters and buffers
  DataParallel(Communicator& ranks, const std::vector<NamedTensor>& tensors, bool sync_batch_norm);

  Communicator& ranks() { return ranks_; }
  bool first() const { return ranks_.rank() == 0; }
  /// For TrainingMode: whose statistics batch norm takes.
  Communicator* batch_ranks() { return sync_ ? &ranks_ : nullptr; }
  std::string describe() const;

  /// True on all ranks if it is on one.
  bool any(bool here);
  /// Rank 0's parameters and buffers become everybody's. Before that, Error{usage} naming the first setting in which
  /// ranks differ, but for threads: they would wait for each other for ever, or make nonsense.
  void begin(const std::vector<std::pair<std::string, std::string>>& settings);
  /// Whether a file is there, for all: Error{file} where only some ranks see it.
  bool all_see(const std::string& path, bool here);
  /// Ranks on equal processors have the same bits in parameters and buffers; others round differently and part ways
  /// slowly. Where that has happened, rank 0's are everybody's again.
  bool tensors_came_apart();
  /// Waits for the GPU; an Error where a sum of the steps behind has failed: the parameters are worth nothing then.
  /// Each rank by itself.
  void check();

  // ---- one batch, in this order
  /// Before the forward pass. @param weight what this part's mean loss divides by; @param stop whether this rank is
  /// asked to stop
  void begin_batch(std::int64_t images, double weight, bool stop);
  /// This part's share in the whole batch's mean loss: what its gradients are multiplied by.
  double share();
  /// Before the backward pass. @param loss this part's mean
  void add_result(double loss, std::int64_t correct, bool last_of_step);
  GradientListener& listener() { return gradients_; }
  /// Behind the backward pass. The whole batch's mean loss and the rest.
  struct Total {
    double loss = 0;
    std::int64_t correct = 0, images = 0;
  };
  Total finish_batch(bool last_of_step);
  /// Whether any rank was asked to stop before this batch.
  bool stop() const { return stop_; }

 private:
  int count(bool here);
  bool same(std::string_view text);
  void broadcast_tensors();

  Communicator& ranks_;
  std::vector<NamedTensor> tensors_;
  bool sync_;
  GradientSum gradients_;
  BufferMeans buffers_;
  // Of the present batch.
  double counts_[3] = {}, results_[2] = {};
  double weight_ = 0, images_share_ = 0;
  bool counted_ = false, stop_ = false;
  Communicator::Ticket counting_ = 0, adding_ = 0;
};

}  // namespace fovea
