// fovea bench: times inference or whole training steps of a network on in-memory data.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "image/views.h"
#include "infer/compile/compile.h"
#include "infer/quantize/quantize.h"
#include "kernels/device_graph.h"
#include "kernels/devices.h"
#include "layers/ops/loss.h"
#include "models/model.h"
#include "tools/answering.h"
#include "tools/cold_start.h"
#include "tools/command.h"
#include "tools/compute_type.h"
#include "tools/report.h"
#include "tools/table.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"

namespace fovea::tools {
namespace {

struct BenchArguments {
  Common common;
  std::string model;
  bool train = false, frozen_norms = false, checkpoint_blocks = false, cuda_graph = false;
  bool uncompiled = false, profile = false;
  std::string weights;
  std::int64_t batch = 1;
  int size = 0;
  double width = 0;
  int runs = 50;
  int warmup = 3;
  std::string dtype = "f32", device = "cpu";
  bool tf32 = false, autotune = false;
  bool first_answer = false;  ///< what measure_cold_start() asks of a process
};

/// Where a network that stands in no file is put for fresh processes to read.
struct TemporaryNetwork {
  TemporaryNetwork() {
    std::string name = (std::filesystem::temp_directory_path() / "fovea-bench-XXXXXX").string();
    if (mkdtemp(name.data())) folder = name;
  }
  ~TemporaryNetwork() {
    std::error_code ignored;
    if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
  }
  TemporaryNetwork(const TemporaryNetwork&) = delete;
  TemporaryNetwork& operator=(const TemporaryNetwork&) = delete;
  std::string path() const { return folder + "/network.fovea"; }
  std::string folder;
};

/// The value below which a share q of the sorted times lies (nearest rank).
double quantile(const std::vector<double>& sorted, double q) {
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::min(sorted.size() - 1, rank > 0 ? rank - 1 : 0)];
}

/// Where the time of a compiled network goes: each step, and sums by kernel.
void print_profile(infer::Plan& plan, int runs) {
  const std::vector<double> times = plan.profile(runs);
  const std::vector<infer::Plan::StepInfo> steps = plan.steps();
  struct Sum {
    double ms = 0, macs = 0;
    int count = 0;
  };
  std::map<std::pair<std::string, std::string>, Sum> sums;
  const auto rate = [](double macs, double ms) { return ms > 0 ? 2e-6 * macs / ms : 0.0; };
  Table table({"step", "kernel", "type", "result", "µs>", "MMAC>", "GFLOP/s>"});
  const auto row = [&](const std::string& name, const std::string& kernel, const std::string& type,
                       const std::string& result, double ms, double macs) {
    table.row({name, kernel, type, result, number(ms * 1e3, "%.1f"), number(macs / 1e6, "%.2f"),
               number(rate(macs, ms), "%.1f")});
  };
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double macs = static_cast<double>(steps[i].macs);
    Sum& sum = sums[{steps[i].kernel, steps[i].type}];
    sum.ms += times[i];
    sum.macs += macs;
    ++sum.count;
    row(steps[i].name, steps[i].kernel, steps[i].type, steps[i].output.to_string(), times[i], macs);
  }
  for (const auto& [kernel, sum] : sums)
    row("in all", kernel.first, kernel.second, str(sum.count, " steps"), sum.ms, sum.macs);
  table.print();
}

/// The same for programs.
nlohmann::ordered_json profile_of(infer::Plan& plan, int runs) {
  const std::vector<double> times = plan.profile(runs);
  const std::vector<infer::Plan::StepInfo> steps = plan.steps();
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    all.push_back({{"name", steps[i].name},
                   {"op", steps[i].op},
                   {"kernel", steps[i].kernel},
                   {"type", steps[i].type},
                   {"ms", times[i]},
                   {"macs", steps[i].macs}});
  }
  return all;
}

int run_bench(BenchArguments o) {
  apply_common(o.common);
  const DType dtype = compute_type(o.dtype);
  const Device device = device_from(o.device);
  if (device != kCpu) {
    if ((dtype != DType::f32 && !is_half(dtype)) || o.profile) {
      throw Error(ErrorKind::usage, o.profile ? "--profile" : "--dtype int8", "is for the CPU",
                  "on a GPU networks compute in f32 (or --tf32), bf16 or f16");
    }
    if (is_half(dtype) && o.uncompiled)
      throw Error(ErrorKind::usage, "--uncompiled", "runs in f32", "leave it or --dtype out");
    if (const std::string why = why_no_half(device, dtype); is_half(dtype) && !why.empty())
      throw Error(ErrorKind::device, "--dtype", why);
  } else if (dtype == DType::f16) {
    throw Error(ErrorKind::usage, "--dtype", "f16 needs a GPU", "give --device cuda, or another type");
  }
  if (o.cuda_graph && (!o.train || device == kCpu || dtype == DType::f16 || o.checkpoint_blocks))
    throw Error(ErrorKind::usage, "--cuda-graph", "is for --train on a GPU in f32 or bf16, without --checkpoint-blocks",
                "leave it out; inference on a GPU is recorded anyhow");
  const AllowTf32 tf32(o.tf32);
  const Autotune tuning(o.autotune);
  if (device == kCpu && o.dtype != "f32" && (o.uncompiled || (o.train && dtype != DType::bf16))) {
    throw Error(ErrorKind::usage, "--dtype", "'" + o.dtype + "' is for compiled inference",
                o.train ? "training steps run in f32 or bf16" : "leave out --uncompiled, or use f32");
  }
  const double resident_before = resident_mb();
  ModelSource source;
  source.path = o.weights.empty() ? o.model : o.weights;
  source.names_are_networks = o.weights.empty();
  source.image_size = o.size;
  source.width = o.width;
  // Integers are where the file has them.
  const DType rest = dtype == DType::i8 ? DType::f32 : dtype;
  if (o.first_answer) return answer_once(source.path, o.batch, o.size, rest);
  Model model;
  infer::Network network;
  infer::DeviceNetwork there;
  if (is_compiled(source)) {
    if (o.train || o.uncompiled || o.width > 0)
      throw Error(ErrorKind::usage, source.path, "is a compiled network, which answers as it is",
                  "leave --train, --uncompiled and --width out");
    if (device != kCpu) {
      there = infer::load_on(device, source.path, dtype);
    } else {
      network = infer::load(source.path, rest);
    }
    model.preprocessing = device != kCpu ? there.preprocessing() : network.preprocessing();
  } else {
    model = open_model(source, o.common.seed);
    model.to(device);
  }
  const image::Preprocessing& p = model.preprocessing;
  const Shape input{o.batch, o.size > 0 ? o.size : p.height, o.size > 0 ? o.size : p.width, p.channels};
  Tensor x(input);
  Rng rng(o.common.seed, "bench");
  for (float *v = x.mutable_data<float>(), *end = v + x.numel(); v != end; ++v) *v = static_cast<float>(rng.normal());
  Tensor labels({o.batch}, DType::i64);

  std::unique_ptr<Optimizer> optimizer;
  if (o.frozen_norms) model.freeze("*.bn.*");
  if (o.train) {
    // Adam for the small CNN, SGD with momentum otherwise: what their trainings use.
    const OptimizerConfig config =
        o.model == "small_cnn" ? OptimizerConfig(Adam{.lr = 1e-3}) : OptimizerConfig(SGD{.lr = 0.01, .momentum = 0.9});
    optimizer = std::make_unique<Optimizer>(make_optimizer(config, model.network()));
    const auto classes = static_cast<std::uint64_t>(
        model.capture(1).infer(std::vector<TensorSpec>{{input, DType::f32}}).back().shape.dim(-1));
    for (std::int64_t i = 0; i < o.batch; ++i)
      labels.mutable_data<std::int64_t>()[i] = static_cast<std::int64_t>(rng.below(classes));
  }

  x = x.to(device);
  labels = labels.to(device);

  infer::Plan plan;
  std::optional<ColdStart> cold;
  if (!o.train && !o.uncompiled && device != kCpu) {
    if (!there.defined()) there = infer::compile_for_device(model, dtype);
  } else if (!o.train && !o.uncompiled) {
    std::string path = source.path;
    const TemporaryNetwork temporary;
    if (!network.defined()) {
      path = temporary.path();
      if (dtype == DType::i8) {
        const infer::QuantizedModel quantized = infer::quantize_on_noise(model);
        infer::save(quantized, path);
        network = quantized.network();
      } else {
        infer::save(model, path);
        network = infer::compile_network(model, dtype);
      }
    }
    cold = measure_cold_start(path, o.batch, o.size, rest, num_threads());
    plan = network.plan(input);
  }
  if (o.profile && !plan.defined()) throw Error(ErrorKind::usage, "--profile", "times the steps of compiled inference");
  // A compiled file may hold integers that nobody asked for by name.
  const std::string type = network.defined() && network.dtype() == DType::i8 ? "int8" : o.dtype;
  // What products are computed in, where that is another type than was asked for.
  const bool f32_instead = dtype == DType::bf16 && network.defined() && network.dtype() == DType::f32;
  const int views = p.mirrored && !o.train ? 2 : 1;
  std::vector<double> times;
  double last_loss = 0;
  std::optional<LossScale> loss_scale;
  if (dtype == DType::f16) loss_scale.emplace();
  Tensor loss;
  // On the device beforehand: what is recorded copies nothing from the host.
  const Tensor ones = o.cuda_graph ? Tensor::ones(Shape{}, DType::f32, device) : Tensor();
  const auto pass = [&](std::uint64_t step) {
    const TrainingMode mode(
        {.seed = o.common.seed, .step = step, .precision = dtype, .checkpoint_blocks = o.checkpoint_blocks});
    optimizer->zero_grad();
    Tape tape;
    loss = cross_entropy(model(x), labels);
    tape.backward(loss, loss_scale ? loss_scale->seed(loss) : ones);
  };
  DeviceGraph recorded;
  if (o.cuda_graph) recorded = DeviceGraph::record(device, [&] { pass(0); });
  for (int i = 0; i < o.warmup + o.runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (o.train) {
      const auto step = static_cast<std::uint64_t>(i);
      recorded.defined() ? recorded.launch(step << 32) : pass(step);
      if (!loss_scale || loss_scale->unscale(optimizer->parameters())) optimizer->step();
      last_loss = loss.item();
    } else if (plan.defined()) {
      image::forward_views(p, x, [&](const Tensor& view) { return plan(view); });
    } else if (there.defined()) {
      there(x);
    } else {
      const NoGrad no_grad;
      image::forward_views(p, x, [&](const Tensor& view) { return model(view); });
    }
    synchronize(device);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= o.warmup) times.push_back(elapsed.count());
  }
  if (o.profile && !o.common.json) print_profile(plan, o.runs);
  std::sort(times.begin(), times.end());
  const double median = quantile(times, 0.5);
  nlohmann::ordered_json result{
      {"model", o.model},
      {"mode", o.train ? "train" : "infer"},
      {"batch", o.batch},
      {"views", views},
      {"size", input[1]},
      {"device", device.to_string()},
      {"threads", num_threads()},
      {"dtype", o.tf32 ? "tf32" : type},
      {"computes", f32_instead ? "f32"
                   : o.tf32    ? "tf32"
                               : type},
      {"runs", o.runs},
      {"min_ms", times.front()},
      {"median_ms", median},
      {"p90_ms", quantile(times, 0.9)},
      {"p99_ms", quantile(times, 0.99)},
      {"images_per_s", static_cast<double>(o.batch) / median * 1e3},
      {"peak_memory_mb", peak_resident_mb() - resident_before},
      {"compiled", plan.defined() || there.defined()},
      {"planned_mb", static_cast<double>(plan.defined()    ? plan.activation_bytes()
                                         : there.defined() ? there.planned_bytes(input)
                                                           : 0) /
                         (1 << 20)},
      {"weights_mb", plan.defined() ? static_cast<double>(plan.weight_bytes()) / (1 << 20) : 0.0},
      {"cold_start_ms", cold ? cold->ms : 0.0},
      {"resident_mb", cold ? cold->resident_mb : 0.0},
      {"resident_peak_mb", cold ? cold->peak_mb : 0.0},
      {"tensor_peak_mb", static_cast<double>(memory_stats(device).peak) / (1 << 20)}};
  if (o.common.json) {
    if (o.profile) result["steps"] = profile_of(plan, o.runs);
    std::printf("%s\n", result.dump().c_str());
  } else {
    const std::string where =
        device == kCpu ? str(num_threads(), " threads") : devices()[static_cast<std::size_t>(device.index) + 1].name;
    std::printf("%s %s, batch %lld at %lld×%lld%s, %s, %s\n", o.model.c_str(), o.train ? "training step" : "inference",
                static_cast<long long>(o.batch), static_cast<long long>(input[1]), static_cast<long long>(input[2]),
                views == 2 ? " and mirrored" : "", where.c_str(), o.tf32 ? "tf32" : type.c_str());
    std::printf("  median %.3f ms   min %.3f   p90 %.3f   p99 %.3f\n", median, times.front(), quantile(times, 0.9),
                quantile(times, 0.99));
    std::printf("  %.1f images/s   memory %.1f MB above the start\n", static_cast<double>(o.batch) / median * 1e3,
                peak_resident_mb() - resident_before);
    if (cold) {
      std::printf(
          "  planned %.1f MB, weights %.1f MB   a fresh process: first answer after %.1f ms, %.1f MB resident\n",
          static_cast<double>(plan.activation_bytes()) / (1 << 20),
          static_cast<double>(plan.weight_bytes()) / (1 << 20), cold->ms, cold->resident_mb);
    }
    if (f32_instead && !o.common.quiet)
      std::printf("  computed in f32, which is faster than bf16 on this CPU (or bf16 products are missing)\n");
    if (o.train && !o.common.quiet) std::printf("  loss after %d steps: %.4f\n", o.warmup + o.runs, last_loss);
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto o = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "Time inference or training steps of a network on in-memory data");
  command->footer(
      "Examples:\n"
      "  fovea bench small_cnn --batch 128 --train           one whole training step, median of 50\n"
      "  fovea bench runs/x/model.fovea --batch 1 --json     latency of a trained model, for scripts\n\n"
      "Memory is the highest resident size minus the resident size before the model was built. Planned is what a plan "
      "holds for activations beside the weights. The first answer is timed in fresh processes that read the compiled "
      "network from a file, the least of five: from before the process began.");
  command->add_option("model", o->model, "Name of a network, model file, run folder, compiled network, or weight file")
      ->required();
  command->add_flag("--train", o->train, "Time training steps (forward, loss, backward, optimizer)");
  command->add_flag("--frozen-norms", o->frozen_norms, "With --train: batch norms frozen, as fine-tuning does");
  command->add_flag("--checkpoint-blocks", o->checkpoint_blocks, "With --train: blocks run again in backward");
  command->add_flag("--cuda-graph", o->cuda_graph,
                    "With --train on a GPU: forward and backward pass are recorded and started with one call");
  command->add_flag("--uncompiled", o->uncompiled, "Run the model op by op instead of compiling it first");
  command->add_flag("--profile", o->profile, "Print where the time goes, step by step");
  command->add_option("--weights", o->weights, "Model or weight file instead of seeded random weights");
  command->add_option("--batch", o->batch, "Pictures per run")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  command->add_option("--size", o->size, "Height and width in pixels (default: the network's own)")
      ->check(CLI::Range(1, 1 << 14));
  command->add_option("--width", o->width, "Channel multiplier (default: the network's own)")
      ->check(CLI::Range(0.01, 32.0));
  command->add_option("--runs", o->runs, "Timed runs")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--warmup", o->warmup, "Untimed runs before them")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command
      ->add_option(
          "--dtype", o->dtype,
          "f32, bf16, or int8, which is calibrated on seeded noise here: for the time it takes, not for its answers; "
          "with --train on a GPU also f16")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "int8"}))
      ->capture_default_str();
  add_device_option(*command, o->device);
  command->add_flag("--tf32", o->tf32, "On a GPU: products of f32 with 10 bits of fraction, on its tensor cores");
  command->add_flag("--autotune", o->autotune,
                    "On a GPU: convolutions measure a few of cuDNN's plans and keep the fastest");
  command->add_flag("--first-answer", o->first_answer, "Used by bench itself")->group("");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_bench(*o); }; });
}

}  // namespace fovea::tools
