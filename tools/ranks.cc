#include "tools/ranks.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "layers/module.h"
#include "tools/failure.h"
#include "train/distributed/mpi.h"

namespace fovea::tools {
namespace {

/// All ranks know that this command ends.
struct EndedTogether {
  std::exception_ptr error;  ///< on the rank that says why
  bool everywhere = false;
};

int report(const std::exception_ptr& error, const std::string& who) {
  try {
    std::rethrow_exception(error);
  } catch (...) {
    return report_failure(who);
  }
}

}  // namespace

std::string name_of(const Communicator& world) {
  return world.size() > 1 ? str("rank ", world.rank(), " of ", world.size(), ": ") : "";
}

void apply_common(const Common& common, const Communicator& world) {
  apply_common(common);
  if (world.size() > 1 && common.threads == 0 && !std::getenv("FOVEA_NUM_THREADS") && !std::getenv("OMP_NUM_THREADS"))
    set_num_threads(std::min(world.processors(), 1024));
}

void together(Communicator& world, const std::function<void()>& work) {
  if (world.size() == 1) return work();
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  std::vector<double> failed(static_cast<std::size_t>(world.size()));
  failed[static_cast<std::size_t>(world.rank())] = error ? 1 : 0;
  world.barrier();  // which, other than a sum, leaves the processor to a rank that is still at work
  world.sum(failed);
  const auto first = std::find(failed.begin(), failed.end(), 1.0);
  if (first == failed.end()) return;
  const bool mine = first - failed.begin() == world.rank();
  const bool everywhere = std::find(failed.begin(), failed.end(), 0.0) == failed.end();
  throw EndedTogether{mine ? error : nullptr, everywhere};
}

void broadcast(Communicator& world, const Model& model) {
  if (world.size() == 1) return;
  for (NamedTensor& t : model.network().named_tensors()) {
    if (t.tensor.numel() > 0) world.broadcast(t.tensor.mutable_view(), 0);
  }
}

int run_on_ranks(const std::function<int(Communicator&)>& command) {
  const std::unique_ptr<Communicator> world = open_mpi_world();
  if (world->size() == 1) return command(*world);
  try {
    return command(*world);
  } catch (const EndedTogether& end) {
    return end.error ? report(end.error, end.everywhere ? "" : name_of(*world)) : 1;
  } catch (...) {
    const int code = report_failure(name_of(*world));
    std::fflush(nullptr);
    world->abort(code);
  }
  return 1;
}

}  // namespace fovea::tools
