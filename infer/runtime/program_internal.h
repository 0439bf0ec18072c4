// What a plan runs: steps over values, each value a place in the plan's block of memory, the input or the result.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/runtime/plan.h"

namespace fovea::infer::detail {

/// Where the values of a run are: pointers[value].
using Pointers = float* const*;

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(Pointers at) const = 0;
  /// Of a step that runs steps of its own for each picture: those, and how many pictures a thread has.
  virtual std::shared_ptr<const struct Program> each() const { return nullptr; }
  virtual std::int64_t pictures() const { return 1; }
  Plan::StepInfo info;
};

/// Steps, and where their values lie.
struct Program {
  Shape input_shape, output_shape;
  int input = 0, output = 0;
  /// Value → bytes from the beginning of the block; kNowhere for the input, the result and values without memory.
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  std::vector<std::size_t> offsets;
  std::size_t arena_bytes = 0;
  std::size_t weight_bytes = 0;
  std::vector<std::unique_ptr<Step>> steps;
};

/// When a value is alive and how much it holds.
struct Interval {
  int value = 0;
  int first = 0, last = 0;  ///< steps
  std::size_t bytes = 0;
};
/// Places for all intervals such that those alive together do not overlap: the largest first, each into the smallest
/// gap that fits (Pisarchyk and Lee 2020, "greedy by size"). Writes offsets[value] and returns the block's size.
std::size_t place(std::vector<Interval> intervals, std::vector<std::size_t>& offsets);

}  // namespace fovea::infer::detail
