// Throughput of compiled inference: one plan on one thread and on all cores, and application threads that answer at
// once, each with a copy of one plan. What the cores give is the one-thread rate times their number.
//
//   clones [NETWORK] [CALLERS] [f32|bf16|int8]          default: mobilenet_v2 8 f32
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "infer/compile/compile.h"
#include "models/model.h"

using namespace fovea;

namespace {

constexpr std::chrono::milliseconds kWindow{700};
constexpr int kRounds = 5;

/// Images per second of so many callers, each with a copy of the plan, answering until the window closes.
double rate(const infer::Plan& plan, int callers) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false}, stop{false};
  std::atomic<std::int64_t> answers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < callers; ++i) {
    threads.emplace_back([&] {
      infer::Plan mine = plan;
      const Tensor x = Tensor::zeros(mine.input_shape());
      Tensor y(mine.output_shape());
      float* const to = y.mutable_data<float>();
      for (int k = 0; k < 3; ++k) mine.run(x.data<float>(), to);
      ++ready;
      while (!go) std::this_thread::yield();
      std::int64_t count = 0;
      for (; !stop; ++count) mine.run(x.data<float>(), to);
      answers += count;
    });
  }
  while (ready < callers) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  go = true;
  std::this_thread::sleep_for(kWindow);
  stop = true;
  for (std::thread& t : threads) t.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(answers) / seconds.count();
}

int run(const char* name, int callers, std::string_view type) {
  const DType dtype = type == "bf16" ? DType::bf16 : type == "int8" ? DType::i8 : DType::f32;
  const int cores = num_threads();
  const Model model = models::create(name, {});
  set_num_threads(1);
  const infer::Plan one = infer::compile(model, {.dtype = dtype});
  set_num_threads(cores);
  const infer::Plan all = infer::compile(model, {.dtype = dtype});
  double alone = 0, team = 0, apart = 0, shared = 0;
  for (int round = 0; round < kRounds; ++round) {  // in turns: the machine changes its mind
    set_num_threads(1);
    alone = std::max(alone, rate(one, 1));
    apart = std::max(apart, rate(one, callers));
    set_num_threads(cores);
    team = std::max(team, rate(all, 1));
    shared = std::max(shared, rate(all, callers));
  }
  std::printf("%s, %.*s, best of %d: images/s, and share of what %d cores give\n", name, static_cast<int>(type.size()),
              type.data(), kRounds, cores);
  const auto line = [&](const char* what, double images) {
    std::printf("  %-48s %8.1f  %5.1f %%\n", what, images, 100 * images / (alone * cores));
  };
  line("one caller on one thread", alone);
  line("one caller on all cores", team);
  line(str(callers, " callers, a thread each").c_str(), apart);
  line(str(callers, " callers, all on all cores").c_str(), shared);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return run(argc > 1 ? argv[1] : "mobilenet_v2", argc > 2 ? std::max(1, std::atoi(argv[2])) : 8,
             argc > 3 ? argv[3] : "f32");
} catch (const std::exception& e) {
  std::fprintf(stderr, "clones: %s\n", e.what());
  return 1;
}
