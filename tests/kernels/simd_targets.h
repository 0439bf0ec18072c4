// Runs a test's body once for every instruction set the Highway kernels were built for and this CPU has.
#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "catch.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/registry.h"

namespace fovea::test {

/// body(target name). Dispatch is forced to each target in turn and restored afterwards.
inline void for_each_target(const std::function<void()>& body) {
  kernels::detail::settle_instruction_set();  // FOVEA_SIMD counts here too
  // Of the targets this CPU has, those that were built.
  for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
    const std::int64_t target = left & -left;
    struct Restore {
      ~Restore() {
        hwy::SetSupportedTargetsForTest(0);
        hwy::GetChosenTarget().DeInit();
      }
    } restore;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    INFO("target " << hwy::TargetName(target));
    body();
  }
}

inline std::vector<float> random_values(std::int64_t n, std::uint64_t seed, double low = -2, double high = 2) {
  Rng rng(seed, "simd test");
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = static_cast<float>(rng.uniform(low, high));
  return v;
}

/// A view of a vector's memory, and of its first elements in another shape.
inline View view_of(std::vector<float>& v, const Shape& shape) {
  View view;
  view.data = v.data();
  view.shape = shape;
  return view;
}
inline ConstView view_of(const std::vector<float>& v, const Shape& shape) {
  ConstView view;
  view.data = v.data();
  view.shape = shape;
  return view;
}

}  // namespace fovea::test
