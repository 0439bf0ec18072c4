// Memory that is left, as /proc and control groups say it; allocations noted, extrapolated and placed again.
#include <filesystem>
#include <fstream>

#include "catch.h"
#include "core/allocation_trace_internal.h"
#include "core/available_memory.h"
#include "core/device.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "tests/temp_folder.h"

using namespace fovea;
namespace fs = std::filesystem;

namespace {

void put(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

using Events = std::vector<AllocationTrace::Event>;

}  // namespace

TEST_CASE("available memory: what the system has, unless a control group leaves less") {
  const test::TempFolder root;
  CHECK(available_memory(root.path()) == 0);
  put(root / "proc/meminfo", "MemTotal:  9000 kB\nMemFree:  100 kB\nMemAvailable:  5000 kB\n");
  CHECK(available_memory(root.path()) == 5000 * 1024);

  SECTION("version 2: each group above counts, and cached files give way") {
    put(root / "proc/self/cgroup", "0::/user/job\n");
    put(root / "sys/fs/cgroup/user/job/memory.max", "max\n");
    put(root / "sys/fs/cgroup/user/job/memory.current", "1000\n");
    CHECK(available_memory(root.path()) == 5000 * 1024);
    put(root / "sys/fs/cgroup/user/memory.max", "2000000\n");
    put(root / "sys/fs/cgroup/user/memory.current", "1500000\n");
    put(root / "sys/fs/cgroup/user/memory.stat", "anon 7\ninactive_file 300000\nactive_file 9\n");
    CHECK(available_memory(root.path()) == 800000);
    put(root / "sys/fs/cgroup/user/job/memory.max", "1400\n");
    CHECK(available_memory(root.path()) == 400);
  }
  SECTION("version 1: a path of the host, of which only the mount's root exists here") {
    put(root / "proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/0123\n1:name=systemd:/y\n");
    put(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000\n");
    put(root / "sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000\n");
    CHECK(available_memory(root.path()) == 2000000);
    put(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // no limit
    CHECK(available_memory(root.path()) == 5000 * 1024);
  }
  SECTION("a group that holds more than its limit leaves nothing") {
    put(root / "proc/self/cgroup", "0::/\n");
    put(root / "sys/fs/cgroup/memory.max", "1000\n");
    put(root / "sys/fs/cgroup/memory.current", "1500\n");
    CHECK(available_memory(root.path()) == 0);
  }
}

TEST_CASE("allocation traces: noted in order, on this thread, without what was there before") {
  Tensor before(Shape{10});
  Events seen;
  {
    const AllocationTrace noting;
    Tensor a(Shape{4}), b(Shape{8});
    before = Tensor();
    const Tensor view = a.view_as(Shape{2, 2});
    a = Tensor();
    b = Tensor(Shape{2}, DType::u8);
    seen = noting.events();
  }
  CHECK(seen == Events{{0, false, 16}, {1, false, 32}, {2, false, 2}, {1, true, 0}});
}

TEST_CASE("allocation traces: sizes grow along a line, and other work is no line") {
  const Events two = {{0, false, 100}, {1, false, 20}, {0, true, 0}},
               three = {{0, false, 100}, {1, false, 30}, {0, true, 0}};
  CHECK(extrapolate(two, 2, three, 3, 16) == Events{{0, false, 100}, {1, false, 160}, {0, true, 0}});
  const Events other = {{0, false, 100}, {0, true, 0}, {1, false, 30}};
  CHECK(extrapolate(two, 2, other, 3, 16).empty());
}

TEST_CASE("allocation traces: placed again they take what the allocator took") {
  // More at a time than this process has ever had, so that all of it is fresh, or lies in what this work freed.
  release_cached_memory();
  Rng rng(3, "blocks");
  Events events;
  std::int64_t took = 0;
  {
    const auto held = [] { return memory_stats().current + memory_stats().cached; };
    const std::int64_t before = held();
    const AllocationTrace noting;
    std::vector<Tensor> live;
    for (int i = 0; i < 400; ++i) {
      if (!live.empty() && rng.chance(0.45)) {
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(rng.below(live.size())));
      } else {
        live.emplace_back(Shape{static_cast<std::int64_t>((1 << 20) + rng.below(1 << 22))}, DType::u8);
      }
    }
    live.clear();
    events = noting.events();
    took = held() - before;
  }
  const std::int64_t told = memory_for(events, 1);
  INFO("took " << took << ", told " << told);
  CHECK(told <= took * 1.01);
  CHECK(told >= took * 0.99);
  CHECK(memory_for(events, 3) < 1.5 * static_cast<double>(told));
  const std::vector<std::int64_t> lasting = {5 << 20};
  CHECK(memory_for({}, 1, lasting) == 5 << 20);
}
