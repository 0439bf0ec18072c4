// Implementations of a kernel form an ordered list, fastest first, `reference` last. Each accepts a problem or says why
// it declines; the first that accepts runs. FOVEA_VERBOSE=1 prints the choice, the reasons of those before it, and the
// time per call. The lists are plain arrays in kernels/<kernel>.cc (explicit: registration by static objects vanishes
// from static libraries).
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/export.h"

namespace fovea::kernels {

template <class Problem>
struct Implementation {
  /// "onednn", "simd", "reference", with a detail after a colon where there are several: "simd:conv3x3". "only" is the
  /// CPU's one implementation of what needs no faster one (losses, clamping): it is never forced away.
  const char* name;
  /// nullptr to accept, otherwise the reason for declining ("needs f32", "dilation"). Cheap; must not write anything.
  const char* (*declines)(const Problem&);
  void (*run)(const Problem&);
};

/// While alive, only implementations whose name begins with one of the given prefixes (and `reference` as the last
/// resort unless strict) are used on this thread. For tests and comparisons: ForceImplementation force("reference").
class FOVEA_API ForceImplementation {
 public:
  /// @param prefix e.g. "reference", "simd", "onednn"; @param strict Error{usage} instead of falling back to the
  /// reference
  explicit ForceImplementation(std::string_view prefix, bool strict = false);
  ~ForceImplementation();
  ForceImplementation(const ForceImplementation&) = delete;
  ForceImplementation& operator=(const ForceImplementation&) = delete;

 private:
  std::string prefix_;
  bool strict_;
  const ForceImplementation* outer_;
  friend struct RegistryAccess;
};

/// The name of the implementation that ran last on this thread, empty before any did: for benchmarks and tests.
FOVEA_API std::string_view last_implementation();

namespace detail {
FOVEA_API void ran(const char* name);
/// FOVEA_SIMD=AVX2: no instruction set above that one, to measure and test what older CPUs run. Read once, before the
/// first kernel runs or anything is packed for one.
FOVEA_API void settle_instruction_set();
FOVEA_API bool verbose();
/// Whether an implementation of this name may run on this thread (ForceImplementation; in the environment
/// FOVEA_IMPL=prefix, or FOVEA_IMPL=-prefix for all but those).
FOVEA_API bool allowed(std::string_view name);
FOVEA_API void report(std::string_view kernel, std::string_view chosen, std::string_view declined,
                      std::string_view problem, double ms);
/// What implementations for the CPU say of operands on a GPU.
inline constexpr const char* kNotOnCpu = "operands are not in CPU memory";
[[noreturn]] FOVEA_API void none_accepts(std::string_view kernel, std::string_view declined, std::string_view problem);
}  // namespace detail

/// Runs the first implementation that accepts; NoImplementation{usage} where none does. `Problem` has `std::string
/// to_string() const` for the verbose line.
template <class Problem>
void dispatch(std::string_view kernel, std::span<const Implementation<Problem>> list, const Problem& problem) {
  const bool verbose = detail::verbose();
  std::string declined;
  for (const auto& candidate : list) {
    if (!detail::allowed(candidate.name)) continue;
    if (const char* reason = candidate.declines(problem)) {
      declined += str(declined.empty() ? "" : "; ", candidate.name, ": ", reason);
      continue;
    }
    if (!verbose) {
      candidate.run(problem);
      detail::ran(candidate.name);
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    candidate.run(problem);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    detail::ran(candidate.name);
    detail::report(kernel, candidate.name, declined, problem.to_string(), elapsed.count());
    return;
  }
  detail::none_accepts(kernel, declined, problem.to_string());
}

}  // namespace fovea::kernels
