// Networks compiled for a GPU answer as the uncompiled ones do on the CPU.
#include <unistd.h>

#include <filesystem>

#include "core/autograd/modes.h"
#include "cuda/both.h"
#include "infer/compile/compile.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "tests/infer/settle.h"
#include "tests/tensor_distance.h"

using namespace fovea;
using namespace fovea::test;

namespace {

/// What no zoo network has: a norm in front that nothing takes in, parts joined, and every pool.
class Branches final : public Module {
 public:
  Branches() {
    register_module("norm", norm_);
    register_module("a", a_);
    register_module("b", b_);
    register_module("head", head_);
  }
  std::string_view kind() const override { return "Branches"; }
  Tensor forward(const Tensor& x) override {
    const Tensor in = relu(norm_->forward(x));
    const Tensor a = a_->forward(in), b = silu(add(b_->forward(in), a));
    const Tensor joined = concat(
        {max_pool2d(b, {.window = {2, 2}, .stride = {2, 2}}), avg_pool2d(a, {.window = {2, 2}, .stride = {2, 2}})});
    return softmax(head_->forward(flatten(adaptive_average_pool(joined, {2, 2}))));
  }

 private:
  std::shared_ptr<BatchNorm> norm_ = std::make_shared<BatchNorm>(3);
  std::shared_ptr<Conv2d> a_ = std::make_shared<Conv2d>(3, 6, Conv2dOptions{.padding = 1}),
                          b_ = std::make_shared<Conv2d>(3, 6, Conv2dOptions{.kernel = 1});
  std::shared_ptr<Dense> head_ = std::make_shared<Dense>(48, 2);
};

}  // namespace

TEST_CASE("networks compiled for a GPU answer as on the CPU, recorded or not", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const std::pair<const char*, models::Options> cases[] = {
      {"mobilenet_v2", {.classes = 5, .image_size = 33, .width = 0.35}},
      {"mobilenet_v3_small", {.classes = 5, .image_size = 33}},
      {"resnet18", {.classes = 5, .image_size = 33}},
  };
  for (const auto& [name, options] : cases) {
    INFO(name);
    Model model = models::create(name, options);
    const auto& in = model.preprocessing;
    settle(model, in.height);
    const NoGrad no_grad;
    const Tensor x = noise({2, in.height, in.width, in.channels}, 1), expected = model(x);
    model.to(gpu());
    infer::DeviceNetwork network = infer::compile_for_device(model);
    CHECK(network.device() == gpu());
    Tensor first;
    for (int call = 0; call < 3; ++call) {  // as it is, recorded, and started again
      INFO("call " << call);
      const Tensor y = network(x);
      CHECK(y.device() == kCpu);
      CHECK(tensor_distance(y, expected, 1e-6) < 1e-4);
      if (call == 0) first = y;
      CHECK(y.to_vector<float>() == first.to_vector<float>());
      CHECK((network.planned_bytes(x.shape()) > 0) == (call > 0));
    }
    // On the GPU, other pictures, and a result that the next call leaves alone.
    const Tensor there = x.to(gpu()), kept = network(there);
    CHECK(kept.device() == gpu());
    const Tensor others = noise(x.shape(), 2);
    CHECK(tensor_distance(network(others), network(others.to(gpu())).to(kCpu), 1e-6) == 0);
    CHECK(kept.to(kCpu).to_vector<float>() == first.to_vector<float>());
  }
}

TEST_CASE("networks compiled for a GPU in bf16 and f16 answer to their precision", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Model model = models::create("mobilenet_v3_small", {.classes = 5, .image_size = 33});
  settle(model, 33);
  const NoGrad no_grad;
  const Tensor x = noise({2, 33, 33, 3}, 1), expected = model(x);
  model.to(gpu());
  double distance[2];
  for (const DType dtype : {DType::bf16, DType::f16}) {
    infer::DeviceNetwork network = infer::compile_for_device(model, dtype);
    CHECK(network.dtype() == dtype);
    const Tensor first = network(x);
    CHECK(first.dtype() == DType::f32);
    for (int call = 0; call < 2; ++call) CHECK(network(x).to_vector<float>() == first.to_vector<float>());
    distance[dtype == DType::f16] = tensor_distance(first, expected, 1e-6);
  }
  INFO(distance[0] << " and " << distance[1]);
  // Half a unit of 8 and of 11 bits at some 60 roundings one after the other.
  CHECK(distance[0] < 60 * 0x1p-9);
  CHECK(distance[1] < 60 * 0x1p-12);
  CHECK(distance[1] > 1e-5);  // it is not f32
  CHECK(distance[1] < distance[0] / 4);
  CHECK_THROWS_AS(infer::compile_for_device(model, DType::f64), Error);
}

TEST_CASE("a network for a GPU keeps the work of a handful of shapes and refuses what does not fit", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const auto make = [] {
    return Model(Sequential(Conv2d(3, 4, {.padding = 1}), ReLU(), GlobalAveragePool(), Dense(4, 3)));
  };
  Model model = make();
  model.to(gpu());
  release_cached_memory(gpu());  // weights in other layouts, which outlive their tensors
  const std::int64_t before = memory_stats(gpu()).current;
  {
    infer::DeviceNetwork network = infer::compile_for_device(model);
    for (std::int64_t batch = 1; batch <= 10; ++batch) {
      const Tensor x = noise({batch, 6, 5, 3}, 3);
      network(x);
      CHECK(network(x).shape() == Shape{batch, 3});
    }
    CHECK(network.planned_bytes({1, 6, 5, 3}) == 0);  // forgotten
    CHECK(network.planned_bytes({10, 6, 5, 3}) > 0);
    CHECK_THROWS_AS(network(noise({2, 6, 5, 4}, 1)), Error);
    CHECK_THROWS_AS(network(noise({2, 6, 5, 3}, 1).to(DType::f64)), Error);
    CHECK_THROWS_AS(infer::DeviceNetwork()(noise({1}, 1)), Error);
  }
  release_cached_memory(gpu());
  CHECK(memory_stats(gpu()).current == before);
  CHECK_THROWS_AS(infer::compile_for_device(make()), Error);
}

TEST_CASE("compiled files and norms that nothing takes in run on a GPU", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Model model(std::make_shared<Branches>());
  model.preprocessing.width = 10;
  model.preprocessing.height = 8;
  model.class_names = {"a", "b"};
  settle(model, 9);
  const NoGrad no_grad;
  const Tensor x = noise({3, 8, 10, 3}, 4), expected = model(x);
  const auto path =
      std::filesystem::temp_directory_path() / ("device_network_" + std::to_string(::getpid()) + ".fovea");
  infer::save(model, path.string());
  infer::DeviceNetwork network = infer::load_on(gpu(), path.string()),
                       half = infer::load_on(gpu(), path.string(), DType::f16);
  std::filesystem::remove(path);
  CHECK(network.class_names() == model.class_names);
  CHECK(network.preprocessing().width == 10);
  for (int call = 0; call < 3; ++call) {
    CHECK(tensor_distance(network(x), expected, 1e-6) < 1e-5);
    CHECK(tensor_distance(half(x), expected, 1e-6) < 10 * 0x1p-12);
  }
}
