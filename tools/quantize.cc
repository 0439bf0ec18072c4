// fovea quantize: a model whose convolutions multiply 8-bit integers, calibrated on pictures, and what that costs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "augment/open.h"
#include "core/error.h"
#include "core/io/file.h"
#include "infer/compile/compile.h"
#include "infer/quantize/finetune.h"
#include "infer/quantize/quantize.h"
#include "models/model.h"
#include "tools/command.h"
#include "tools/data_source.h"
#include "tools/model_source.h"
#include "tools/picture_batches.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"
#include "train/trainer.h"

namespace fovea::tools {
namespace {

struct QuantizeArguments {
  Common common;
  ModelSource source;
  std::string weights, calibrate, validate, finetune, method = "mse", weight_scale = "mse", out;
  int images = 128;
  int epochs = 2, limit = 0;
  double lr = 1e-5;
  double percentile = 99.99, loss = 1;
  bool equalize = false, no_bias_correction = false, nearest = false;
  std::vector<std::string> keep;
};

/// Both networks on the same pictures.
struct Comparison {
  infer::Agreement agreement;
  bool labelled = false;
  std::int64_t right_f32 = 0, right = 0;
};

Comparison compare(infer::Network& before, infer::Network& network, const Model& model, const Pictures& pictures,
                   ProgressBar& bar) {
  Comparison c;
  c.labelled = pictures.labelled;
  std::vector<float> a, b;
  std::int64_t classes = 0, done = 0;
  each_batch(pictures, model, [&](Tensor&& x, std::span<const std::int64_t> labels) {
    const Tensor want = before(x), have = network(x);
    classes = want.dim(-1);
    for (std::int64_t r = 0; r < x.dim(0) && c.labelled; ++r) {
      const auto best = [&](const Tensor& t) {
        const float* const row = t.data<float>() + r * classes;
        return std::max_element(row, row + classes) - row;
      };
      c.right_f32 += best(want) == labels[static_cast<std::size_t>(r)] ? 1 : 0;
      c.right += best(have) == labels[static_cast<std::size_t>(r)] ? 1 : 0;
    }
    a.insert(a.end(), want.data<float>(), want.data<float>() + want.numel());
    b.insert(b.end(), have.data<float>(), have.data<float>() + have.numel());
    done += x.dim(0);
    bar.update("comparing", done, pictures.count(), -1, "");
  });
  c.agreement = infer::agreement(Tensor::from<float>({done, classes}, a), Tensor::from<float>({done, classes}, b));
  return c;
}

/// Goes on training in integers on labelled pictures.
infer::QuantizedModel finetuned(const QuantizeArguments& o, const Model& model, const infer::QuantizedModel& start) {
  const std::string path = data_path(o.finetune);
  const std::vector<std::string> parts = available_splits(path);
  const bool has_train = std::find(parts.begin(), parts.end(), "train") != parts.end();
  DatasetPtr data = open_dataset(path, has_train ? "train" : "", {.class_names = model.class_names});
  data = spread(data, o.limit);
  const auto module = std::make_shared<infer::QuantizedModule>(start);
  Model trainable(module);
  trainable.preprocessing = model.preprocessing;
  trainable.class_names = model.class_names;
  TrainerOptions training;
  training.optimizer = AdamW{.lr = o.lr, .weight_decay = 0};
  training.epochs = o.epochs;
  training.batch_size = 16;
  training.seed = o.common.seed;
  training.skip_corrupt = true;
  training.schedule = CosineLr{};
  training.cancel = &catch_interrupts();
  Trainer(trainable, training).fit(data);
  return module->quantized();
}

/// Milliseconds of one picture, the least of many runs.
double latency(infer::Plan& plan) {
  const Tensor x = Tensor::zeros(plan.input_shape());
  double least = 1e30;
  for (int i = 0; i < 30; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    plan(x);
    least =
        std::min(least, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  return least;
}

int run_quantize(const QuantizeArguments& o) {
  apply_common(o.common);
  // Now rather than after minutes of work.
  if (!o.out.empty()) const AtomicFile writable(o.out);
  ModelSource source = o.source;
  if (!o.weights.empty()) source.path = o.weights;
  const Model model = open_model(source);
  std::vector<Tensor> pictures;
  each_batch(find_pictures(model, o.calibrate, "train", o.images), model,
             [&](Tensor&& images, std::span<const std::int64_t>) { pictures.push_back(std::move(images)); });
  infer::QuantizeOptions options;
  options.observer = infer::observer_from(o.method);
  options.percentile = o.percentile;
  options.weight_scale = o.weight_scale == "max" ? infer::WeightScale::max : infer::WeightScale::mse;
  options.equalize = o.equalize;
  options.correct_bias = !o.no_bias_correction;
  options.round_by_results = !o.nearest;
  options.most_loss = o.loss / 100;
  options.keep_f32 = o.keep;
  ProgressBar bar(!o.common.quiet && !o.common.json);
  bar.line("calibrating");
  infer::QuantizedModel quantized = infer::quantize(model, pictures, options);
  pictures.clear();
  if (!o.finetune.empty()) {
    bar.line("fine-tuning in integers");
    quantized = finetuned(o, model, quantized);
  }
  const infer::QuantizeReport& report = quantized.report();
  const Pictures validation = find_pictures(model, o.validate.empty() ? o.calibrate : o.validate, "val");
  infer::Network before = infer::compile_network(model), network = quantized.network();
  const Comparison c = compare(before, network, model, validation, bar);
  bar.clear();
  const double ms = latency(network.plan(network.input_shape()));
  const double ms_before = latency(before.plan(before.input_shape()));
  std::uintmax_t file_bytes = 0;
  if (!o.out.empty()) {
    infer::save(quantized, o.out);
    file_bytes = std::filesystem::file_size(o.out);
  }
  std::int64_t integer = 0;
  for (const infer::QuantizedLayer& layer : report.layers) integer += layer.quantized ? 1 : 0;
  if (o.common.json) {
    nlohmann::ordered_json layers = nlohmann::ordered_json::array();
    for (const infer::QuantizedLayer& l : report.layers) {
      layers.push_back({{"name", l.name},
                        {"kind", l.kind},
                        {"int8", l.quantized},
                        {"reason", l.reason},
                        {"macs", l.macs},
                        {"weight_db", l.weight_db},
                        {"alone_db", l.alone_db},
                        {"result_db", l.result_db}});
    }
    nlohmann::ordered_json result{{"layers", layers}};
    const infer::Agreement& a = c.agreement;
    result["agreement"] = {
        {"pictures", a.pictures}, {"top1", a.top1}, {"top5", a.top5}, {"cosine", a.cosine}, {"db", a.db}};
    if (c.labelled) {
      result["accuracy"] = {{"f32", static_cast<double>(c.right_f32) / static_cast<double>(a.pictures)},
                            {"int8", static_cast<double>(c.right) / static_cast<double>(a.pictures)}};
    }
    result["expected_loss"] = {{"int8", report.expected_loss}, {"all_int8", report.all_integer_loss}};
    result["held_out"] = {
        {"pictures", report.held_out.pictures}, {"top1", report.held_out.top1}, {"db", report.held_out.db}};
    result["bytes"] = {{"f32", report.f32_bytes}, {"int8", report.bytes}};
    result["ms"] = {{"f32", ms_before}, {"int8", ms}};
    if (!o.out.empty()) result["file"] = {{"path", o.out}, {"bytes", file_bytes}};
    std::printf("%s\n", result.dump().c_str());
    return 0;
  }
  Table table({"layer", "kind", "type", "MMAC>", "weights dB>", "alone dB>", "result dB>", "why"});
  for (const infer::QuantizedLayer& l : report.layers) {
    table.row({l.name, l.kind, l.quantized ? "int8" : "f32", number(static_cast<double>(l.macs) / 1e6, "%.2f"),
               number(l.weight_db, "%.1f"), number(l.alone_db, "%.1f"), number(l.result_db, "%.1f"), l.reason});
  }
  table.print();
  const infer::Agreement& a = c.agreement;
  std::printf(
      "\n%lld of %zu layers in int8, weights %.2f MB instead of %.2f MB, one picture in %.2f ms instead of %.2f\n",
      static_cast<long long>(integer), report.layers.size(), static_cast<double>(report.bytes) / 1e6,
      static_cast<double>(report.f32_bytes) / 1e6, ms, ms_before);
  std::printf(
      "calibrated with %lld pictures; by %lld others, expected to lose %.2f points of accuracy (all int8: %.2f), %.1f "
      "dB\n",
      static_cast<long long>(report.pictures), static_cast<long long>(report.held_out.pictures),
      100 * report.expected_loss, 100 * report.all_integer_loss, report.held_out.db);
  std::printf(
      "on %lld %spictures of %s: top-1 agreement %s, f32's best in int8's top 5 %s, mean cosine %.4f, %.1f dB\n",
      static_cast<long long>(a.pictures), validation.part.empty() ? "" : (validation.part + " ").c_str(),
      (o.validate.empty() ? o.calibrate : o.validate).c_str(), percent(a.top1).c_str(), percent(a.top5).c_str(),
      a.cosine, a.db);
  if (c.labelled) {
    std::printf("accuracy: f32 %s, int8 %s (%lld and %lld of %lld)\n",
                percent(static_cast<double>(c.right_f32) / static_cast<double>(a.pictures)).c_str(),
                percent(static_cast<double>(c.right) / static_cast<double>(a.pictures)).c_str(),
                static_cast<long long>(c.right_f32), static_cast<long long>(c.right),
                static_cast<long long>(a.pictures));
  }
  if (!o.out.empty()) std::printf("wrote %s, %.2f MB\n", o.out.c_str(), static_cast<double>(file_bytes) / 1e6);
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto o = std::make_shared<QuantizeArguments>();
  CLI::App* command = app.add_subcommand("quantize", "Make a model's convolutions multiply 8-bit integers");
  command->footer(
      "Examples:\n"
      "  fovea quantize runs/birds --calibrate birds --out birds-int8.fovea\n"
      "  fovea quantize efficientnet_lite0 --calibrate photos --images 256 --json\n\n"
      "--calibrate and --validate take what `fovea train` takes, or a folder of pictures without classes. Where the "
      "data "
      "has parts, train calibrates and val compares. Accuracy is told where the data's classes are the model's. "
      "Columns: "
      "weights dB: a layer's weights to what rounding does to them; alone dB: the logits with only this layer in int8; "
      "result dB: the layer's result with everything in int8 (10 dB: a tenth of the power is noise).");
  command->add_option("model", o->source.path, "Model file, run folder, weight file, or name of pretrained weights")
      ->required();
  command->add_option("--weights", o->weights, "Weight file of the network that MODEL names");
  command->add_option("--calibrate", o->calibrate, "Pictures like those to come")->required();
  command->add_option("--validate", o->validate,
                      "Pictures to compare on (default: the val part, or those of --calibrate)");
  command->add_option("--images", o->images, "Pictures to calibrate with")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--method", o->method, "How ranges are told: min-max, percentile, entropy, mse")
      ->check(CLI::IsMember({"min-max", "percentile", "entropy", "mse"}))
      ->capture_default_str();
  command->add_option("--percentile", o->percentile, "For --method percentile")
      ->check(CLI::Range(50.0, 100.0))
      ->capture_default_str();
  command->add_option("--weight-scale", o->weight_scale, "Scale of a channel's weights: max or mse")
      ->check(CLI::IsMember({"max", "mse"}))
      ->capture_default_str();
  command->add_flag("--equalize", o->equalize, "Bring channels to like ranges first");
  command->add_flag("--round-to-nearest", o->nearest, "Round weights to the nearest integer");
  command->add_flag("--no-bias-correction", o->no_bias_correction, "Leave biases as they are");
  command
      ->add_option("--loss", o->loss,
                   "Points of accuracy that int8 may be expected to lose: layers go back to f32 until it is no more; "
                   "100: all in int8")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--keep", o->keep, "Layers that stay f32");
  command->add_option("--finetune", o->finetune,
                      "Labelled pictures of the model's classes to go on training with, in integers");
  command->add_option("--epochs", o->epochs, "Of --finetune")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--limit", o->limit, "Of --finetune: so many pictures at most")->check(CLI::Range(1, 100000000));
  command->add_option("--lr", o->lr, "Of --finetune: learning rate of AdamW")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--out,-o", o->out, "File to write");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_quantize(*o); }; });
}

}  // namespace fovea::tools
