// The training loop by hand, for losses and loops of one's own: loader, tape, optimizer, learning rate.
//
//   example_training_loop DATA [STEPS]
#include <fovea/fovea.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

using namespace fovea;

namespace {

int run(const char* path, int steps) {
  const DatasetPtr train = open_dataset(path, available_splits(path).empty() ? "" : "train");
  const int channels = train->image(0).channels == 1 ? 1 : 3;
  image::Preprocessing preprocessing;
  preprocessing.width = preprocessing.height = 28;
  preprocessing.channels = channels;
  preprocessing.rule = image::ResizeRule::stretch;
  Loader loader(train, {.batch_size = std::min<std::int64_t>(64, train->size()),
                        .shuffle = true,
                        .drop_last = true,
                        .seed = 1,
                        .preprocessing = preprocessing});

  Sequential net(Conv2d(channels, 16, {.padding = 1}), BatchNorm(16), ReLU(), MaxPool2d(2),  //
                 Conv2d(16, 32, {.padding = 1}), BatchNorm(32), ReLU(), MaxPool2d(2), Flatten(),
                 Dense(7 * 7 * 32, static_cast<int>(train->num_classes())));
  net.initialize(1);
  Optimizer optimizer = make_optimizer(SGD{.lr = 0.05, .momentum = 0.9, .nesterov = true}, net);

  const TrainingMode training;  // batch norm uses and updates the batch's statistics
  double mean = 0;
  for (int step = 0, epoch = 0; step < steps; ++epoch) {
    loader.start_epoch(epoch);
    Batch batch;
    while (step < steps && loader.next(batch)) {
      Tape tape;  // records what follows, on this thread
      const Tensor loss = cross_entropy(net(batch.images), batch.labels, {.label_smoothing = 0.05});
      tape.backward(loss);
      optimizer.set_learning_rate(0.05 * (1 - static_cast<double>(step) / steps));
      optimizer.step();
      optimizer.zero_grad();
      mean = step == 0 ? loss.item() : 0.9 * mean + 0.1 * loss.item();
      if (++step % 20 == 0 || step == steps) std::printf("step %4d  loss %.3f\n", step, mean);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DATA [STEPS]\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], argc > 2 ? std::atoi(argv[2]) : 200);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
