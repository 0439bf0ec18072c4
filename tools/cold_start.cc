#include "tools/cold_start.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/available_memory.h"
#include "core/error.h"
#include "infer/graph/network.h"
#include "tools/subprocess.h"

namespace fovea::tools {
namespace {

constexpr int kProcesses = 5;

/// Nanoseconds of the clock that all processes share.
long long now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

double resident_mb() { return static_cast<double>(resident_memory()) / (1 << 20); }
double peak_resident_mb() { return static_cast<double>(peak_resident_memory()) / (1 << 20); }

int answer_once(const std::string& path, std::int64_t batch, int size, DType dtype) {
  infer::Network network = infer::load(path, dtype);
  const Shape own = network.input_shape();
  const Tensor answer = network(Tensor::zeros({batch, size > 0 ? size : own[1], size > 0 ? size : own[2], own[3]}));
  const long long end = now();
  std::printf("%lld %.3f %.3f %g\n", end, resident_mb(), peak_resident_mb(),
              static_cast<double>(answer.data<float>()[0]));
  return 0;
}

ColdStart measure_cold_start(const std::string& path, std::int64_t batch, int size, DType dtype, int threads) {
  std::vector<std::string> words = {"/proc/self/exe", "bench",     path,      "--first-answer",
                                    "--batch",        str(batch),  "--dtype", std::string(to_string(dtype)),
                                    "--threads",      str(threads)};
  if (size > 0) words.insert(words.end(), {"--size", str(size)});
  const CancelToken never;
  ColdStart best;
  for (int i = 0; i < kProcesses; ++i) {
    const long long begin = now();
    const Finished child = run_program(words, ".", std::chrono::seconds(60), never);
    long long end = 0;
    ColdStart one;
    if (child.how != Finished::How::exited || child.status != 0 ||
        std::sscanf(child.output.c_str(), "%lld %lf %lf", &end, &one.resident_mb, &one.peak_mb) != 3)
      throw Error(ErrorKind::file, path, "a fresh process gave no answer: " + child.output);
    one.ms = static_cast<double>(end - begin) / 1e6;
    if (i == 0 || one.ms < best.ms) best = one;
  }
  return best;
}

}  // namespace fovea::tools
