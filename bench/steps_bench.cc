// Whole steps of the zoo's networks on data in memory: inference of a batch, and forward, loss, backward and optimizer.
#include <memory>

#include "bench/options.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "layers/ops/loss.h"
#include "models/model.h"
#include "train/optimizer.h"

namespace fovea::bench {
namespace {

struct Bench {
  Model model;
  Tensor images, labels;

  Bench(const std::string& name, std::int64_t batch) : model(models::create(name, {.seed = 1})) {
    const image::Preprocessing& p = model.preprocessing;
    images = Tensor({batch, p.height, p.width, p.channels});
    labels = Tensor({batch}, DType::i64);
    Rng rng(1, "bench");
    float* const pixels = images.mutable_data<float>();
    for (std::int64_t i = 0; i < images.numel(); ++i) pixels[i] = static_cast<float>(rng.normal());
    const std::int64_t classes =
        model.capture(1).infer(std::vector<TensorSpec>{{images.slice(0, 1).shape(), DType::f32}}).back().shape.dim(-1);
    for (std::int64_t i = 0; i < batch; ++i) labels.mutable_data<std::int64_t>()[i] = i % classes;
  }
};

void finish(benchmark::State& state, std::int64_t batch) {
  state.counters["images/s"] =
      benchmark::Counter(static_cast<double>(batch), benchmark::Counter::kIsIterationInvariantRate);
}

void infer(benchmark::State& state, const std::string& name, std::int64_t batch) {
  const Bench bench(name, batch);
  const NoGrad no_grad;
  bench.model(bench.images);
  for (auto _ : state) benchmark::DoNotOptimize(bench.model(bench.images).data<float>());
  finish(state, batch);
}

void train(benchmark::State& state, const std::string& name, std::int64_t batch) {
  Bench bench(name, batch);
  Optimizer optimizer = make_optimizer(Adam{.lr = 1e-3}, bench.model.network());
  std::uint64_t step = 0;
  const auto once = [&] {
    const TrainingMode mode({.seed = 1, .step = step++});
    Tape tape;
    const Tensor loss = cross_entropy(bench.model(bench.images), bench.labels);
    tape.backward(loss);
    optimizer.step();
    optimizer.zero_grad();
    benchmark::DoNotOptimize(loss.item());
  };
  once();
  for (auto _ : state) once();
  finish(state, batch);
}

void add(const Options& options) {
  for (const std::string& name : models::names()) {
    const std::string batch = str("/batch:", options.batch);
    benchmark::RegisterBenchmark(("infer/" + name + "/batch:1").c_str(), infer, name, 1)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("infer/" + name + batch).c_str(), infer, name, options.batch)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("train/" + name + batch).c_str(), train, name, options.batch)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace fovea::bench

int main(int argc, char** argv) { return fovea::bench::run_suite(argc, argv, fovea::bench::add); }
