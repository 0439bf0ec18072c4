// Pretrained weights on a folder of one's own pictures: `fovea train DIR --weights FILE` as a program to build on.
#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kUsage = R"(usage: example_transfer_learning DATA --weights FILE [options]
  DATA            folder with one folder of pictures per class (or with train/
                  and val/), a CSV manifest, or a COCO Camera Traps .json
  --weights FILE  pretrained network as PyTorch, Keras or TensorFlow wrote it
  --epochs N      (default 8: half for the new head, half for the whole network)
  --image-size N  side of the network's input (default: the weights' own)
  --limit N       uses so many pictures only, to try things out
  --seed N        (default 1)
  --out FOLDER    for the model and plots (default runs/transfer_learning)
)";

double accuracy(const Model& model, const DatasetPtr& pictures) {
  return 100 * evaluate(model, pictures, {.skip_corrupt = true}).metrics.accuracy;
}

void run(examples::Arguments& arguments) {
  const std::string weights = arguments.text("--weights");
  const int epochs = arguments.whole("--epochs", 8, 2, 1000);
  const int image_size = arguments.whole("--image-size", 0, 16, 1024);
  const int limit = arguments.whole("--limit", 0, 10, 1 << 30);
  const auto seed = static_cast<std::uint64_t>(arguments.whole("--seed", 1, 0, 1 << 30));
  const std::string out = arguments.text("--out", "runs/transfer_learning");
  const std::string path = arguments.positional("DATA");
  arguments.done();
  if (weights.empty()) throw Error(ErrorKind::usage, "--weights", "is missing", "give a file of pretrained weights");

  const Splits parts = examples::three_parts(path, {}, seed, limit);
  const int classes = static_cast<int>(parts.train->num_classes());
  std::printf("%lld pictures to learn from, %lld to choose by, %lld to judge by\n",
              static_cast<long long>(parts.train->size()), static_cast<long long>(parts.val->size()),
              static_cast<long long>(parts.test->size()));

  // The file says what network it holds, how pictures are to be prepared for it, and keeps everything but its last
  // layer, which knows other classes than ours.
  Model model =
      models::load(weights, {.image_size = image_size, .classes = classes, .head = Head::replace, .seed = seed});
  model.class_names = parts.train->class_names();
  std::printf("%s at %d x %d with a new head: %.1f %% on the test pictures, by chance\n", model.architecture.c_str(),
              model.preprocessing.width, model.preprocessing.height, accuracy(model, parts.test));

  examples::EpochLines lines;
  const auto train = [&](const char* what, double rate, int count) {
    std::printf("%s\n", what);
    Trainer trainer(model, {.optimizer = AdamW{.lr = rate, .weight_decay = 0.02},
                            .schedule = OneCycleLr{},
                            .epochs = count,
                            .batch_size = std::clamp<std::int64_t>(parts.train->size() / 20, 4, 32),
                            .seed = seed,
                            .transforms = {transforms::horizontal_flip()},
                            .skip_corrupt = true,
                            .restore_best = true,
                            .observers = {&lines}});
    trainer.fit(parts.train, parts.val);
    return accuracy(model, parts.test);
  };
  // First the head alone: its random weights would send the pretrained ones astray.
  model.freeze_until("classifier");
  const double head = train("the head:", 2e-3, epochs - epochs / 2);
  // Then everything, a tenth as fast. Batch norm stays frozen: few pictures make poor statistics.
  model.unfreeze();
  examples::freeze_batch_norm(model);
  const double whole = train("the whole network:", 2e-4, epochs / 2);

  const Evaluation result = evaluate(model, parts.test, {.skip_corrupt = true});
  std::printf("test: new head %.1f %%, fine-tuned %.1f %%\n      %s\n", head, whole,
              result.metrics.to_string().c_str());
  make_folders(out);
  save(model, out + "/model.fovea");
  write_file(out + "/accuracy.svg", lines.accuracy_svg("the whole network", epochs - epochs / 2));
  write_file(out + "/confusion.svg", confusion_svg(result.metrics.confusion, model.class_names));
  std::printf("%s holds model.fovea, accuracy.svg, confusion.svg\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
