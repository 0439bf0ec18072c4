// MPI behind the communicator. The library is loaded and not linked, as not to cost every program its start-up (some
// 10 ms for Open MPI) nor installations a dependency. So nothing here may name what only the library defines: the
// predefined communicators, types and operations are looked up as well, which is why this is Open MPI and not any MPI.
#include "train/distributed/mpi.h"

#include <cstdlib>
#include <exception>

#include "core/error.h"
#include "core/io/shared_library.h"

#ifdef FOVEA_MPI
#define OMPI_SKIP_MPICXX 1  // the header's old C++ classes
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <map>
#include <type_traits>
#include <vector>
#endif

namespace fovea {
namespace {

int environment_number(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  if (!text) return otherwise;
  const int value = std::atoi(text);
  return value >= 0 ? value : otherwise;
}

}  // namespace

Launch mpi_launch() {
  Launch launch;
  launch.size = environment_number("OMPI_COMM_WORLD_SIZE", 1);
  launch.rank = environment_number("OMPI_COMM_WORLD_RANK", 0);
  launch.local_size = environment_number("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
  launch.local_rank = environment_number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
  // srun --mpi=pmix says the rank but, of the number, only that of the step's tasks.
  if (launch.size <= 1 && std::getenv("PMIX_RANK")) {
    launch.size = environment_number("SLURM_STEP_NUM_TASKS", 1);
    launch.rank = environment_number("PMIX_RANK", 0);
    launch.local_size = environment_number("SLURM_STEP_TASKS_PER_NODE", 1);  // "4(x2)": 4 on each of 2
    launch.local_rank = environment_number("SLURM_LOCALID", 0);
  }
  if (launch.size <= 1 || launch.rank >= launch.size) return {};
  return launch;
}

#ifdef FOVEA_MPI
namespace {

/// The functions and objects of libmpi that are used here.
struct Library {
  decltype(&MPI_Initialized) initialized = nullptr;
  decltype(&MPI_Init_thread) init_thread = nullptr;
  decltype(&MPI_Finalize) finalize = nullptr;
  decltype(&MPI_Comm_rank) comm_rank = nullptr;
  decltype(&MPI_Comm_size) comm_size = nullptr;
  decltype(&MPI_Comm_dup) comm_dup = nullptr;
  decltype(&MPI_Comm_free) comm_free = nullptr;
  decltype(&MPI_Comm_split_type) comm_split_type = nullptr;
  decltype(&MPI_Iallreduce) iallreduce = nullptr;
  decltype(&MPI_Allreduce) allreduce = nullptr;
  decltype(&MPI_Bcast) bcast = nullptr;
  decltype(&MPI_Ibarrier) ibarrier = nullptr;
  decltype(&MPI_Test) test = nullptr;
  decltype(&MPI_Wait) wait = nullptr;
  decltype(&MPI_Abort) abort = nullptr;
  MPI_Comm world{};
  MPI_Datatype f32{}, f64{}, byte{};
  MPI_Op sum{};
  MPI_Info no_info{};
  std::string problem;  ///< empty: all is there

  Library() {
    // Global: Open MPI's plug-ins look for its symbols there.
    SharedLibrary library({FOVEA_MPI}, SharedLibrary::Symbols::global);
    const auto find = [&](const char* name, auto& to) { library.find(name, to); };
    find("MPI_Initialized", initialized);
    find("MPI_Init_thread", init_thread);
    find("MPI_Finalize", finalize);
    find("MPI_Comm_rank", comm_rank);
    find("MPI_Comm_size", comm_size);
    find("MPI_Comm_dup", comm_dup);
    find("MPI_Comm_free", comm_free);
    find("MPI_Comm_split_type", comm_split_type);
    find("MPI_Iallreduce", iallreduce);
    find("MPI_Allreduce", allreduce);
    find("MPI_Bcast", bcast);
    find("MPI_Ibarrier", ibarrier);
    find("MPI_Test", test);
    find("MPI_Wait", wait);
    find("MPI_Abort", abort);
    find("ompi_mpi_comm_world", world);
    find("ompi_mpi_float", f32);
    find("ompi_mpi_double", f64);
    find("ompi_mpi_byte", byte);
    find("ompi_mpi_op_sum", sum);
    find("ompi_mpi_info_null", no_info);
    problem = library.problem();
    if (library.loaded() && !problem.empty()) problem += ": it is no Open MPI";
  }
};

const Library& library() {
  static const Library l;
  return l;
}

/// MPI counts in int.
constexpr std::int64_t kMostElements = std::numeric_limits<int>::max() / 2;

/// Open MPI binds up to two ranks to one core each, and more to a socket, unless told otherwise: it takes them for
/// programs of one thread. A binding that somebody asked for (--bind-to, --map-by) stays.
void leave_default_binding() {
  const auto asked = [](const char* name) { return std::getenv(name) != nullptr; };
  if (!asked("OMPI_MCA_orte_bound_at_launch") || asked("OMPI_MCA_hwloc_base_binding_policy") ||
      asked("OMPI_MCA_rmaps_base_mapping_policy") || asked("OMPI_MCA_hwloc_base_cpu_list"))
    return;
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) CPU_SET(cpu, &all);
  ::sched_setaffinity(0, sizeof all, &all);  // those that the system grants; where it refuses, the binding stays
}

class MpiWorld final : public Communicator {
 public:
  /// @param owner whether MPI is this one's to finalise
  MpiWorld(MPI_Comm comm, int rank, int size, bool owner) : Communicator(rank, size), comm_(comm), owner_(owner) {
    look_around();
  }

  ~MpiWorld() override {
    if (std::uncaught_exceptions() > 0) return;
    barrier();  // finalising waits too, but keeps a processor busy
    l_.comm_free(&comm_);
    if (owner_) l_.finalize();
  }

  int processors() const override { return processors_; }

  Ticket start_sum(const View& buffer) override {
    const Ticket ticket = next_++;
    Sum& sum = pending_[ticket];
    if (!overlap_) {
      check_sum(buffer);
      check_device(buffer);
      sum.later = buffer;
      return ticket;
    }
    for_each_part(buffer, [&](void* data, int count, MPI_Datatype type) {
      sum.requests.emplace_back();
      l_.iallreduce(in_place(), data, count, type, l_.sum, comm_, &sum.requests.back());
    });
    return ticket;
  }

  void wait(Ticket ticket) override {
    const auto at = pending_.find(ticket);
    if (at == pending_.end()) throw Error(ErrorKind::usage, "communicator", "waits for a sum that was not started");
    if (!overlap_) sum(at->second.later);
    for (MPI_Request& request : at->second.requests) l_.wait(&request, MPI_STATUS_IGNORE);
    pending_.erase(at);
  }

  void progress() override {
    // One test moves all of Open MPI's started operations.
    for (auto& [ticket, sum] : pending_) {
      for (MPI_Request& request : sum.requests) {
        int done = 0;
        l_.test(&request, &done, MPI_STATUS_IGNORE);  // done ones are null requests
        if (!done) return;
      }
    }
  }

  void sum(const View& buffer) override {
    for_each_part(buffer, [&](void* data, int count, MPI_Datatype type) {
      l_.allreduce(in_place(), data, count, type, l_.sum, comm_);
    });
  }

  void broadcast(const View& buffer, int root) override {
    check_device(buffer);
    auto* data = static_cast<char*>(buffer.data);
    std::int64_t left = buffer.numel() * static_cast<std::int64_t>(dtype_size(buffer.dtype));
    for (; left > 0; left -= kMostElements, data += kMostElements)
      l_.bcast(data, static_cast<int>(std::min(left, kMostElements)), l_.byte, root, comm_);
  }

  void barrier() override {
    MPI_Request request;
    l_.ibarrier(comm_, &request);
    // For a millisecond the others are near; after that they are at work that may take minutes.
    for (int tries = 0;; ++tries) {
      int done = 0;
      l_.test(&request, &done, MPI_STATUS_IGNORE);
      if (done) return;
      if (tries > 1000) ::usleep(500);
    }
  }

  [[noreturn]] void abort(int exit_code) override {
    l_.abort(comm_, exit_code);
    std::_Exit(exit_code);
  }

 private:
  struct Sum {
    std::vector<MPI_Request> requests;
    View later;
  };

  static void* in_place() { return MPI_IN_PLACE; }

  static void check_device(const View& buffer) {
    if (buffer.device != kCpu)
      throw Error(ErrorKind::device, "communicator", str("MPI's buffers lie on the CPU, not on ", buffer.device));
  }

  template <class F>
  void for_each_part(const View& buffer, F&& f) const {
    check_sum(buffer);
    check_device(buffer);
    const bool wide = buffer.dtype == DType::f64;
    auto* data = static_cast<char*>(buffer.data);
    for (std::int64_t left = buffer.numel(); left > 0; left -= kMostElements) {
      const std::int64_t count = std::min(left, kMostElements);
      f(data, static_cast<int>(count), wide ? l_.f64 : l_.f32);
      data += static_cast<std::size_t>(count) * dtype_size(buffer.dtype);
    }
  }

  /// The ranks of this machine may run on the same processors, each on its own, or anything between.
  void look_around() {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    if (::sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
    std::vector<double> ranks_of(CPU_SETSIZE);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) ranks_of[static_cast<std::size_t>(cpu)] = CPU_ISSET(cpu, &mine) ? 1 : 0;
    MPI_Comm node{};
    l_.comm_split_type(comm_, MPI_COMM_TYPE_SHARED, 0, l_.no_info, &node);
    l_.allreduce(in_place(), ranks_of.data(), static_cast<int>(ranks_of.size()), l_.f64, l_.sum, node);
    int ranks_here = 1;
    l_.comm_size(node, &ranks_here);
    l_.comm_free(&node);
    // Between machines sums travel while the processors compute. Within one, a sum is work of those processors, beside
    // the backward pass as behind it, and then a blocking sum is 2.5 times as fast as a nonblocking one
    // (bench/ranks.sh).
    overlap_ = environment_number("FOVEA_MPI_OVERLAP", ranks_here < size() ? 1 : 0) != 0;
    double share = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mine)) share += 1 / ranks_of[static_cast<std::size_t>(cpu)];
    }
    processors_ = std::max(1, static_cast<int>(share + 1e-6));
  }

  const Library& l_ = library();
  MPI_Comm comm_;
  bool owner_;
  bool overlap_ = true;
  int processors_ = 1;
  Ticket next_ = 1;
  std::map<Ticket, Sum> pending_;  // oldest first
};

}  // namespace

std::string mpi_unavailable() { return library().problem; }

std::unique_ptr<Communicator> open_mpi_world() {
  if (mpi_launch().size == 1) return alone();
  const Library& l = library();
  if (!l.problem.empty()) {
    throw Error(ErrorKind::usage, "mpirun", str("started ", mpi_launch().size, " ranks, but ", l.problem),
                "install Open MPI (libopenmpi3), or start the program without mpirun");
  }
  leave_default_binding();
  int initialized = 0;
  l.initialized(&initialized);
  int level = MPI_THREAD_SERIALIZED;
  if (!initialized && l.init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS)
    throw Error(ErrorKind::usage, "mpirun", "MPI does not start");
  if (level < MPI_THREAD_FUNNELED)
    throw Error(ErrorKind::usage, "mpirun", "this MPI admits no threads", "use one that gives MPI_THREAD_FUNNELED");
  // A communicator of our own: what a program says by MPI itself stays apart.
  MPI_Comm comm{};
  l.comm_dup(l.world, &comm);
  int rank = 0, size = 1;
  l.comm_rank(comm, &rank);
  l.comm_size(comm, &size);
  return std::make_unique<MpiWorld>(comm, rank, size, !initialized);
}

#else

std::string mpi_unavailable() { return "fovea was built without MPI (FOVEA_MPI=OFF, or libopenmpi-dev was not there)"; }

std::unique_ptr<Communicator> open_mpi_world() {
  if (mpi_launch().size == 1) return alone();
  throw Error(ErrorKind::usage, "mpirun", str("started ", mpi_launch().size, " ranks, but ", mpi_unavailable()),
              "install libopenmpi-dev and build anew, or start the program without mpirun");
}

#endif

}  // namespace fovea
