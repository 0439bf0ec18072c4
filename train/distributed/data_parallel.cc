#include "train/distributed/data_parallel_internal.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "kernels/devices.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"

namespace fovea {
namespace {

constexpr std::int64_t kBucketBytes = 4 << 20, kAloneBytes = 1 << 20;

View view_of(std::span<double> numbers) {
  return {numbers.data(), Shape{static_cast<std::int64_t>(numbers.size())}, DType::f64, kCpu, 0, 0};
}

/// On one device. By hand: a copy_from() for each gradient would take its time for the bookkeeping of in-place writes.
void copy_bytes(void* to, const void* from, std::size_t bytes, Device device) {
  if (device != kCpu) return backend(device).copy(to, from, bytes, device.index);
  parallel_for(static_cast<std::int64_t>(bytes), 1 << 18, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<std::size_t>(end - begin));
  });
}

/// Two halves, each exact in double.
void split(std::uint64_t hash, double* to) {
  to[0] = static_cast<double>(hash >> 32);
  to[1] = static_cast<double>(hash & 0xffffffffu);
}

}  // namespace

BufferMeans::BufferMeans(Communicator& ranks, const std::vector<NamedTensor>& tensors) : ranks_(ranks) {
  for (const NamedTensor& t : tensors) {
    if (!t.is_buffer || !is_floating(t.tensor.dtype()) || t.tensor.numel() == 0) continue;
    const auto takes = [&](const Pack& p) { return p.members.front().dtype() == t.tensor.dtype(); };
    auto pack = std::find_if(packs_.begin(), packs_.end(), takes);
    if (pack == packs_.end()) pack = packs_.insert(pack, Pack());
    pack->members.push_back(t.tensor);
    pack->elements += t.tensor.numel();
  }
}

template <class F>
void BufferMeans::for_each_member(Pack& pack, Tensor& packed, F&& f) {
  std::int64_t at = 0;
  for (Tensor& member : pack.members) {
    f(member, packed.slice(at, at + member.numel()).view_as(member.shape()));
    at += member.numel();
  }
}

void BufferMeans::keep() {
  for (Pack& pack : packs_) {
    if (pack.kept) continue;
    const Tensor& like = pack.members.front();
    if (!pack.before.defined()) {
      pack.before = Tensor({pack.elements}, like.dtype(), like.device());
      pack.moved = Tensor({pack.elements}, like.dtype(), like.device());
    }
    for_each_member(pack, pack.before, [](const Tensor& member, Tensor place) { place.copy_from(member); });
    pack.kept = true;
  }
}

void BufferMeans::start(double share) {
  for (Pack& pack : packs_) {
    for_each_member(pack, pack.moved, [](const Tensor& member, Tensor place) { place.copy_from(member); });
    kernels::binary(kernels::Binary::subtract, pack.moved.view(), pack.before.view(), pack.moved.mutable_view());
    kernels::scale_in_place(share, pack.moved.mutable_view());
    pack.ticket = ranks_.start_sum(pack.moved.mutable_view());
  }
}

void BufferMeans::finish() {
  for (Pack& pack : packs_) {
    ranks_.wait(pack.ticket);
    kernels::binary(kernels::Binary::add, pack.before.view(), pack.moved.view(), pack.before.mutable_view());
    for_each_member(pack, pack.before, [](Tensor& member, const Tensor& place) { member.copy_from(place); });
    pack.kept = false;
  }
}

GradientSum::GradientSum(Communicator& ranks, const std::vector<NamedTensor>& parameters) : ranks_(ranks) {
  bool open = false;  // whether the last bucket takes more
  for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
    const Tensor& t = p->tensor;
    if (p->is_buffer || !t.requires_grad() || t.numel() == 0) continue;
    const std::int64_t bytes = static_cast<std::int64_t>(t.nbytes());
    const bool alone = bytes >= kAloneBytes;
    const auto held = [&] { return buckets_.back().elements * static_cast<std::int64_t>(dtype_size(t.dtype())); };
    if (!open || alone || buckets_.back().members[0].parameter.dtype() != t.dtype() || held() + bytes > kBucketBytes)
      buckets_.emplace_back();
    Bucket& bucket = buckets_.back();
    place_[t.identity()] = {buckets_.size() - 1, bucket.members.size()};
    bucket.members.push_back({t, bucket.elements});
    // Each begins on a cache line.
    bucket.elements += (t.numel() + 15) / 16 * 16;
    bucket.missing = bucket.members.size();
    open = !alone;
  }
}

GradientSum::~GradientSum() = default;

void GradientSum::complete(const Tensor& leaf) {
  const auto at = place_.find(leaf.identity());
  if (at == place_.end()) return;  // a leaf of the user's own
  Bucket& bucket = buckets_[at->second.first];
  Member& member = bucket.members[at->second.second];
  if (member.complete) return;
  member.complete = true;
  --bucket.missing;
  const Tensor grad = leaf.grad();
  if (bucket.members.size() > 1 && grad.defined()) {
    if (!bucket.sum.defined()) bucket.sum = Tensor::zeros(Shape{bucket.elements}, leaf.dtype(), leaf.device());
    Tensor place = bucket.sum.slice(member.offset, member.offset + leaf.numel());
    copy_bytes(place.mutable_view().data, grad.view().data, leaf.nbytes(), leaf.device());
    // The bucket is the gradient from here on: nothing is copied back, and what backward made is free for the next one.
    member.parameter.set_grad(place.view_as(leaf.shape()));
  }
  start_complete();
  ranks_.progress();
}

void GradientSum::start_complete() {
  while (next_ < buckets_.size() && buckets_[next_].missing == 0) start(buckets_[next_++]);
}

void GradientSum::start(Bucket& bucket) {
  if (bucket.members.size() == 1) {
    Tensor grad = bucket.members[0].parameter.grad();
    if (!grad.defined()) return;  // here as on all ranks
    bucket.ticket = ranks_.start_sum(grad.mutable_view());
  } else {
    if (!bucket.sum.defined()) return;
    // Places of parameters without a gradient are summed too, and nobody looks at them: but not as whatever was there.
    for (const Member& m : bucket.members) {
      if (!m.parameter.grad().defined()) bucket.sum.slice(m.offset, m.offset + m.parameter.numel()).zero();
    }
    bucket.ticket = ranks_.start_sum(bucket.sum.mutable_view());
  }
  bucket.started = true;
}

void GradientSum::finish() {
  for (; next_ < buckets_.size(); ++next_) start(buckets_[next_]);  // parameters that the loss does not depend on
  for (Bucket& bucket : buckets_) {
    if (bucket.started) ranks_.wait(bucket.ticket);
    for (Member& m : bucket.members) m.complete = false;
    bucket.started = false;
    bucket.missing = bucket.members.size();
  }
  next_ = 0;
}

DataParallel::DataParallel(Communicator& ranks, const std::vector<NamedTensor>& tensors, bool sync_batch_norm)
    : ranks_(ranks), tensors_(tensors), sync_(sync_batch_norm), gradients_(ranks, tensors), buffers_(ranks, tensors) {}

std::string DataParallel::describe() const {
  return str(ranks_.size(), ranks_.size() > 1 && sync_ ? ", batch norm synchronised" : "");
}

int DataParallel::count(bool here) {
  double sum = here ? 1 : 0;
  ranks_.sum({&sum, 1});
  return static_cast<int>(sum);
}

bool DataParallel::any(bool here) { return count(here) > 0; }

bool DataParallel::same(std::string_view text) {
  double first[2], mine[2];
  split(detail::fnv1a64(text), mine);
  std::copy(mine, mine + 2, first);
  ranks_.broadcast(view_of(first), 0);
  return !any(first[0] != mine[0] || first[1] != mine[1]);
}

void DataParallel::begin(const std::vector<std::pair<std::string, std::string>>& settings) {
  std::string network;
  for (const NamedTensor& t : tensors_) {
    // Each rank may have a GPU of another number.
    network += str(t.name, " ", to_string(t.tensor.dtype()), " ", t.tensor.shape(),
                   t.tensor.device() == kCpu ? "; " : " on a GPU; ");
  }
  if (!same(network)) throw Error(ErrorKind::usage, "trainer", "the ranks have different networks");
  for (const auto& [key, value] : settings) {
    if (key == "threads" || same(value)) continue;
    throw Error(ErrorKind::usage, "trainer", str("the ranks have different settings: ", key, " is '", value, "' here"),
                "start all with the same options and the same data");
  }
  broadcast_tensors();
}

bool DataParallel::all_see(const std::string& path, bool here) {
  const int ranks = count(here);
  if (ranks == 0) return false;
  if (ranks == ranks_.size()) return true;
  throw Error(ErrorKind::file, path, str("is there for ", ranks, " of ", ranks_.size(), " ranks"),
              "resuming takes a folder that all machines see");
}

void DataParallel::broadcast_tensors() {
  for (NamedTensor& t : tensors_) {
    if (t.tensor.numel() > 0) ranks_.broadcast(t.tensor.mutable_view(), 0);
  }
}

bool DataParallel::tensors_came_apart() {
  std::string hashes;
  for (const NamedTensor& t : tensors_) {
    if (t.tensor.numel() == 0) continue;
    const Tensor here = t.tensor.to(kCpu);
    hashes += str(detail::fnv1a64({static_cast<const char*>(here.view().data), here.nbytes()}), " ");
  }
  if (same(hashes)) return false;
  broadcast_tensors();
  return true;
}

void DataParallel::begin_batch(std::int64_t images, double weight, bool stop) {
  counts_[0] = static_cast<double>(images);
  counts_[1] = weight_ = weight;
  counts_[2] = stop ? 1 : 0;
  images_share_ = static_cast<double>(images);
  counted_ = false;
  if (!sync_) buffers_.keep();
  counting_ = ranks_.start_sum(view_of(counts_));
}

double DataParallel::share() {
  if (!counted_) ranks_.wait(counting_);
  counted_ = true;
  stop_ = counts_[2] > 0;
  images_share_ /= std::max(1.0, counts_[0]);
  return counts_[1] > 0 ? weight_ / counts_[1] : 0;
}

void DataParallel::add_result(double loss, std::int64_t correct, bool last_of_step) {
  // 0·NaN of a part without pictures must not spoil the others.
  results_[0] = weight_ > 0 ? loss * weight_ : 0;
  results_[1] = static_cast<double>(correct);
  adding_ = ranks_.start_sum(view_of(results_));
  if (!sync_ && last_of_step) buffers_.start(images_share_);
}

DataParallel::Total DataParallel::finish_batch(bool last_of_step) {
  if (last_of_step) gradients_.finish();
  ranks_.wait(adding_);
  if (!sync_ && last_of_step) buffers_.finish();
  Total total;
  total.loss = counts_[1] > 0 ? results_[0] / counts_[1] : 0;
  total.correct = static_cast<std::int64_t>(results_[1]);
  total.images = static_cast<std::int64_t>(counts_[0]);
  return total;
}

void DataParallel::check() {
  if (!tensors_.empty()) synchronize(tensors_.front().tensor.device());
  ranks_.progress();
}

}  // namespace fovea
