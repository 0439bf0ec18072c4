// Pretrained weights on a folder of one's own pictures: `fovea train DIR --weights FILE` as a program to build on.
#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kUsage = R"(usage: example_transfer_learning DATA --weights FILE [options]
  DATA            folder with one folder of pictures per class (or with train/
                  and val/), a CSV manifest, or a COCO Camera Traps .json
  --weights FILE  pretrained network as PyTorch, Keras or TensorFlow wrote it
  --epochs N      of fine-tuning (default: about 9000 pictures in all)
  --unfreeze S    the stage from which on the network changes (default: all;
                  `fovea summary` names them; none: the head alone)
  --image-size N  side of the network's input (default: the weights' own)
  --limit N       uses so many pictures only, to try things out
  --seed N        (default 1)
  --out FOLDER    for the model and plots (default runs/transfer_learning)
)";

double accuracy(const Model& model, const DatasetPtr& pictures) {
  return evaluate(model, pictures, {.skip_corrupt = true}).metrics.accuracy;
}

void run(examples::Arguments& arguments) {
  const std::string weights = arguments.text("--weights");
  const int epochs = arguments.whole("--epochs", 0, 1, 1000);
  const std::string unfreeze = arguments.text("--unfreeze", "all");
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
  const auto start = [&] {
    Model model =
        models::load(weights, {.image_size = image_size, .classes = classes, .head = Head::replace, .seed = seed});
    model.class_names = parts.train->class_names();
    return model;
  };
  Model model = start();
  std::printf("%s at %d x %d\nnew head, not yet trained: %.1f %% of the test pictures\n", model.architecture.c_str(),
              model.preprocessing.width, model.preprocessing.height, 100 * accuracy(model, parts.test));

  // First the head alone, as a logistic regression on what the frozen network makes of each picture: seconds, and the
  // best that the pretrained features give as they are.
  const Features features = compute_features(model, parts.train, {.skip_corrupt = true});
  const LinearProbe probe = fit_linear_probe(features, classes, {.seed = seed});
  set_classifier(model, probe);
  const double before = accuracy(model, parts.val);
  std::printf("linear probe: %.1f %%; validation %.1f %%\n", 100 * accuracy(model, parts.test), 100 * before);

  // Then the whole network, slowly, and the slower the nearer to the picture: the first layers hold what every picture
  // needs. Batch norms stay as they are, since few pictures make poor statistics.
  TrainerOptions options;
  options.optimizer = AdamW{.lr = 4e-4, .weight_decay = 0.02};
  options.optimizer_options.lr_scales = begin_finetuning(model, {.unfreeze = unfreeze});
  options.schedule = CosineLr{};
  options.epochs = epochs > 0 ? epochs : examples::epochs_for(*parts.train);
  options.warmup.epochs = 0.1 * options.epochs;
  options.batch_size = std::clamp<std::int64_t>(parts.train->size() / 4, 1, 32);
  options.loss.label_smoothing = 0.1;
  options.ema = EmaOptions{.decay = 0.99};
  options.seed = seed;
  options.transforms = examples::gentle_changes();
  options.skip_corrupt = true;
  options.restore_best = true;
  examples::EpochLines lines;
  options.observers = {&lines};
  Trainer(model, options).fit(parts.train, parts.val);
  std::printf("fine-tuned: %.1f %%\n", 100 * accuracy(model, parts.test));
  if (accuracy(model, parts.val) < before) {
    std::printf("that made validation worse: the linear probe is kept\n");
    model = start();
    set_classifier(model, probe);
  }

  const Evaluation result = evaluate(model, parts.test, {.skip_corrupt = true});
  examples::print_metrics("test", result.metrics);
  make_folders(out);
  save(model, out + "/model.fovea");
  write_file(out + "/accuracy.svg", lines.accuracy_svg(before));
  write_file(out + "/confusion.svg", confusion_svg(result.metrics.confusion, model.class_names));
  std::printf("%s holds model.fovea, accuracy.svg, confusion.svg\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
