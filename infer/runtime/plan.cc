// Running a plan, and telling what it does.
#include "infer/runtime/plan.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/error.h"
#include "infer/runtime/program_internal.h"

namespace fovea::infer {

using detail::Program;

namespace {

std::string mebibytes(std::size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f MB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

}  // namespace

Plan::Plan(std::shared_ptr<const Program> program) : program_(std::move(program)) {
  // From the allocator of tensors, whose figures then are all that a program holds for networks.
  memory_ = Tensor({static_cast<std::int64_t>(program_->arena_bytes)}, DType::u8);
  float* const arena = static_cast<float*>(memory_.mutable_view().data);
  pointers_.assign(program_->offsets.size(), nullptr);
  for (std::size_t v = 0; v < pointers_.size(); ++v) {
    if (program_->offsets[v] != Program::kNowhere) pointers_[v] = arena + program_->offsets[v] / sizeof(float);
  }
}

Plan::Plan(const Plan& other) {
  if (other.program_) *this = Plan(other.program_);
}

Plan& Plan::operator=(const Plan& other) {
  if (this != &other) *this = other.program_ ? Plan(other.program_) : Plan();
  return *this;
}

Plan::~Plan() = default;

const Program& Plan::program() const {
  if (!program_) throw Error(ErrorKind::usage, "plan", "nothing is compiled", "make one with infer::compile");
  return *program_;
}

const Shape& Plan::input_shape() const { return program().input_shape; }
const Shape& Plan::output_shape() const { return program().output_shape; }
std::size_t Plan::activation_bytes() const { return program().arena_bytes; }
std::size_t Plan::weight_bytes() const { return program().weight_bytes; }

Tensor Plan::operator()(const Tensor& x) {
  if (x.shape() != program().input_shape || x.dtype() != DType::f32) {
    throw Error(ErrorKind::shape, "plan", str("expected f32 ", program_->input_shape, ", got ", x.to_string()),
                "compile a plan for this shape");
  }
  Tensor y(program_->output_shape);
  run(x.data<float>(), y.mutable_data<float>());
  return y;
}

void Plan::run(const float* x, float* y) { run_steps(x, y, nullptr); }

void Plan::run_steps(const float* x, float* y, std::vector<double>* least) {
  using Clock = std::chrono::steady_clock;
  // Steps only read the input.
  pointers_[static_cast<std::size_t>(program().input)] = const_cast<float*>(x);
  pointers_[static_cast<std::size_t>(program().output)] = y;
  std::size_t i = 0;
  for (const auto& step : program().steps) {
    if (!least) {
      step->run(pointers_.data());
      continue;
    }
    const Clock::time_point begin = Clock::now();
    step->run(pointers_.data());
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    (*least)[i] = std::min((*least)[i], ms);
    ++i;
  }
}

std::vector<Plan::StepInfo> Plan::steps() const {
  std::vector<StepInfo> all;
  for (const auto& step : program().steps) {
    all.push_back(step->info);
    if (!step->each()) continue;
    for (const auto& inner : step->each()->steps) {
      all.push_back(inner->info);
      all.back().name = "  " + all.back().name;
      all.back().macs = 0;  // counted above
    }
  }
  return all;
}

std::vector<double> Plan::profile(int runs) {
  std::vector<double> least(program().steps.size(), 1e30);
  const Tensor x = Tensor::zeros(program().input_shape);
  Tensor y(program().output_shape);
  for (int i = 0; i < runs; ++i) run_steps(x.data<float>(), y.mutable_data<float>(), &least);
  std::vector<double> all;
  for (std::size_t i = 0; i < least.size(); ++i) {
    all.push_back(least[i]);
    const detail::Step& step = *program().steps[i];
    if (!step.each()) continue;
    Plan one(step.each());
    for (const double ms : one.profile(runs)) all.push_back(ms * static_cast<double>(step.pictures()));
  }
  return all;
}

std::string Plan::describe() const {
  // Names and fused ops may be long: columns are filled up, never cut.
  const auto column = [](std::string text, std::size_t width) {
    text.resize(std::max(text.size() + 1, width), ' ');
    return text;
  };
  const auto millions = [](std::int64_t macs) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", static_cast<double>(macs) / 1e6);
    return std::string(text);
  };
  std::string text = column("step", 28) + column("fused", 36) + column("kernel", 18) + column("type", 6) +
                     column("result", 16) + "MMAC\n";
  std::int64_t macs = 0;
  for (const StepInfo& s : steps()) {
    macs += s.macs;
    text += column(s.name, 28) + column(s.op, 36) + column(s.kernel, 18) + column(s.type, 6) +
            column(s.output.to_string(), 16) + millions(s.macs) + "\n";
  }
  return text + str(steps().size(), " steps, ", millions(macs), " MMAC, activations ", mebibytes(activation_bytes()),
                    ", weights ", mebibytes(weight_bytes()), "\n");
}

}  // namespace fovea::infer
