// Work that is recorded and started again: the same results as without, wherever its memory lies.
#include <map>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "kernels/device_graph.h"
#include "kernels/elementwise.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "tests/tensor_distance.h"

using namespace fovea;
using namespace fovea::test;

namespace {

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed, "graph");
  return random_tensor(shape, rng, -2, 2).to(DType::f32);
}

void is_bitwise(const Tensor& a, const Tensor& b) {
  CHECK(a.to(kCpu).to_vector<float>() == b.to(kCpu).to_vector<float>());
}

}  // namespace

TEST_CASE("a recorded network answers new pictures with the bits of one that is not", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 33, .width = 0.35});
  model.to(gpu());
  const NoGrad no_grad;
  Tensor x = Tensor::zeros({2, 33, 33, 3}, DType::f32, gpu()), y;
  const DeviceGraph graph = DeviceGraph::record(gpu(), [&] { y = model(x); }, {.constant_weights = true});
  CHECK(graph.memory_bytes() > 0);
  for (std::uint64_t seed = 1; seed < 4; ++seed) {
    const Tensor pictures = noise(x.shape(), seed).to(gpu());
    const Tensor expected = model(pictures);      // memory of others is taken and given back meanwhile
    if (seed == 2) release_cached_memory(gpu());  // the graph keeps the weights it reads
    x.copy_from(pictures);
    graph.launch();
    is_bitwise(y, expected);
  }
}

TEST_CASE("a recorded training pass gives each step's gradients, statistics and dropout", "[gpu]") {
  FOVEA_NEEDS_GPU();
  constexpr std::uint64_t kRecorded = 7;
  const auto make = [] {
    Sequential net(Conv2d(3, 8, {.stride = 2, .padding = 1}), BatchNorm(8), ReLU(), DepthwiseConv2d(8, {.padding = 1}),
                   Conv2d(8, 6, {.kernel = 1}), GlobalAveragePool(), Dropout(0.4), Dense(6, 4));
    net.to(gpu());
    return net;
  };
  Sequential usual = make(), recorded = make();
  const auto a = usual.named_tensors(), b = recorded.named_tensors();
  Tensor x(Shape{3, 9, 9, 3}, DType::f32, gpu()), loss;
  x.fill(1);
  const Tensor labels = Tensor::from<std::int64_t>({3}, {0, 3, 1}).to(gpu()),
               one = Tensor::ones(Shape{}, DType::f32, gpu());
  const auto step = [&](Sequential& net, const Tensor& pictures, std::uint64_t number) {
    net.zero_grad();
    const TrainingMode training({.seed = 5, .step = number});
    Tape tape;
    const Tensor result = cross_entropy(net(pictures), labels);
    tape.backward(result, one);
    return result;
  };
  const DeviceGraph graph = DeviceGraph::record(gpu(), [&] { loss = step(recorded, x, kRecorded); });
  for (std::size_t i = 0; i < a.size(); ++i) {  // two runs have moved the statistics
    Tensor t = b[i].tensor;
    t.copy_from(a[i].tensor);
  }
  for (std::uint64_t number = kRecorded; number < kRecorded + 3; ++number) {
    INFO("step " << number);
    const Tensor pictures = noise(x.shape(), number).to(gpu());
    const Tensor expected = step(usual, pictures, number);
    x.copy_from(pictures);
    graph.launch((number - kRecorded) << 32);
    is_bitwise(loss, expected);
    for (std::size_t i = 0; i < a.size(); ++i) {
      INFO(a[i].name);
      is_bitwise(b[i].tensor, a[i].tensor);
      if (a[i].is_buffer) continue;
      is_bitwise(b[i].tensor.grad(), a[i].tensor.grad());
      // A step, so that the next pass has other weights.
      for (const Tensor& weights : {a[i].tensor, b[i].tensor}) {
        Tensor w = weights, down = w.grad().clone();
        kernels::affine(-0.5, 0, down.view(), down.mutable_view());
        w.accumulate(down);
      }
    }
  }
}

TEST_CASE("what cannot be recorded says so, and leaves the GPU usable", "[gpu]") {
  FOVEA_NEEDS_GPU();
  CHECK_THROWS_AS(DeviceGraph::record(kCpu, [] {}), Error);
  CHECK_THROWS_AS(DeviceGraph().launch(), Error);
  Tensor x = Tensor::ones({4}, DType::f32, gpu()), y;
  const auto message = [](auto&& work) {
    try {
      DeviceGraph::record(gpu(), work);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(message([&] { x.to(kCpu); }).find("reading values on the host cannot be recorded") != std::string::npos);
  CHECK(message([&] { x.copy_from(Tensor::ones({4})); }).find("a copy from the host cannot") != std::string::npos);
  CHECK(message([&] { DeviceGraph::record(gpu(), [] {}); }).find("within a recording") != std::string::npos);
  // The third run takes more memory than those before.
  int run = 0;
  std::vector<Tensor> more;
  CHECK(message([&] {
          if (++run == 3) more.emplace_back(Shape{std::int64_t{40} << 20}, DType::f32, gpu());
        }).find("must do the same each time") != std::string::npos);
  more.clear();
  run = 0;
  CHECK(message([&] {
          if (++run == 3) throw Error(ErrorKind::usage, "work", "fails");
        }).find("fails") != std::string::npos);
  const DeviceGraph graph = DeviceGraph::record(gpu(), [&] {
    y = x.clone();
    y.accumulate(x);
  });
  x.fill(3);
  graph.launch();
  CHECK(y.to_vector<float>() == std::vector<float>(4, 6.0f));
}

TEST_CASE("graphs give all memory back", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Tensor x = Tensor::ones({1 << 16}, DType::f32, gpu()), y;
  const std::int64_t before = memory_stats(gpu()).current;
#ifdef FOVEA_CUDA_DOUBLE
  synchronize(gpu());
  const std::int64_t live = cuda_double::live_bytes();
#endif
  {
    const DeviceGraph graph = DeviceGraph::record(gpu(), [&] {
      const Tensor a = x.clone(), b = a.clone();
      y = b.clone();
    });
    graph.launch();
    CHECK(memory_stats(gpu()).current == before + static_cast<std::int64_t>(y.nbytes()) + 8);
  }
  // The result keeps its memory, and gives it back from another thread's hands or after the graph.
  CHECK(y.to_vector<float>()[5] == 1);
  y = Tensor();
  CHECK(memory_stats(gpu()).current == before);
#ifdef FOVEA_CUDA_DOUBLE
  synchronize(gpu());
  CHECK(cuda_double::live_bytes() == live);
#endif
}
