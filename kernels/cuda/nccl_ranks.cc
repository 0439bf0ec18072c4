// NCCL behind the communicator: one rank per process and GPU. What lies on the host goes by another communicator.
#include "kernels/cuda/nccl_ranks.h"

#include "core/error.h"
#include "kernels/cuda/runtime.h"

#ifdef FOVEA_NCCL
#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cuda/nccl_library.h"
#endif

namespace fovea::kernels::cuda {

#ifdef FOVEA_NCCL
namespace {

constexpr int kOldest = NCCL_VERSION(2, 14, 0);  // communicators that do not block

std::string_view name_of(ncclResult_t result) {
  switch (result) {
    case ncclUnhandledCudaError: return "ncclUnhandledCudaError";
    case ncclSystemError: return "ncclSystemError";
    case ncclInternalError: return "ncclInternalError";
    case ncclInvalidArgument: return "ncclInvalidArgument";
    case ncclInvalidUsage: return "ncclInvalidUsage";
    case ncclRemoteError: return "ncclRemoteError";
    default: return "an error";
  }
}

/// What NCCL calls a communicator, of this rank. Not blocking: a call that waits for another rank returns all the same,
/// so that a failure elsewhere can be noticed and the call given up.
class Comm {
 public:
  Comm(Communicator& hosts, const ncclUniqueId& id, int device) : hosts_(hosts), device_(device) {
    stream(device);  // current from here on
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    std::unique_lock lock(mutex_);
    finish("ncclCommInitRank", ncclCommInitRankConfig(&comm_, hosts.size(), id, hosts.rank(), &config), lock);
    watch_ = std::thread([this] { watch(); });
  }

  ~Comm() {
    {
      const std::lock_guard lock(mutex_);
      leaving_ = true;
    }
    leave_.notify_all();
    watch_.join();
    if (std::uncaught_exceptions() > 0) {  // the others will not make the same calls: nobody waits for them
      give_up("this rank has left");
      return;
    }
    try {
      call("ncclCommFinalize", [](ncclComm_t comm) { return ncclCommFinalize(comm); });
      ncclCommDestroy(comm_);
    } catch (const Error&) {  // aborted; nothing is left to be done with it
    }
  }
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  /// Error{device} if something has failed.
  void check() {
    const std::lock_guard lock(mutex_);
    throw_failure();
  }

  template <class F>
  void call(const char* what, F&& f) {
    stream(device_);
    std::unique_lock lock(mutex_);
    throw_failure();
    finish(what, f(comm_), lock);
  }

  /// Ends what is under way, here and, as they notice, on the other ranks.
  void give_up(const std::string& why) {
    const std::lock_guard lock(mutex_);
    fail(why);
  }

 private:
  /// Waits until a call is queued, and throws if it failed.
  void finish(const char* what, ncclResult_t result, std::unique_lock<std::mutex>& lock) {
    for (int tries = 0; result == ncclInProgress && comm_; ++tries) {
      ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
      if (asked != ncclSuccess) result = asked;
      if (result != ncclInProgress) break;
      // What takes longer waits for other ranks.
      lock.unlock();
      std::exception_ptr gone;
      try {
        hosts_.progress();
      } catch (const Error&) {
        gone = std::current_exception();
      }
      std::this_thread::sleep_for(std::chrono::microseconds(tries < 1000 ? 20 : 1000));
      lock.lock();
      if (gone) {
        fail("another rank has left");
        std::rethrow_exception(gone);
      }
    }
    if (result != ncclSuccess) fail(describe(what, result));
    throw_failure();
  }

  std::string describe(const char* what, ncclResult_t result) const {
    const std::string detail = ncclGetLastError(comm_);
    return str(what, ": NCCL says ", name_of(result), ": ", ncclGetErrorString(result), detail.empty() ? "" : ": ",
               detail);
  }

  /// The first failure is what is told, and told before anything that waits for the GPU can go on.
  void fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
    if (comm_) ncclCommAbort(comm_);
    comm_ = nullptr;
  }

  void throw_failure() const {
    if (!failure_.empty()) throw Error(ErrorKind::device, "several GPUs", failure_, "NCCL_DEBUG=WARN says more");
  }

  /// A sum whose connection broke does not end by itself, and the caller may be waiting for the GPU: somebody else has
  /// to notice.
  void watch() {
    std::unique_lock lock(mutex_);
    while (!leave_.wait_for(lock, std::chrono::milliseconds(200), [this] { return leaving_; })) {
      ncclResult_t state = ncclSuccess;
      if (!comm_) return;
      if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess || state == ncclSuccess || state == ncclInProgress)
        continue;
      fail(describe("a sum that was under way", state));
      return;
    }
  }

  Communicator& hosts_;
  int device_;
  std::mutex mutex_;
  std::condition_variable leave_;
  bool leaving_ = false;
  ncclComm_t comm_ = nullptr;
  std::string failure_;
  std::thread watch_;
};

/// A stream beside the GPU's own, and events between the two.
class SideStream {
 public:
  explicit SideStream(int device) : device_(device) {
    stream(device);
    check(cudaStreamCreateWithFlags(&side_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~SideStream() {
    for (cudaEvent_t event : spare_) cudaEventDestroy(event);
    cudaStreamDestroy(side_);
  }
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  cudaStream_t get() const { return side_; }

  /// What is queued here from now on runs behind what is queued on the GPU's stream now.
  void follow() { let_wait(side_, mark(stream(device_))); }
  /// The end of what is queued here now.
  cudaEvent_t mark() { return mark(side_); }
  /// What is queued on the GPU's stream from now on runs behind the mark, which is used up.
  void rejoin(cudaEvent_t event) { let_wait(stream(device_), event); }
  void forget(cudaEvent_t event) { spare_.push_back(event); }

 private:
  cudaEvent_t mark(cudaStream_t on) {
    cudaEvent_t event = nullptr;
    if (spare_.empty()) {
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    } else {
      event = spare_.back();
      spare_.pop_back();
    }
    if (const cudaError_t status = cudaEventRecord(event, on); status != cudaSuccess) {
      spare_.push_back(event);
      check(status, "cudaEventRecord");
    }
    return event;
  }
  void let_wait(cudaStream_t waiting, cudaEvent_t event) {
    const cudaError_t status = cudaStreamWaitEvent(waiting, event, 0);
    spare_.push_back(event);  // the wait has taken its state
    check(status, "cudaStreamWaitEvent");
  }

  int device_;
  cudaStream_t side_ = nullptr;
  std::vector<cudaEvent_t> spare_;
};

/// Two ranks on one GPU would wait for each other's place on it. Error{device} on all ranks.
void check_own_gpus(Communicator& hosts, int device) {
  constexpr std::size_t kWords = 4;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  std::array<std::uint32_t, kWords> mine{};
  static_assert(sizeof mine == sizeof properties.uuid.bytes);
  std::memcpy(mine.data(), properties.uuid.bytes, sizeof mine);
  const auto size = static_cast<std::size_t>(hosts.size());
  std::vector<double> all(size * kWords);
  std::copy(mine.begin(), mine.end(), all.begin() + hosts.rank() * static_cast<std::ptrdiff_t>(kWords));
  hosts.sum(all);
  std::map<std::vector<double>, std::size_t> seen;
  for (std::size_t rank = 0; rank < size; ++rank) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rank * kWords);
    const auto [other, fresh] = seen.emplace(std::vector<double>(begin, begin + kWords), rank);
    if (fresh) continue;
    throw Error(ErrorKind::device, "ranks", str("ranks ", other->second, " and ", rank, " have the same GPU"),
                str("each rank needs its own; this process sees ", availability().count,
                    ": start at most as many ranks on a machine as it has GPUs"));
  }
}

View bytes_of(ncclUniqueId& id) {
  return {id.internal, Shape{static_cast<std::int64_t>(sizeof id.internal)}, DType::u8, kCpu, 0, 0};
}

class NcclRanks final : public Communicator {
 public:
  NcclRanks(Communicator& hosts, int device)
      : Communicator(hosts.rank(), hosts.size()),
        hosts_(hosts),
        device_(device),
        side_(device),
        comm_(hosts, common_id(hosts), device) {}

  ~NcclRanks() override {
    if (!sums_.empty()) comm_.give_up("this rank has left");  // not as it was meant to be: who knows about the others
  }

  using Communicator::sum;
  int processors() const override { return hosts_.processors(); }

  Ticket start_sum(const View& buffer) override {
    check_sum(buffer);
    comm_.check();
    Sum started;
    if (on_host(buffer)) {
      started.host = hosts_.start_sum(buffer);
    } else if (buffer.numel() > 0) {
      started.end = queue_sum(buffer);
    }
    started.on_host = on_host(buffer);
    sums_[++last_] = started;
    return last_;
  }

  void wait(Ticket ticket) override {
    const auto at = sums_.find(ticket);
    if (at == sums_.end()) throw Error(ErrorKind::usage, "communicator", "waits for a sum that was not started");
    const Sum started = at->second;
    sums_.erase(at);
    if (started.on_host) hosts_.wait(started.host);
    if (started.end) side_.rejoin(started.end);
    comm_.check();
  }

  void progress() override {
    comm_.check();
    hosts_.progress();
  }

  void sum(const View& buffer) override {
    comm_.check();
    if (on_host(buffer)) {
      hosts_.sum(buffer);
    } else {
      check_sum(buffer);
      if (buffer.numel() > 0) side_.rejoin(queue_sum(buffer));
    }
  }

  void broadcast(const View& buffer, int root) override {
    comm_.check();
    if (on_host(buffer)) return hosts_.broadcast(buffer, root);
    const std::size_t bytes = static_cast<std::size_t>(buffer.numel()) * dtype_size(buffer.dtype);
    if (bytes == 0) return;
    side_.rejoin(queue("ncclBroadcast", [&](ncclComm_t comm) {
      return ncclBroadcast(buffer.data, buffer.data, bytes, ncclUint8, root, comm, side_.get());
    }));
  }

  void barrier() override {
    comm_.check();
    hosts_.barrier();
  }

  [[noreturn]] void abort(int exit_code) override {
    comm_.give_up("this rank has ended all");
    hosts_.abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  struct Sum {
    bool on_host = false;
    Ticket host = 0;
    cudaEvent_t end = nullptr;
  };

  static ncclUniqueId common_id(Communicator& hosts) {
    ncclUniqueId id{};
    if (hosts.rank() == 0) {
      if (const ncclResult_t result = ncclGetUniqueId(&id); result != ncclSuccess) {
        throw Error(ErrorKind::device, "several GPUs",
                    str("ncclGetUniqueId: NCCL says ", name_of(result), ": ", ncclGetErrorString(result), ": ",
                        ncclGetLastError(nullptr)),
                    "NCCL_DEBUG=WARN says more");
      }
    }
    hosts.broadcast(bytes_of(id), 0);
    return id;
  }

  bool on_host(const View& buffer) const {
    if (buffer.device == kCpu) return true;
    if (buffer.device == Device{DeviceType::cuda, device_}) return false;
    throw Error(ErrorKind::device, "communicator",
                str("this rank's buffers lie on cuda:", device_, " or the CPU, not on ", buffer.device));
  }

  template <class F>
  cudaEvent_t queue(const char* what, F&& f) {
    side_.follow();
    comm_.call(what, f);
    return side_.mark();
  }
  cudaEvent_t queue_sum(const View& buffer) {
    return queue("ncclAllReduce", [&](ncclComm_t comm) {
      return ncclAllReduce(buffer.data, buffer.data, static_cast<std::size_t>(buffer.numel()),
                           buffer.dtype == DType::f64 ? ncclFloat64 : ncclFloat32, ncclSum, comm, side_.get());
    });
  }

  Communicator& hosts_;
  int device_;
  SideStream side_;
  Comm comm_;  // goes first: it may still use the stream
  std::map<Ticket, Sum> sums_;
  Ticket last_ = 0;
};

}  // namespace

std::string nccl_problem() {
  try {
    int version = 0;
    const ncclResult_t result = ncclGetVersion(&version);
    if (result != ncclSuccess) return str("NCCL does not say its version: ", ncclGetErrorString(result));
    if (version >= kOldest) return "";
    return str("NCCL ", version / 10000, ".", version / 100 % 100, " is too old: 2.14 is the first to do");
  } catch (const Error& e) {
    return e.what();
  }
}

std::unique_ptr<Communicator> nccl_ranks(Communicator& hosts, int device) {
  if (const std::string problem = nccl_problem(); !problem.empty()) {
    throw Error(ErrorKind::device, "several GPUs", problem, "install NCCL, or start one rank, without mpirun");
  }
  check_own_gpus(hosts, device);
  return std::make_unique<NcclRanks>(hosts, device);
}

#else

std::string nccl_problem() { return "this build has no NCCL (FOVEA_NCCL=OFF, or nccl.h and libnccl were not there)"; }

std::unique_ptr<Communicator> nccl_ranks(Communicator&, int) {
  throw Error(ErrorKind::device, "several GPUs", nccl_problem(),
              "install NCCL and build anew, or start one rank, without mpirun");
}

#endif

}  // namespace fovea::kernels::cuda
