// What compiled networks hold: planned and packed bytes are what the allocator counts and what becomes resident, and
// running asks for nothing.
#include <fcntl.h>
#include <malloc.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "catch.h"
#include "core/device.h"
#include "core/threads/parallel.h"
#include "infer/compile/compile.h"
#include "infer/graph/network.h"
#include "infer/quantize/quantize.h"
#include "models/options.h"
#include "settle.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::noise;
using test::TempFolder;

extern char** environ;

namespace {

Model network(const char* name, int size, double width = 1, int classes = 1000) {
  models::Options options;
  options.image_size = size;
  options.width = width;
  options.classes = classes;
  return models::create(name, options);
}

std::size_t held() { return static_cast<std::size_t>(memory_stats().current); }

}  // namespace

TEST_CASE("planned and packed bytes are what the allocator counts", "[infer]") {
  const TempFolder folder;
  for (const char* name : {"mobilenet_v2", "mobilenet_v3_small", "resnet18"}) {
    infer::save(network(name, 64), folder / "m.fovea");
    for (const DType dtype : {DType::f32, DType::bf16}) {
      INFO(name << " in " << to_string(dtype));
      const std::size_t before = held();
      infer::Network net = infer::load(folder / "m.fovea", dtype);
      infer::Plan& plan = net.plan({1, 64, 64, 3});
      REQUIRE(plan.activation_bytes() > 64 * 64 * 3);
      // Beside them only the zeros that steps read outside of pictures, 2 KB for 512 channels.
      const auto counted = [&](std::size_t since, std::size_t told) {
        CHECK(held() - since >= told);
        CHECK(held() - since <= told + (32 << 10));
      };
      counted(before, plan.activation_bytes() + plan.weight_bytes());
      const std::size_t one = held();
      infer::Plan copy = plan;
      CHECK(held() - one == plan.activation_bytes());
      // Shares the weights, but for layers that another kernel runs at this size.
      infer::Plan& batch = net.plan({4, 64, 64, 3});
      counted(one, copy.activation_bytes() + batch.activation_bytes() + batch.weight_bytes() - copy.weight_bytes());
      char text[64];
      std::snprintf(text, sizeof text, "activations %.2f MB", static_cast<double>(plan.activation_bytes()) / (1 << 20));
      CHECK(plan.describe().find(text) != std::string::npos);
    }
  }
}

// The sanitizers have allocation functions of their own, and memory that nobody asked for.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

// In front of the system's, for this whole program: operator new and every library end here.
extern "C" {
void* malloc(std::size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t size) {
  count();
  return __libc_realloc(p, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** p, std::size_t alignment, std::size_t size) {
  count();
  *p = __libc_memalign(alignment, size);
  return *p ? 0 : ENOMEM;
}
}

TEST_CASE("running a plan allocates nothing", "[infer]") {
  set_num_threads(2);
  struct Case {
    const char* name;
    std::int64_t batch;
  };
  for (const Case& c : {Case{"mobilenet_v2", 1}, Case{"mobilenet_v2", 4}, Case{"mobilenet_v3_small", 1},
                        Case{"efficientnet_lite0", 1}, Case{"resnet18", 1}}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i8}) {
      INFO(c.name << ", batch " << c.batch << ", " << to_string(dtype));
      infer::Plan plan = infer::compile(network(c.name, 64), {.input = {c.batch, 64, 64, 3}, .dtype = dtype});
      const Tensor x = noise(plan.input_shape(), 2);
      Tensor y(plan.output_shape());
      float* const to = y.mutable_data<float>();
      // Threads' scratch comes with their first run, and which thread does what is chance, on a busy machine for many
      // runs: until five runs in a row ask for nothing.
      int quiet = 0;
      for (int i = 0; i < 300 && quiet < 5; ++i) {
        const std::int64_t tensors = memory_stats().allocations;
        allocations = 0;
        counting = true;
        plan.run(x.data<float>(), to);
        counting = false;
        quiet = allocations == 0 && memory_stats().allocations == tensors ? quiet + 1 : 0;
      }
      CHECK(quiet == 5);
      allocations = 0;
      counting = true;
      const Tensor result = plan(x);
      counting = false;
      CHECK(allocations > 0);  // the count works: a result is allocated
    }
  }
}

namespace {

/// Of a process: memory of its own, the code that is there, and what else of files is (constants of programs).
struct Resident {
  double data = 0, code = 0, constants = 0;  ///< MB
};

Resident resident(const std::string& process) {
  std::ifstream in("/proc/" + process + "/smaps");
  std::string line, permissions, path;
  double rss = 0;
  Resident sum;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    double kilobytes = 0;
    if (first.empty() || first.back() != ':') {  // 7f00-7f10 r-xp 0000 00:00 0 /lib/x.so
      std::string offset, device, inode;
      path.clear();
      words >> permissions >> offset >> device >> inode >> path;
    } else if (first == "Rss:") {
      words >> rss;
      (permissions.find('x') != std::string::npos ? sum.code : sum.constants) += rss / 1024;
    } else if (first == "Anonymous:") {
      words >> kilobytes;
      (permissions.find('x') != std::string::npos ? sum.code : sum.constants) -= kilobytes / 1024;
      sum.data += kilobytes / 1024;
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("a network becomes resident as planned", "[infer]") {
  const TempFolder folder;
  infer::save(network("mobilenet_v2", 224), folder / "m.fovea");
  release_cached_memory();
  malloc_trim(0);
  const Resident before = resident("self");
  infer::Network net = infer::load(folder / "m.fovea");
  const Tensor x = Tensor::zeros({1, 224, 224, 3});
  infer::Plan& plan = net.plan(x.shape());
  Tensor y(plan.output_shape());
  for (int i = 0; i < 3; ++i) plan.run(x.data<float>(), y.mutable_data<float>());
  const Resident after = resident("self");
  const double planned = static_cast<double>(plan.activation_bytes() + plan.weight_bytes()) / (1 << 20);
  const double grown = after.data - before.data - static_cast<double>(x.nbytes()) / (1 << 20);
  INFO("planned " << planned << " MB, grown " << grown << " MB");
  CHECK(grown < 1.1 * planned + 2);
  CHECK(grown > 0.8 * planned);  // the measure measures
}

#ifdef FOVEA_CLASSIFY_PICTURE
TEST_CASE("the small runtime holds little beside its code", "[infer]") {
  const TempFolder folder;
  const std::string file = folder / "edge.fovea";
  infer::save(infer::quantize_on_noise(network("mobilenet_v2", 96, 0.35, 10)), file);
  CHECK(std::filesystem::file_size(file) < 600'000);

  // So many pictures that the answers fill the pipe: then it waits there, still holding what it needs.
  const std::string picture = FOVEA_SOURCE_DIR "/tests/image/data/grey.jpg";
  std::vector<std::string> words = {FOVEA_CLASSIFY_PICTURE, file};
  words.resize(2000, picture);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  std::array<int, 2> ends{};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  fcntl(ends[1], F_SETPIPE_SZ, 4096);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, FOVEA_CLASSIFY_PICTURE, &actions, nullptr, arguments.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::array<char, 16> answer{};
  const ssize_t got = read(ends[0], answer.data(), answer.size());
  const Resident r = resident(std::to_string(child));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ends[0]);
  REQUIRE(got == static_cast<ssize_t>(answer.size()));
  WARN("MobileNetV2 0.35 at 96 in int8, resident: data " << r.data << " MB, constants of programs " << r.constants
                                                         << " MB, code " << r.code << " MB");
  CHECK(r.data + r.constants < 8);
  CHECK(r.data > 0.5);  // its weights, at least
  CHECK(r.code > 0.5);
}
#endif
#endif
