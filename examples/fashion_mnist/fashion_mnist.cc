// The demo: a small network learns to tell 70 000 pictures of clothes apart, in minutes and from nothing.
#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kUsage = R"(usage: example_fashion_mnist [DATA] [options]
  DATA          folder of the four IDX files; the default is where the Debian
                package dataset-fashion-mnist has them
  --epochs N    passes over the 60 000 training pictures (default 12: about
                93 %)
  --limit N     learns from so many pictures only, to try things out
  --seed N      (default 1)
  --out FOLDER  for the model, curves and confusion matrix
                (default runs/fashion_mnist)
)";

void run(examples::Arguments& arguments) {
  const int epochs = arguments.whole("--epochs", 12, 1, 1000);
  const int limit = arguments.whole("--limit", 0, 1, 60'000);
  const auto seed = static_cast<std::uint64_t>(arguments.whole("--seed", 1, 0, 1 << 30));
  const std::string out = arguments.text("--out", "runs/fashion_mnist");
  const std::string path = arguments.positional("DATA", "/usr/share/datasets/fashion-mnist");
  arguments.done();
  if (available_splits(path) != std::vector<std::string>{"train", "test"})
    throw Error(ErrorKind::file, path, "holds no IDX files of a train and a test part",
                "Debian has them: apt-get install dataset-fashion-mnist");

  // The test pictures are for the last line alone; what training needs to know about itself comes from 3 % kept aside.
  const Splits parts = split(examples::first_of(open_dataset(path, "train"), limit), {.val = 0.03, .seed = seed});
  const DatasetPtr test = open_dataset(path, "test", {.class_names = parts.train->class_names()});

  Model model = models::create("fashion_cnn", {.classes = static_cast<int>(parts.train->num_classes()), .seed = seed});
  model.class_names = parts.train->class_names();
  model.preprocessing.mean = {0.286f, 0.286f, 0.286f};  // of the training pictures
  model.preprocessing.std = {0.353f, 0.353f, 0.353f};
  examples::EpochLines lines;
  RunLog log(out, {.class_names = parts.train->class_names()});
  Trainer trainer(model, {.optimizer = SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4},
                          .schedule = OneCycleLr{.pct_start = 0.25},
                          .epochs = epochs,
                          .batch_size = 128,
                          .loss = {.label_smoothing = 0.05},
                          .seed = seed,
                          .transforms = {transforms::horizontal_flip()},
                          .observers = {&lines, &log}});
  trainer.fit(parts.train, parts.val);

  const Evaluation result = evaluate(model, test);
  save(model, out + "/model.fovea");
  write_file(out + "/confusion.svg", confusion_svg(result.metrics.confusion, test->class_names()));
  examples::print_metrics("test", result.metrics);
  std::printf("%s holds model.fovea, accuracy.svg, loss.svg, confusion.svg\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
