#include "kernels/registry.h"

#include <hwy/targets.h>

#include <cstdio>
#include <cstdlib>

#include "core/graph/host_fallback.h"

namespace fovea::kernels {
namespace {
thread_local const ForceImplementation* forced = nullptr;
thread_local const char* last = "";

std::string_view environment_prefix() {
  static const char* value = std::getenv("FOVEA_IMPL");
  return value ? value : "";
}

void limit_simd() {
  const char* value = std::getenv("FOVEA_SIMD");
  if (!value || !*value) return;
  std::string known;
  // Better targets have lower bits.
  for (std::int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const std::int64_t target = left & -left;
    if (std::string_view(hwy::TargetName(target)) == value) return hwy::DisableTargets(target - 1);
    known += str(known.empty() ? "" : ", ", hwy::TargetName(target));
  }
  throw Error(ErrorKind::usage, "FOVEA_SIMD", str("'", value, "' is not an instruction set of this CPU"),
              str("it has ", known));
}
}  // namespace

struct RegistryAccess {
  static bool allowed(const ForceImplementation& force, std::string_view name) {
    return name.starts_with(force.prefix_) || name == "only" || (!force.strict_ && name == "reference");
  }
};

ForceImplementation::ForceImplementation(std::string_view prefix, bool strict)
    : prefix_(prefix), strict_(strict), outer_(forced) {
  forced = this;
}
ForceImplementation::~ForceImplementation() { forced = outer_; }

std::string_view last_implementation() { return last; }
void detail::ran(const char* name) { last = name; }

void detail::settle_instruction_set() {
  static const bool settled = [] {
    limit_simd();
    return true;
  }();
  (void)settled;
}

bool detail::verbose() {
  settle_instruction_set();
  static const bool on = [] {
    const char* value = std::getenv("FOVEA_VERBOSE");
    return value && *value && std::string_view(value) != "0";
  }();
  return on;
}

bool detail::allowed(std::string_view name) {
  if (forced) return RegistryAccess::allowed(*forced, name);
  const std::string_view prefix = environment_prefix();
  if (prefix.starts_with('-')) return !name.starts_with(prefix.substr(1));
  return prefix.empty() || name.starts_with(prefix) || name == "reference" || name == "only";
}

void detail::report(std::string_view kernel, std::string_view chosen, std::string_view declined,
                    std::string_view problem, double ms) {
  const std::string line = str("fovea: ", kernel, " ", problem, " -> ", chosen, declined.empty() ? "" : " (", declined,
                               declined.empty() ? "" : ")");
  std::fprintf(stderr, "%s %.3f ms\n", line.c_str(), ms);
}

void detail::none_accepts(std::string_view kernel, std::string_view declined, std::string_view problem) {
  // A GPU's operands are what the CPU's implementations decline for that reason.
  const bool on_gpu = declined.find(kNotOnCpu) != std::string_view::npos;
  throw NoImplementation(
      ErrorKind::usage, kernel,
      str("no implementation accepts this problem (", problem, "): ", declined.empty() ? "none allowed" : declined),
      on_gpu ? "AllowHostFallback (kernels/devices.h) lets the CPU run what a GPU has no kernel for" : "");
}

}  // namespace fovea::kernels
