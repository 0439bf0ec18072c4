// What the machine can do at this moment, to print beside every benchmark: how long a cache line takes from one core to
// another (virtual cores are sometimes near and sometimes far, which changes two-thread latencies by a fifth), the peak
// of multiply-adds per instruction set, and the bandwidth of reading memory. `--ping` measures the first alone, in some
// milliseconds; `--json` is for programs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine_probe.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fovea::probe {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// Rounds of 12 independent multiply-adds, enough to hide their latency of 4 cycles on 2 units, in 12 registers of the
/// 16 that AVX2 has. They start differently, or the compiler would compute one of them. Returns what keeps the work
/// from being dropped.
float multiply_add(int rounds, float seed) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, seed * 0.5f), addend = hn::Set(d, seed);
  const auto start = [&](int i) HWY_ATTR { return hn::Set(d, seed + static_cast<float>(i)); };
  auto a0 = start(0), a1 = start(1), a2 = start(2), a3 = start(3), a4 = start(4), a5 = start(5);
  auto b0 = start(6), b1 = start(7), b2 = start(8), b3 = start(9), b4 = start(10), b5 = start(11);
  for (int i = 0; i < rounds; ++i) {
    a0 = hn::MulAdd(a0, factor, addend), b0 = hn::MulAdd(b0, factor, addend);
    a1 = hn::MulAdd(a1, factor, addend), b1 = hn::MulAdd(b1, factor, addend);
    a2 = hn::MulAdd(a2, factor, addend), b2 = hn::MulAdd(b2, factor, addend);
    a3 = hn::MulAdd(a3, factor, addend), b3 = hn::MulAdd(b3, factor, addend);
    a4 = hn::MulAdd(a4, factor, addend), b4 = hn::MulAdd(b4, factor, addend);
    a5 = hn::MulAdd(a5, factor, addend), b5 = hn::MulAdd(b5, factor, addend);
  }
  const auto a = hn::Add(hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)), hn::Add(a4, a5));
  const auto b = hn::Add(hn::Add(hn::Add(b0, b1), hn::Add(b2, b3)), hn::Add(b4, b5));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
}

int lanes() { return static_cast<int>(hn::Lanes(hn::ScalableTag<float>())); }

float read_all(const float* data, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t step = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (std::size_t i = 0; i + 4 * step <= count; i += 4 * step) {
    a = hn::Add(a, hn::LoadU(d, data + i));
    b = hn::Add(b, hn::LoadU(d, data + i + step));
    c = hn::Add(c, hn::LoadU(d, data + i + 2 * step));
    e = hn::Add(e, hn::LoadU(d, data + i + 3 * step));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::probe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fovea::probe {
namespace {

HWY_EXPORT(multiply_add);
HWY_EXPORT(lanes);
HWY_EXPORT(read_all);

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 100000;  // of 12 multiply-adds: about 0.2 ms, short enough to fall between interruptions
constexpr auto kWindow = std::chrono::milliseconds(40);

std::atomic<float> sink{0};

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> found;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) found.push_back(i);
  }
  return found;
}

void pin(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}

/// Nanoseconds from a core to another and back, the best of many short series.
double ping_ns(int first, int second) {
  constexpr int kTrips = 500, kSeries = 60;
  alignas(128) std::atomic<int> ball{0};
  double best = 1e9;
  std::thread other([&] {
    pin(second);
    for (int i = 1; i < 2 * kTrips * kSeries; i += 2) {
      while (ball.load(std::memory_order_acquire) != i) {
      }
      ball.store(i + 1, std::memory_order_release);
    }
  });
  std::thread one([&] {
    pin(first);
    int next = 0;
    for (int series = 0; series < kSeries; ++series) {
      const auto start = Clock::now();
      for (int trip = 0; trip < kTrips; ++trip, next += 2) {
        ball.store(next + 1, std::memory_order_release);
        while (ball.load(std::memory_order_acquire) != next + 2) {
        }
      }
      best = std::min(best, seconds(Clock::now() - start) * 1e9 / kTrips);
    }
  });
  one.join();
  other.join();
  return best;
}

/// The sum over threads, one on each of the first `threads` processors at the same time, of `amount` over the shortest
/// time of one call of `work`.
double best_rate(const std::vector<int>& processors, int threads, double amount, const std::function<void(int)>& work) {
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::vector<std::thread> team;
  for (int t = 0; t < threads; ++t) {
    team.emplace_back([&, t] {
      pin(processors[static_cast<std::size_t>(t)]);
      double shortest = 1e9;
      for (const auto begin = Clock::now(); Clock::now() - begin < kWindow;) {
        const auto start = Clock::now();
        work(t);
        shortest = std::min(shortest, seconds(Clock::now() - start));
      }
      rates[static_cast<std::size_t>(t)] = amount / shortest;
    });
  }
  for (std::thread& thread : team) thread.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

void use(float value) { sink.store(value, std::memory_order_relaxed); }

#if defined(__x86_64__)
// Highway 1.0 has neither instruction. Each call is kRounds rounds of 12, as multiply_add().

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16() {
  const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f00), y = (__m512bh)_mm512_set1_epi16(0x3f01);
  __m512 sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sum) s = _mm512_dpbf16_ps(s, x, y);
  }
  for (int i = 1; i < 12; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  use(_mm512_reduce_add_ps(sum[0]));
}

__attribute__((target("avx512f,avx512vnni"))) void dot_int8() {
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  __m512i sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = _mm512_set1_epi32(i);
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& s : sum) s = _mm512_dpbusd_epi32(s, x, y);
  }
  for (int i = 1; i < 12; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  use(static_cast<float>(_mm512_reduce_add_epi32(sum[0])));
}
#endif

/// GFLOP/s with 1 thread and with all, of work that is kRounds × 12 × `operations`.
nlohmann::ordered_json peak(const std::vector<int>& processors, double operations,
                            const std::function<void(int)>& work) {
  const double amount = 12.0 * kRounds * operations * 1e-9;
  const int all = static_cast<int>(processors.size());
  nlohmann::ordered_json out;
  for (const int threads : {1, all}) out[std::to_string(threads)] = best_rate(processors, threads, amount, work);
  return out;
}

nlohmann::ordered_json peaks(const std::vector<int>& processors) {
  nlohmann::ordered_json out;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const double operations = 2.0 * HWY_DYNAMIC_DISPATCH(lanes)();
    out[std::string("f32 ") + hwy::TargetName(target)] =
        peak(processors, operations, [](int) { use(HWY_DYNAMIC_DISPATCH(multiply_add)(kRounds, 0.5f)); });
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) out["bf16 vdpbf16ps"] = peak(processors, 2 * 32, [](int) { dot_bf16(); });
  if (__builtin_cpu_supports("avx512vnni")) out["int8 vpdpbusd"] = peak(processors, 2 * 64, [](int) { dot_int8(); });
#endif
  return out;
}

/// GB/s of reading 128 MB for each thread, more than a cache holds.
nlohmann::ordered_json bandwidth(const std::vector<int>& processors) {
  constexpr std::size_t kFloats = 32 << 20;
  const int all = static_cast<int>(processors.size());
  std::vector<std::vector<float>> data(static_cast<std::size_t>(all), std::vector<float>(kFloats, 1));
  nlohmann::ordered_json out;
  for (const int threads : {1, all}) {
    out[std::to_string(threads)] = best_rate(processors, threads, kFloats * sizeof(float) * 1e-9, [&](int t) {
      use(HWY_DYNAMIC_DISPATCH(read_all)(data[static_cast<std::size_t>(t)].data(), kFloats));
    });
  }
  return out;
}

int run(int argc, char** argv) {
  bool json = false, ping_only = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    json |= argument == "--json";
    ping_only |= argument == "--ping";
    if (argument != "--json" && argument != "--ping") {
      std::fprintf(stderr, "usage: machine_probe [--ping] [--json]\n");
      return 2;
    }
  }
  const std::vector<int> processors = allowed_processors();
  nlohmann::ordered_json result{{"processors", processors.size()}};
  if (processors.size() > 1) result["ping_ns"] = ping_ns(processors[0], processors[1]);
  if (!ping_only) {
    result["gflops"] = peaks(processors);
    result["read_gb_per_s"] = bandwidth(processors);
  }
  if (json) {
    std::printf("%s\n", result.dump().c_str());
    return 0;
  }
  if (result.contains("ping_ns")) std::printf("core to core and back: %.0f ns\n", result["ping_ns"].get<double>());
  if (ping_only) return 0;
  const std::string all = std::to_string(processors.size()) + " threads";
  std::printf("%-18s %9s %9s\n", "", "1 thread", all.c_str());
  for (const auto& [name, rates] : result["gflops"].items())
    std::printf("%-18s %9.0f %9.0f GFLOP/s\n", name.c_str(), rates.front().get<double>(), rates.back().get<double>());
  const auto& read = result["read_gb_per_s"];
  std::printf("%-18s %9.1f %9.1f GB/s\n", "reading memory", read.front().get<double>(), read.back().get<double>());
  return 0;
}

}  // namespace
}  // namespace fovea::probe

int main(int argc, char** argv) { return fovea::probe::run(argc, argv); }
#endif  // HWY_ONCE
