// A training step on several ranks: bench/ranks.sh runs it by mpirun and without, and compares. Batches lie in memory;
// the batch is that of all ranks together. Prints least and median milliseconds of a step, and images/s by the median.
//
//   ranks [NETWORK] [BATCH] [STEPS] [MODE]
//
// MODE: overlapped (the default: gradients travel while backward runs), after (they travel when it is done), silent (no
// gradient travels: what the ranks compute, for comparison), sync (overlapped, with synchronised batch norm).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "layers/ops/loss.h"
#include "models/model.h"
#include "train/distributed/data_parallel_internal.h"
#include "train/distributed/mpi.h"
#include "train/optimizer.h"

using namespace fovea;

namespace {

int run(const std::string& name, std::int64_t whole, int steps, const std::string& mode) {
  const std::unique_ptr<Communicator> world = open_mpi_world();
  if (world->size() > 1 && !std::getenv("FOVEA_NUM_THREADS")) set_num_threads(world->processors());
  Model model = models::create(name, {.seed = 1});
  const image::Preprocessing& p = model.preprocessing;
  const std::int64_t first = whole * world->rank() / world->size(), last = whole * (world->rank() + 1) / world->size();
  const std::int64_t batch = last - first;
  Tensor images({batch, p.height, p.width, p.channels}), labels({batch}, DType::i64);
  Rng rng(1, "bench", static_cast<std::uint64_t>(world->rank()));
  for (std::int64_t i = 0; i < images.numel(); ++i) images.mutable_data<float>()[i] = static_cast<float>(rng.normal());
  for (std::int64_t i = 0; i < batch; ++i) labels.mutable_data<std::int64_t>()[i] = i % 10;

  Optimizer optimizer = make_optimizer(SGD{.lr = 1e-3, .momentum = 0.9}, model.network());
  DataParallel parallel(*world, model.network().named_tensors(), mode == "sync");
  const bool silent = mode == "silent" || world->size() == 1;
  std::vector<double> times;
  for (int step = -3; step < steps; ++step) {
    world->barrier();
    const auto begin = std::chrono::steady_clock::now();
    if (!silent) parallel.begin_batch(batch, static_cast<double>(batch), false);
    {
      const TrainingMode training({.seed = 1,
                                   .step = static_cast<std::uint64_t>(step + 3),
                                   .batch_ranks = silent ? nullptr : parallel.batch_ranks(),
                                   .first_example = first});
      Tape tape;
      const Tensor loss = cross_entropy(model(images), labels);
      const double value = loss.item();
      if (silent) {
        tape.backward(loss);
      } else {
        const Tensor share = Tensor::full(loss.shape(), parallel.share());
        parallel.add_result(value, 0, true);
        if (mode == "after") {
          tape.backward(loss, share);
        } else {
          tape.backward(loss, share, parallel.listener());
        }
        parallel.finish_batch(true);
      }
    }
    optimizer.step();
    optimizer.zero_grad();
    if (mode == "silent") world->barrier();  // so that a step is the slower rank's, as with gradients
    const auto end = std::chrono::steady_clock::now();
    if (step >= 0) times.push_back(std::chrono::duration<double, std::milli>(end - begin).count());
  }
  if (world->rank() > 0) return 0;
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  std::printf("%s batch %lld  %d x %d  %s  least %.2f ms  median %.2f ms  %.1f images/s\n", name.c_str(),
              static_cast<long long>(whole), world->size(), num_threads(), mode.c_str(), times[0], median,
              1000 * static_cast<double>(whole) / median);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "mobilenet_v2", argc > 2 ? std::atoi(argv[2]) : 16,
               std::max(1, argc > 3 ? std::atoi(argv[3]) : 20), argc > 4 ? argv[4] : "overlapped");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ranks: %s\n", e.what());
    return 1;
  }
}
