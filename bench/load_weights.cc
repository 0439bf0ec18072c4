// How long a weight file takes to read and how much memory that costs beyond what is kept: load_weights FILE...
// Memory is RssAnon of /proc/self/status, so pages of the mapped file do not count; its peak is what the kernel saw
// when a tensor was at hand, sampled after each. The first round finds cold caches and fresh pages, the best of ten
// does not.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "models/weights/weight_file.h"

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

/// kB of memory that is no file's.
long anonymous() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stol(line.substr(8));
  }
  return 0;
}

struct Round {
  double open_ms = 0, read_ms = 0;
  long peak_kb = 0, kept_kb = 0;
};

Round read_once(const std::string& path, bool watch_memory) {
  Round round;
  const long before = anonymous();
  const auto start = Clock::now();
  const fovea::weights::WeightFile file = fovea::weights::read_weight_file(path);
  const auto opened = Clock::now();
  if (watch_memory) round.peak_kb = anonymous() - before;
  std::vector<fovea::Tensor> all;
  unsigned touched = 0;
  for (const auto& entry : file.tensors) {
    try {
      all.push_back(entry.read());
    } catch (const fovea::Error&) {
      continue;  // a type without a counterpart
    }
    const auto* p = static_cast<const unsigned char*>(all.back().view().data);
    for (std::size_t i = 0; i < all.back().nbytes(); i += 4096) touched += p[i];
    if (watch_memory) round.peak_kb = std::max(round.peak_kb, anonymous() - before);
  }
  [[maybe_unused]] const volatile unsigned sink = touched;
  round.open_ms = milliseconds(opened - start);
  round.read_ms = milliseconds(Clock::now() - opened);
  std::size_t bytes = 0;
  for (const fovea::Tensor& t : all) bytes += t.nbytes();
  round.kept_kb = static_cast<long>(bytes / 1024);
  return round;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "load_weights FILE...\n");
    return 2;
  }
  std::printf("%9s %9s %9s %9s %9s  file\n", "first ms", "open ms", "read ms", "tensor kB", "peak kB");
  for (int i = 1; i < argc; ++i) {
    try {
      const Round first = read_once(argv[i], true);
      Round best = read_once(argv[i], false);
      for (int n = 0; n < 9; ++n) {
        const Round next = read_once(argv[i], false);
        best.open_ms = std::min(best.open_ms, next.open_ms);
        best.read_ms = std::min(best.read_ms, next.read_ms);
      }
      std::printf("%9.1f %9.2f %9.2f %9ld %9ld  %s\n", first.open_ms + first.read_ms, best.open_ms, best.read_ms,
                  first.kept_kb, first.peak_kb, argv[i]);
    } catch (const fovea::Error& e) {
      std::printf("%s\n", e.what());
    }
  }
}
