// Arguments the suites take beside Google Benchmark's own.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <vector>

#include "bench/shapes.h"

namespace fovea::bench {

struct Options {
  std::int64_t batch = 8;
  /// Prefixes of implementation names, each of which is timed; "auto" is the registry's own choice.
  std::vector<std::string> implementations = {"auto"};
  std::vector<NamedShape> shapes;
};

/// Reads --batch=N --threads=N --impl=A,B --shapes=FILE,FILE, lets `add` register the benchmarks, and runs those that
/// --benchmark_filter asks for. Returns main's exit code.
int run_suite(int argc, char** argv, const std::function<void(const Options&)>& add);

/// Registers one benchmark: `run` is timed under each implementation asked for. The label is the implementation that
/// ran; one that declines the problem is reported as skipped, with its reason.
/// @param operations floating-point operations, @param bytes each operand read or written once
struct Work {
  double operations = 0, bytes = 0;
};
/// Makes the operands (once, untimed) and returns what to time.
using Prepare = std::function<std::function<void()>()>;
void add_kernel(const Options& options, const std::string& kernel, const NamedShape& shape, Work work,
                const Prepare& prepare);

}  // namespace fovea::bench
