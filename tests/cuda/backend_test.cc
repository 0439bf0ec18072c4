// Memory, copies and errors of the GPU backend.
#include "core/error.h"
#include "cuda/both.h"
#include "kernels/elementwise.h"
#include "layers/ops.h"

using namespace fovea;
using namespace fovea::test;

TEST_CASE("values travel to the GPU and back", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(1, "cuda");
  // Odd sizes, and more than the staging buffers hold.
  for (const std::int64_t count : {0, 1, 1000, 5'000'001}) {
    Tensor x(Shape{count});
    for (std::int64_t i = 0; i < count; ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 1000);
    const Tensor there = x.to(gpu());
    CHECK(there.device().to_string() == "cuda:0");
    CHECK(there.to(kCpu).to_vector<float>() == x.to_vector<float>());
    CHECK(there.clone().to(kCpu).to_vector<float>() == x.to_vector<float>());
  }
  Tensor zeros = Tensor::zeros({7}, DType::f64, gpu());
  CHECK(zeros.to(kCpu).to_vector<double>() == std::vector<double>(7, 0.0));
  zeros.accumulate(Tensor::full({7}, 2.5, DType::f64, gpu()));
  zeros.accumulate(Tensor::full({7}, 0.5, DType::f64, gpu()));
  CHECK(zeros.to(kCpu).to_vector<double>() == std::vector<double>(7, 3.0));
  CHECK(Tensor::full({3}, 2, DType::f32, gpu()).to(DType::i64).to(kCpu).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>(3, 2));
}

TEST_CASE("memory of the GPU is counted and given back", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const Device device = gpu();
  const MemoryStats before = memory_stats(device);
  reset_peak_memory(device);
  {
    const Tensor a(Shape{1000}, DType::f32, device), b(Shape{500}, DType::f32, device);
    CHECK(memory_stats(device).current == before.current + 6000);
  }
  const MemoryStats after = memory_stats(device);
  CHECK(after.current == before.current);
  CHECK(after.peak == before.current + 6000);
  CHECK(after.allocations == before.allocations + 2);
  release_cached_memory(device);
}

TEST_CASE("devices are listed, named and refused in words", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const auto all = devices();
  REQUIRE(all.size() >= 2);
  CHECK(all[0].device == kCpu);
  CHECK(all[1].device == gpu());
  CHECK(all[1].memory > 0);
  CHECK(all[1].units > 0);
  CHECK(device_from("cuda") == gpu());
  CHECK(device_from("cuda:0") == gpu());
  CHECK(device_from("cpu") == kCpu);
  for (const char* text : {"gpu9", "cuda:", "cuda:x", "cuda:-1", ""}) {
    try {
      device_from(text);
      FAIL("accepted " << text);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
    }
  }
  CHECK_THROWS_AS(gpu(1000), Error);
}

TEST_CASE("operands on two devices are refused, both are named", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const Tensor here = Tensor::ones({4}), there = Tensor::ones({4}, DType::f32, gpu());
  try {
    (void)add(here, there);
    FAIL("added tensors of two devices");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::device);
    CHECK(std::string_view(e.what()).find("cuda:0") != std::string_view::npos);
    CHECK(std::string_view(e.what()).find("cpu") != std::string_view::npos);
  }
  CHECK_THROWS_AS(there.data<float>(), Error);
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("an exhausted GPU is an error of memory that says what is free") {
  const Device device = gpu();
  const Tensor small(Shape{16}, DType::f32, device);
  cuda_double::fail("cudaMallocAsync", 0, 1);  // the second try succeeds
  CHECK_NOTHROW(Tensor(Shape{1024}, DType::f32, device));
  cuda_double::fail("cudaMallocAsync", 0, 2);
  try {
    Tensor large(Shape{1024}, DType::f32, device);
    FAIL("got memory");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::memory);
    CHECK(std::string_view(e.what()).find("4096 bytes") != std::string_view::npos);
  }
  cuda_double::stop_failing();
}

TEST_CASE("a launch that fails is an error naming the kernel, and nothing leaks") {
  const Device device = gpu();
  Tensor x = Tensor::ones({16, 8}, DType::f32, device), y(Shape{8}, DType::f32, device);
  synchronize(device);
  const std::int64_t live = cuda_double::live_allocations();
  for (int after = 0; after < 2; ++after) {
    cuda_double::fail("launch", after, 1);
    try {
      const int axes[] = {0};
      kernels::reduce(kernels::Reduction::sum, axes, x.view(), y.mutable_view());
      FAIL("the launch was to fail");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::device);
      CHECK(std::string_view(e.what()).find("reduce") != std::string_view::npos);
    }
    cuda_double::stop_failing();
  }
  synchronize(device);
  CHECK(cuda_double::live_allocations() == live);
}

TEST_CASE("kernels on another GPU use its memory and stream") {
  const Tensor a = Tensor::full({100}, 3, DType::f32, gpu(1)), b = Tensor::full({100}, 4, DType::f32, gpu(1));
  Tensor c(Shape{100}, DType::f32, gpu(1));
  kernels::binary(kernels::Binary::add, a.view(), b.view(), c.mutable_view());
  CHECK(c.to(kCpu).to_vector<float>() == std::vector<float>(100, 7.0f));
  CHECK(a.to(gpu(0)).to(kCpu).to_vector<float>() == std::vector<float>(100, 3.0f));
}
#endif
