// Trains a small network of one's own on pictures, tests it and saves it.
//
//   example_train_pictures DATA MODEL.fovea [EPOCHS]
#include <fovea/fovea.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

using namespace fovea;

namespace {

// Two convolutions per scale; any size and 1 or 3 channels.
std::shared_ptr<Module> network(int channels, int classes) {
  const auto conv = [](int in, int out) { return ConvBnAct(in, out, {.padding = 1}); };
  return std::make_shared<Sequential>(conv(channels, 16), conv(16, 16), MaxPool2d(2), conv(16, 32), conv(32, 32),
                                      MaxPool2d(2), conv(32, 64), conv(64, 64), GlobalAveragePool(), Dropout(0.2),
                                      Dense(64, classes));
}

// One line per epoch.
class Lines : public TrainObserver {
  void on_epoch(const EpochRecord& epoch, const History&, const MetricValues* validation) override {
    std::printf("epoch %2d  loss %.3f  accuracy %.1f %%", static_cast<int>(epoch.epoch), epoch.train_loss,
                100 * epoch.train_accuracy);
    if (validation) std::printf("  validation %.1f %%", 100 * validation->accuracy);
    std::printf("\n");
    std::fflush(stdout);
  }
};

int run(const char* path, const char* out, int epochs) {
  const DatasetPtr all = open_dataset(path, available_splits(path).empty() ? "" : "train");
  const Splits parts = split(all, {.val = 0.1, .test = 0.1, .seed = 1});
  const image::Image first = parts.train->image(0);
  const bool small = first.width <= 40;

  Model model(network(first.channels == 1 ? 1 : 3, static_cast<int>(parts.train->num_classes())));
  model.network().initialize(1);
  model.class_names = parts.train->class_names();
  model.preprocessing.width = model.preprocessing.height = small ? first.width : 64;
  model.preprocessing.channels = first.channels == 1 ? 1 : 3;
  model.preprocessing.rule = image::ResizeRule::stretch;

  Lines lines;
  Trainer trainer(model, {.optimizer = AdamW{.lr = 2e-3, .weight_decay = 0.02},
                          .schedule = OneCycleLr{},
                          .epochs = epochs,
                          .batch_size = std::clamp<std::int64_t>(parts.train->size() / 50, 8, 64),
                          .seed = 1,
                          .transforms = {transforms::horizontal_flip(0.5)},
                          .observers = {&lines}});
  trainer.fit(parts.train, parts.val);
  const Evaluation result = evaluate(model, parts.test);
  save(model, out);
  std::printf("test accuracy %.2f %% of %zu pictures; saved %s\n", 100 * result.metrics.accuracy, result.labels.size(),
              out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s DATA MODEL.fovea [EPOCHS]\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 5);
  } catch (const std::exception& e) {  // fovea::Error says what was expected, what came and what to do
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
