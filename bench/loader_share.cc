// How much of the speed on in-memory batches training keeps when the loader feeds it: rounds of training steps on
// batches kept in memory and on the loader's (decoding, augmentation, prefetch on a worker thread) alternate in one
// process, on the same network. Needs an idle machine: the loader's work is about 1 % of the two cores.
//
//   loader_share [DATA] [MODEL] [ROUNDS]          default: the demo, fashion_cnn on Debian's Fashion-MNIST
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "augment/loader.h"
#include "augment/open.h"
#include "augment/transform.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "layers/ops/loss.h"
#include "models/model.h"
#include "train/optimizer.h"

using namespace fovea;

namespace {

constexpr std::int64_t kBatch = 128;
constexpr int kSteps = 100;

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

int run(const char* path, const char* name, int rounds) {
  const DatasetPtr data = open_dataset(path, available_splits(path).empty() ? "" : "train");
  const image::Image first = data->image(0);
  Model model = models::create(name, {.classes = static_cast<int>(data->num_classes()),
                                      .image_size = first.width <= 40 ? first.width : 0,
                                      .channels = first.channels == 1 ? 1 : 3});
  Loader loader(data, {.batch_size = kBatch,
                       .shuffle = true,
                       .drop_last = true,
                       .preprocessing = model.preprocessing,
                       .transforms = {transforms::horizontal_flip(0.5)}});
  Optimizer optimizer =
      make_optimizer(SGD{.lr = 0.01, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4}, model.network());
  const TrainingMode training;
  const auto step = [&](const Batch& batch) {
    Tape tape;
    const Tensor loss = cross_entropy(model(batch.images), batch.labels, {.label_smoothing = 0.05});
    tape.backward(loss);
    optimizer.step();
    optimizer.zero_grad();
    return loss.item();
  };
  std::int64_t epoch = 0;
  loader.start_epoch(epoch);
  const auto next = [&](Batch& batch) {
    while (!loader.next(batch)) loader.start_epoch(++epoch);
  };
  std::vector<Batch> kept(64);  // 25 MB of pictures: like a loader's, they are not in the cache when their turn comes
  for (Batch& batch : kept) next(batch);
  const auto speed = [&](auto&& batch_at) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kSteps; ++i) step(batch_at(i));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return kSteps * static_cast<double>(kBatch) / seconds.count();
  };
  std::vector<double> memory, loaded;
  Batch batch;
  for (int round = 0; round <= rounds; ++round) {
    const double a = speed([&](int i) -> const Batch& { return kept[static_cast<std::size_t>(i) % kept.size()]; });
    const double b = speed([&](int) -> const Batch& {
      next(batch);
      return batch;
    });
    if (round == 0) continue;  // warms up
    memory.push_back(a);
    loaded.push_back(b);
    std::printf("round %d: in memory %.0f images/s, loader %.0f images/s: %.1f %%\n", round, a, b, 100 * b / a);
    std::fflush(stdout);
  }
  std::printf("medians: in memory %.0f images/s, loader %.0f images/s: %.1f %%\n", median(memory), median(loaded),
              100 * median(loaded) / median(memory));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist", argc > 2 ? argv[2] : "fashion_cnn",
               argc > 3 ? std::atoi(argv[3]) : 9);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
