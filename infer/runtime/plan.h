// A compiled network for one input shape: a list of steps over one block of memory, planned once.
//
//   infer::Plan plan = infer::compile(model, {.input = {1, 224, 224, 3}});
//   Tensor logits = plan(x);
//
// A plan is used by one thread at a time; copies share weights and steps, each with memory of its own for activations,
// and may run at the same time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace fovea::infer {

namespace detail {
struct Program;
}

class FOVEA_API Plan {
 public:
  Plan() = default;
  explicit Plan(std::shared_ptr<const detail::Program> program);
  Plan(const Plan& other);
  Plan& operator=(const Plan& other);
  Plan(Plan&&) noexcept = default;
  Plan& operator=(Plan&&) noexcept = default;
  ~Plan();

  bool defined() const { return program_ != nullptr; }
  const Shape& input_shape() const;
  const Shape& output_shape() const;

  /// Result of x, f32 of exactly input_shape(); Error{shape} otherwise. Allocates the result only.
  Tensor operator()(const Tensor& x);
  /// The same from and to the caller's memory: allocates nothing, apart from kernels' scratch in a thread's first run.
  /// x and y must not overlap.
  void run(const float* x, float* y);

  /// Bytes of activations that this plan holds beside the weights.
  std::size_t activation_bytes() const;
  /// Bytes of weights as the kernels want them, shared by all plans of a compiled model.
  std::size_t weight_bytes() const;

  /// A step of the plan, for listings.
  struct StepInfo {
    std::string name;    ///< path of the module: "block_1.expand.conv"
    std::string op;      ///< "conv + bn + relu6 → depthwise + bn + relu6"
    std::string kernel;  ///< "simd:pointwise"
    std::string type;    ///< what it multiplies, or reads where it has no weights: "f32", "bf16", "int8"
    Shape output;
    std::int64_t macs = 0;
  };
  /// Steps that are done picture by picture follow the step "each picture" that they are part of, indented, with the
  /// result of one picture.
  std::vector<StepInfo> steps() const;
  /// Milliseconds of each of steps(), the least of `runs` runs on an input of zeros; of those done picture by picture,
  /// the time of one picture alone times the number of pictures.
  std::vector<double> profile(int runs = 20);
  /// A table of the steps and the planned memory.
  std::string describe() const;

 private:
  /// Error{usage} where nothing is compiled.
  const detail::Program& program() const;
  void run_steps(const float* x, float* y, std::vector<double>* least);
  std::shared_ptr<const detail::Program> program_;
  Tensor memory_;
  std::vector<float*> pointers_;
};

}  // namespace fovea::infer
