// An op that no GPU has a kernel for: an error that says what to do, or run by the CPU where that is allowed.
#include <thread>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "kernels/optimizer.h"
#include "layers/ops.h"

using namespace fovea;
using namespace fovea::test;

namespace {

struct CubeProblem {
  ConstView x, dy;
  View out;
  std::string to_string() const { return str("cube ", x.shape); }
};
void cube(const CubeProblem& p) {
  for (std::int64_t i = 0; i < p.x.numel(); ++i) {
    const float v = p.x.ptr<float>()[i];
    p.out.ptr<float>()[i] = p.dy.data ? 3 * v * v * p.dy.ptr<float>()[i] : v * v * v;
  }
}
constexpr kernels::Implementation<CubeProblem> kCube[] = {
    {"only",
     [](const CubeProblem& p) -> const char* { return p.out.device == kCpu ? nullptr : kernels::detail::kNotOnCpu; },
     cube},
};

/// x³ plus noise of the op's own stream, by a kernel that only CPUs have; counts its calls in an operand.
class Cube final : public Op {
 public:
  std::string_view type() const override { return "cube"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(std::span<const TensorSpec> in) const override { return {in[0]}; }
  void forward(ForwardContext& context) const override {
    const double noise = context.rng.uniform();
    Tensor calls = context.in[1];
    Tensor& y = context.allocate();
    context.saved.push_back(context.in[0]);
    kernels::dispatch<CubeProblem>("cube", kCube, {context.in[0].view(), {}, y.mutable_view()});
    kernels::lerp_in_place(0.5, Tensor::full(calls.shape(), noise, calls.dtype(), calls.device()).view(),
                           calls.mutable_view());
  }
  void backward(BackwardContext& context) const override {
    // As ops do: the gradient's memory is used again where nobody else holds it.
    Tensor dx = context.grad_out[0].unique() ? context.grad_out[0] : context.grad_out[0].clone();
    kernels::scale_in_place(2, dx.mutable_view());
    kernels::dispatch<CubeProblem>("cube_backward", kCube,
                                   {context.saved[0].view(), dx.clone().view(), dx.mutable_view()});
    context.grad_in[0] = dx;
  }
};

struct Result {
  std::vector<float> y, dx, calls;
};
Result run(Device device) {
  const Tensor x = Tensor::from<float>({3}, {1, -2, 3}).to(device);
  Tensor leaf = x.clone(), calls = Tensor::zeros({1}, DType::f32, device);
  leaf.set_requires_grad(true);
  const TrainingMode training({.seed = 7});
  Tape tape;
  const Tensor y = run_op1(std::make_shared<Cube>(), {leaf, calls});
  CHECK(y.device() == device);
  tape.backward(sum(multiply(y, y)));
  CHECK(leaf.grad().device() == device);
  return {y.to(kCpu).to_vector<float>(), leaf.grad().to(kCpu).to_vector<float>(), calls.to(kCpu).to_vector<float>()};
}

}  // namespace

TEST_CASE("an op without a kernel for the GPU is an error that names kernel, operands and the way out", "[gpu]") {
  FOVEA_NEEDS_GPU();
  CHECK_THROWS_WITH(run(gpu()), Catch::Contains("[cube]") && Catch::Contains("cube 3") &&
                                    Catch::Contains("not in CPU memory") && Catch::Contains("AllowHostFallback"));
}

TEST_CASE("where it is allowed the CPU runs such an op, gradient, stream and changes in place included", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const Result here = run(kCpu);
  CHECK(here.y == std::vector<float>{1, -8, 27});
  const AllowHostFallback allow;
  const std::int64_t before = AllowHostFallback::count();
  const Result there = run(gpu());
  CHECK(AllowHostFallback::count() - before == 2);  // forward and backward
  CHECK(there.y == here.y);
  CHECK(there.dx == here.dx);
  CHECK(there.calls == here.calls);
  // What has a kernel stays on the GPU.
  const Tensor x = Tensor::full(Shape{4}, 2.0).to(gpu());
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t copied = cuda_double::copied_bytes();
#endif
  const Tensor y = relu(x);
  synchronize(gpu());
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::copied_bytes() == copied);
#endif
  CHECK(AllowHostFallback::count() - before == 2);
}

TEST_CASE("allowing the CPU holds for its thread and its scope", "[gpu]") {
  FOVEA_NEEDS_GPU();
  CHECK_FALSE(AllowHostFallback::allowed());
  {
    const AllowHostFallback allow;
    CHECK(AllowHostFallback::allowed());
    {
      const AllowHostFallback off(false);
      CHECK_THROWS_AS(run(gpu()), NoImplementation);
    }
    bool elsewhere = true;
    std::thread([&] { elsewhere = AllowHostFallback::allowed(); }).join();
    CHECK_FALSE(elsewhere);
  }
  CHECK_THROWS_AS(run(gpu()), NoImplementation);
  // Mistakes of the caller are none of its business.
  const AllowHostFallback allow;
  CHECK_THROWS_WITH(add(Tensor::full(Shape{2}, 1.0).to(gpu()), Tensor::full(Shape{2}, 1.0)),
                    Catch::Contains("cuda:0") && Catch::Contains("cpu"));
}
