// The double of NCCL: communicators whose ranks are threads of this process. A call of one rank runs when all have made
// theirs and their streams have come that far, in the order of ranks. Calls may be "in progress" when they return, as
// communicators that do not block have it: then nothing is queued until the state has been asked for.
#include "nccl_double.h"

#ifdef FOVEA_NCCL
#include <cstring>
#include <map>
#include <memory>

#include "library_doubles.h"
#include "state.h"

namespace fovea::cuda_double {
namespace {

using Clock = std::chrono::steady_clock;

/// One call as a rank made it.
struct Posted {
  const void* from = nullptr;
  void* to = nullptr;
  cudaStream_t stream = nullptr;
  std::uint64_t position = 0;  // of its work in the stream
};
struct Call {
  const char* name = "";
  std::size_t count = 0;
  ncclDataType_t type = ncclUint8;
  int root = -1, first = -1, posted = 0;
  std::vector<Posted> parts;
  bool running = false, done = false;
  std::string describe() const;
};

const char* type_name(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32: return "f32";
    case ncclFloat64: return "f64";
    case ncclUint8: return "bytes";
    default: return "?";
  }
}
std::size_t type_size(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32: return 4;
    case ncclFloat64: return 8;
    case ncclUint8: return 1;
    default: broken("NCCL: a type that the double does not know");
  }
}
std::string Call::describe() const {
  return std::string(name) + " of " + std::to_string(count) + " " + type_name(type) +
         (root < 0 ? "" : " from rank " + std::to_string(root));
}

}  // namespace

/// What the ranks of one communicator share.
struct Clique {
  int size = 0;
  std::map<int, ncclComm*> members;  // that joined
  std::map<std::uint64_t, Call> calls;
  std::vector<std::uint64_t> made;  // calls, by rank
};

}  // namespace fovea::cuda_double

struct ncclComm : fovea::cuda_double::LibraryHandle {
  std::shared_ptr<fovea::cuda_double::Clique> clique;
  int rank = 0;
  ncclResult_t state = ncclInProgress, broken = ncclSuccess;
  std::function<void()> later;  // what is queued when the state is next asked for
  bool finalized = false, slow = false;
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);
};

namespace fovea::cuda_double {
namespace {

struct Nccl {
  std::map<std::string, std::shared_ptr<Clique>> cliques;  // by unique id
  std::condition_variable_any changed;
  std::int64_t calls = 0;
  std::uint64_t ids = 0;
  double patience = 20;
};
Nccl& nccl() {
  static auto* made = new Nccl;
  return *made;
}

template <class T>
void add_up(const Call& call) {
  for (std::size_t i = 0; i < call.count; ++i) {
    T sum = 0;
    for (const Posted& p : call.parts) sum += static_cast<const T*>(p.from)[i];
    for (const Posted& p : call.parts) static_cast<T*>(p.to)[i] = sum;
  }
}

void run(Call& call) {
  if (call.root >= 0) {
    const Posted& root = call.parts[static_cast<std::size_t>(call.root)];
    for (const Posted& p : call.parts) std::memmove(p.to, root.from, call.count * type_size(call.type));
  } else {
    call.type == ncclFloat64 ? add_up<double>(call) : add_up<float>(call);
  }
}

[[noreturn]] void deadlock(const Clique& clique, std::uint64_t number, int rank) {
  const Call& call = clique.calls.at(number);
  std::string text = "deadlock: " + call.describe() + ", call " + std::to_string(number) + " of rank " +
                     std::to_string(rank) + ", waits for ";
  for (int r = 0; r < clique.size; ++r) {
    const std::uint64_t made = clique.made[static_cast<std::size_t>(r)];
    if (made > number) continue;
    text += "rank " + std::to_string(r);
    text += made == 0 ? ", which has made none; " : ", whose last was call " + std::to_string(made - 1) + ": ";
    if (made > 0) text += clique.calls.at(made - 1).describe() + "; ";
  }
  broken(text);
}

bool healthy(const Clique& clique) {
  for (const auto& [r, comm] : clique.members) {
    if (!comm || comm->broken != ncclSuccess) return false;
  }
  return true;
}

/// Runs the call unless another rank has; waits for those that have not made theirs.
void execute(Clique& clique, std::uint64_t number, int rank, const bool& aborted) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(nccl().patience);
  Call& call = clique.calls.at(number);
  while (!call.done && !aborted) {
    if (call.posted == clique.size && !call.running && healthy(clique)) {
      call.running = true;
      for (const Posted& p : call.parts) drain(p.stream, p.position);
      run(call);
      call.done = true;
      nccl().changed.notify_all();
    } else if (!wait_for_others(nccl().changed, std::chrono::time_point_cast<Clock::duration>(deadline)) &&
               !call.done && !aborted) {
      deadlock(clique, number, rank);
    }
  }
}

ncclComm* checked(ncclComm* comm, const char* name) {
  LiveHandles<ncclComm>::check(comm, name);
  return comm;
}

ncclResult_t begin(const char* name, const void* from, void* to, std::size_t count, ncclDataType_t type, int root,
                   ncclComm* comm, cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  const Use<ncclComm> use(comm, name);
  const std::string call_name = name;
  if (comm->state != ncclSuccess || comm->later) broken(call_name + ": the communicator is still in progress");
  if (comm->finalized) broken(call_name + ": the communicator was finalized");
  if (!stream) broken(call_name + ": on the default stream, which would wait for all others");
  if (stream->device != comm->device) broken(call_name + ": the stream belongs to another GPU than the communicator");
  if (stream->capture) broken(call_name + ": in a captured stream, which the double does not know");
  const std::size_t bytes = count * type_size(type);
  if (from != to && from < static_cast<char*>(to) + bytes && to < static_cast<const char*>(from) + bytes)
    broken(call_name + ": the buffers overlap and are not the same");
  for (const void* p : {from, static_cast<const void*>(to)}) {
    check_device_memory(p, bytes, name);
    if (reinterpret_cast<std::uintptr_t>(p) % type_size(type) != 0) broken(call_name + ": is not aligned");
  }
  if (comm->broken != ncclSuccess) return comm->broken;
  if (fails_now("nccl")) return ncclSystemError;
  if (fails_now("nccl later")) {
    comm->broken = ncclRemoteError;
    return ncclInProgress;
  }
  const auto queue = [=] {
    Clique& clique = *comm->clique;
    const int rank = comm->rank;
    const std::uint64_t number = clique.made[static_cast<std::size_t>(rank)]++;
    Call& call = clique.calls[number];
    Call mine{.name = name, .count = count, .type = type, .root = root, .first = rank};
    if (call.posted == 0) {
      mine.parts.resize(static_cast<std::size_t>(clique.size));
      call = mine;
    } else if (call.describe() != mine.describe()) {
      broken("the ranks' calls " + std::to_string(number) + " differ: " + call.describe() + " on rank " +
             std::to_string(call.first) + ", " + mine.describe() + " on rank " + std::to_string(rank));
    }
    ++nccl().calls;
    ++state().launches;
    call.parts[static_cast<std::size_t>(rank)] = {from, to, stream, stream->queued};
    enqueue_when(
        stream, name,
        [shared = comm->clique, number, rank, aborted = comm->aborted] { execute(*shared, number, rank, *aborted); },
        [to, bytes, shared = comm->clique, number] {
          if (!shared->calls.at(number).done) std::memset(to, kPoison, bytes);  // aborted
        });
    ++call.posted;
    nccl().changed.notify_all();
  };
  comm->slow = !comm->slow;  // every other call takes its time
  if (comm->slow) {
    comm->later = queue;
    return ncclInProgress;
  }
  queue();
  return ncclSuccess;
}

/// Whether all this rank has begun is done, or can be done without waiting for another.
bool quiescent(const ncclComm& comm) {
  for (const auto& [number, call] : comm.clique->calls) {
    const Posted mine = call.parts[static_cast<std::size_t>(comm.rank)];
    if (!mine.stream || call.done) continue;
    if (call.posted < comm.clique->size || !healthy(*comm.clique)) return false;
    drain(mine.stream, mine.position + 1);
  }
  return true;
}

void leave(ncclComm* comm, const char* name, bool abort) {
  const std::lock_guard lock(state().mutex);
  checked(comm, name);
  Clique& clique = *comm->clique;
  *comm->aborted = abort;
  clique.members[comm->rank] = nullptr;
  for (const auto& [r, other] : clique.members) {
    if (abort && other && other->broken == ncclSuccess) other->broken = ncclRemoteError;
  }
  nccl().changed.notify_all();
  LiveHandles<ncclComm>::destroy(comm, name);
}

}  // namespace

std::int64_t live_nccl_comms() { return LiveHandles<ncclComm>::count(); }
std::int64_t nccl_calls() { return nccl().calls; }
void set_nccl_patience(double seconds) { nccl().patience = seconds; }
void break_nccl(int rank, ncclResult_t how) {
  const std::lock_guard lock(state().mutex);
  for (const auto& [id, clique] : nccl().cliques) {
    const auto found = clique->members.find(rank);
    if (found != clique->members.end() && found->second) found->second->broken = how;
  }
  nccl().changed.notify_all();
}

}  // namespace fovea::cuda_double

using namespace fovea::cuda_double;

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess ? "no error" : "an injected failure";
}
const char* ncclGetLastError(ncclComm_t) { return "told by the double"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(state().mutex);
  if (fails_now("ncclGetUniqueId")) return ncclSystemError;
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "double %llu", static_cast<unsigned long long>(++nccl().ids));
  nccl().cliques[id->internal] = std::make_shared<Clique>();
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const std::lock_guard lock(state().mutex);
  const auto found = nccl().cliques.find(std::string(id.internal, strnlen(id.internal, sizeof id.internal)));
  if (found == nccl().cliques.end()) broken("ncclCommInitRank: nobody has made this unique id");
  if (!config || config->magic != 0xcafebeef || config->blocking != 0)
    broken("ncclCommInitRank: the double knows communicators that do not block, by NCCL_CONFIG_INITIALIZER");
  Clique& clique = *found->second;
  if (rank < 0 || rank >= size) broken("ncclCommInitRank: there is no such rank");
  if (clique.size != 0 && clique.size != size) broken("ncclCommInitRank: the ranks differ about their number");
  if (clique.members.contains(rank)) broken("ncclCommInitRank: this rank has used this unique id already");
  if (fails_now("ncclCommInitRank")) return ncclSystemError;
  for (const auto& [r, other] : clique.members) {
    if (other && other->device == current) return ncclInvalidUsage;  // two ranks on one GPU
  }
  clique.size = size;
  clique.made.resize(static_cast<std::size_t>(size));
  *comm = LiveHandles<ncclComm>::create();
  (*comm)->clique = found->second;
  (*comm)->rank = rank;
  clique.members[rank] = *comm;
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  const std::lock_guard lock(state().mutex);
  checked(comm, "ncclCommGetAsyncError");
  if (comm->broken != ncclSuccess) {
    comm->state = comm->broken;
  } else if (comm->state == ncclInProgress) {
    if (static_cast<int>(comm->clique->members.size()) == comm->clique->size) comm->state = ncclSuccess;
  } else if (comm->finalized && !quiescent(*comm)) {
    *result = ncclInProgress;
    return ncclSuccess;
  } else if (comm->later) {
    const std::function<void()> queue = std::exchange(comm->later, {});
    queue();
  }
  *result = comm->state;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  if (op != ncclSum || type == ncclUint8) broken("ncclAllReduce: the double knows sums of f32 and f64");
  return begin("ncclAllReduce", from, to, count, type, -1, comm, stream);
}

ncclResult_t ncclBroadcast(const void* from, void* to, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  const int size = checked(comm, "ncclBroadcast")->clique->size;
  if (root < 0 || root >= size) broken("ncclBroadcast: there is no such root");
  return begin("ncclBroadcast", from, to, count, type, root, comm, stream);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const std::lock_guard lock(state().mutex);
  const Use<ncclComm> use(comm, "ncclCommFinalize");
  if (comm->state != ncclSuccess || comm->later) broken("ncclCommFinalize: the communicator is still in progress");
  if (comm->finalized) broken("ncclCommFinalize: a second time");
  comm->finalized = true;
  comm->later = [] {};
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  checked(comm, "ncclCommDestroy");
  if (!comm->finalized || comm->later) broken("ncclCommDestroy: before the communicator was finalized");
  leave(comm, "ncclCommDestroy", false);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  leave(comm, "ncclCommAbort", true);
  return ncclSuccess;
}

}  // extern "C"
#endif
