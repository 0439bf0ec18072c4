#include "bench/options.h"

#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "kernels/registry.h"

namespace fovea::bench {
namespace {

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

std::int64_t positive(std::string_view option, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    throw Error(ErrorKind::usage, option, str("wants a whole number from 1 on, got '", text, "'"));
  }
  return value;
}

}  // namespace

int run_suite(int argc, char** argv, const std::function<void(const Options&)>& add) {
  try {
    Options options;
    std::vector<char*> rest;
    for (int i = 0; i < argc; ++i) {
      const std::string_view argument = argv[i];
      const auto value = [&](std::string_view option) -> std::optional<std::string_view> {
        if (!argument.starts_with(option)) return std::nullopt;
        return argument.substr(option.size());
      };
      if (const auto batch = value("--batch=")) {
        options.batch = positive("--batch", *batch);
      } else if (const auto threads = value("--threads=")) {
        set_num_threads(static_cast<int>(positive("--threads", *threads)));
      } else if (const auto impl = value("--impl=")) {
        options.implementations = split(*impl);
      } else if (const auto files = value("--shapes=")) {
        for (const std::string& file : split(*files)) {
          for (NamedShape& shape : read_shapes(file)) options.shapes.push_back(std::move(shape));
        }
      } else {
        rest.push_back(argv[i]);
      }
    }
    if (options.shapes.empty()) options.shapes = all_shapes();
    int left = static_cast<int>(rest.size());
    benchmark::Initialize(&left, rest.data());
    if (benchmark::ReportUnrecognizedArguments(left, rest.data())) {
      std::fprintf(stderr,
                   "and of this suite: --batch=N --threads=N --impl=auto,simd,onednn,reference --shapes=FILE,...\n");
      return 2;
    }
    benchmark::AddCustomContext("threads", str(num_threads()));
    benchmark::AddCustomContext("batch", str(options.batch));
    add(options);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

void add_kernel(const Options& options, const std::string& kernel, const NamedShape& shape, Work work,
                const Prepare& prepare) {
  for (const std::string& implementation : options.implementations) {
    const std::string name = str(kernel, "/", shape.network, "/", shape.name, "/", implementation);
    benchmark::RegisterBenchmark(
        name.c_str(),
        [=](benchmark::State& state) {
          std::optional<kernels::ForceImplementation> force;
          if (implementation != "auto") force.emplace(implementation, true);
          const std::function<void()> run = prepare();
          try {
            run();  // packs weights, makes primitives, touches memory
          } catch (const Error& e) {
            state.SkipWithError(e.what());
            return;
          }
          for (auto _ : state) run();
          using benchmark::Counter;
          if (work.operations > 0) {
            state.counters["GFLOP/s"] = Counter(work.operations * 1e-9, Counter::kIsIterationInvariantRate);
          }
          state.counters["GB/s"] = Counter(work.bytes * 1e-9, Counter::kIsIterationInvariantRate);
          state.SetLabel(std::string(kernels::last_implementation()));
        })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace fovea::bench
