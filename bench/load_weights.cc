// Time and memory of loading weight files: `load_weights FILE…` prints a line per file, measured in fresh processes: of
// the first load in a process and of the best of several, wall clock and processor time. Memory is what the process
// holds of its own (RssAnon: pages of mapped files do not count), sampled while the file is loaded, less what it held
// before and the parameters themselves.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "models/load.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using Clock = std::chrono::steady_clock;

namespace {

namespace fs = std::filesystem;

constexpr double kMegabyte = 1e6;

/// The value of a line of /proc/self/status, in bytes.
std::int64_t status_bytes(const char* name) {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (!file) return 0;
  char line[256];
  long long kilobytes = 0;
  while (std::fgets(line, sizeof line, file)) {
    if (std::strncmp(line, name, std::strlen(name)) == 0) std::sscanf(line + std::strlen(name), ": %lld", &kilobytes);
  }
  std::fclose(file);
  return kilobytes * 1024;
}

/// Samples RssAnon some 10 000 times a second while it lives.
class MemoryWatch {
 public:
  MemoryWatch() : before_(status_bytes("RssAnon")), thread_([this] { watch(); }) {
    while (samples_ == 0) std::this_thread::yield();
  }
  ~MemoryWatch() { stop(); }
  /// The most that was held since it was made, beyond what was held then.
  std::int64_t stop() {
    if (thread_.joinable()) {
      done_ = true;
      thread_.join();
    }
    return most_ - before_;
  }

 private:
  void watch() {
    while (!done_) {
      most_ = std::max(most_, status_bytes("RssAnon"));
      ++samples_;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    most_ = std::max(most_, status_bytes("RssAnon"));
  }
  std::int64_t before_, most_ = 0;
  std::atomic<bool> done_{false};
  std::atomic<int> samples_{0};
  std::thread thread_;
};

std::int64_t parameter_bytes(const Model& model) {
  std::int64_t bytes = 0;
  for (const NamedTensor& t : model.network().named_tensors()) bytes += static_cast<std::int64_t>(t.tensor.nbytes());
  return bytes;
}

double milliseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// Of this process, all threads.
double cpu_milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

std::uintmax_t size_of(const std::string& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  std::uintmax_t size = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    size += entry.is_regular_file() ? entry.file_size() : 0;
  return size;
}

void read_all(const weights::WeightFile& file) {
  for (const weights::FileTensor& t : file.tensors) {
    if (t.shape.numel() > 0) t.read();
  }
}

int measure_memory(const std::string& path) {
  MemoryWatch watch;
  const Model model = models::load(path);
  const std::int64_t held = watch.stop();
  const double size = static_cast<double>(size_of(path)) / kMegabyte, allowed = 0.5 * size + 8;
  const double extra = static_cast<double>(held - parameter_bytes(model)) / kMegabyte;
  std::printf("%-42.42s %-28s %-18s %7.1f %8.1f %8.1f %s", fs::path(path).filename().c_str(),
              weights::read_weight_file(path).format.c_str(), model.architecture.c_str(), size, extra, allowed,
              extra > allowed ? "!" : " ");
  return extra > allowed ? 1 : 0;
}

int measure_time(const std::string& path, int repeats) {
  read_all(weights::read_weight_file(path));  // the file is in the page cache from here on
  double first = 0, first_cpu = 0, best = 1e9, best_cpu = 1e9;
  for (int i = 0; i <= repeats; ++i) {
    const double cpu_before = cpu_milliseconds();
    const Clock::time_point begin = Clock::now();
    const Model model = models::load(path);
    const double wall = milliseconds(begin), cpu = cpu_milliseconds() - cpu_before;
    if (i == 0) first = wall, first_cpu = cpu;
    best = std::min(best, wall);
    best_cpu = std::min(best_cpu, cpu);
  }
  std::printf("%8.1f %8.1f %8.1f %8.1f\n", first, first_cpu, best, best_cpu);
  return 0;
}

/// In a process of its own, so that nothing an earlier load left behind helps or counts.
template <class Measure>
bool apart(const Measure& measure) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      code = measure();
    } catch (const std::exception& e) {
      std::printf("%s\n", e.what());
    }
    std::fflush(stdout);
    ::_exit(code);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

int main(int argc, char** argv) {
  int repeats = 9;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--repeats=", 10) == 0) {
      repeats = std::max(1, std::atoi(argv[i] + 10));
    } else {
      files.emplace_back(argv[i]);
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "usage: load_weights [--repeats=N] WEIGHT_FILE…\n");
    return 2;
  }
  std::printf("%-42s %-28s %-18s %7s %8s %8s  %8s %8s %8s %8s\n", "file", "format", "network", "MB", "extra MB",
              "allowed", "first ms", "CPU ms", "best ms", "CPU ms");
  bool well = true;
  for (const std::string& path : files) {
    const bool small = apart([&] { return measure_memory(path); });
    well = apart([&] { return measure_time(path, repeats); }) && small && well;
  }
  return well ? 0 : 1;
}
