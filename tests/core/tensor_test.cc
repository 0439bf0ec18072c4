// Tensors: memory, versions, conversions, slices, and errors.
#include <cmath>
#include <limits>

#include "catch.h"
#include "core/tensor.h"

using namespace fovea;

TEST_CASE("a tensor holds, copies and converts values") {
  const Tensor t = Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(t.to_string() == "f32 2×3 on cpu");
  CHECK(t.view().typed<float>()(1, 2) == 6);
  CHECK(reinterpret_cast<std::uintptr_t>(t.data<float>()) % 64 == 0);
  CHECK(t.to(DType::f64).to_vector<double>() == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(t.to(DType::f32).is(t));
  Tensor copy = t.clone();
  copy.mutable_data<float>()[0] = 9;
  CHECK(t.data<float>()[0] == 1);
  Tensor shared = t;
  shared.fill(3);
  CHECK(t.data<float>()[5] == 3);
  CHECK(Tensor::full({2}, -1.5).to_vector<float>() == std::vector<float>{-1.5f, -1.5f});
  CHECK(Tensor::scalar<std::int64_t>(5).item() == 5);
}

TEST_CASE("floating values become integers by rounding to even and saturating") {
  const Tensor t = Tensor::from<float>({7}, {0.5f, 1.5f, -2.5f, 300, -300, NAN, INFINITY});
  CHECK(t.to(DType::u8).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 2, 0, 255, 0, 0, 255});
  CHECK(t.to(DType::i8).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 2, -2, 127, -128, 0, 127});
  CHECK(Tensor::from<float>({1}, {3e9f}).to(DType::i32).to_vector<std::int64_t>()[0] == 2147483647);
  CHECK(Tensor::from<double>({1}, {1e30}).to(DType::i64).to_vector<std::int64_t>()[0] ==
        std::numeric_limits<std::int64_t>::max());
  CHECK(Tensor::from<std::int64_t>({2}, {-1, 256}).to(DType::u8).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{0, 255});
}

TEST_CASE("slices along the batch share memory") {
  Tensor t = Tensor::zeros({4, 2, 2, 1});
  Tensor rows = t.slice(1, 3);
  CHECK(rows.shape() == Shape{2, 2, 2, 1});
  rows.fill(7);
  CHECK(t.data<float>()[3] == 0);
  CHECK(t.data<float>()[4] == 7);
  CHECK(t.data<float>()[11] == 7);
  CHECK(t.data<float>()[12] == 0);
  CHECK(t.slice(4, 4).numel() == 0);
  CHECK(t.slice(1, 2).slice(0, 1).view_as({4}).data<float>()[0] == 7);
  CHECK_THROWS_AS(t.slice(3, 5), Error);
  CHECK_THROWS_AS(t.slice(-1, 2), Error);
  CHECK_THROWS_AS(Tensor::scalar(1.f).slice(0, 0), Error);
  CHECK_THROWS_AS(t.view_as({15}), Error);
}

TEST_CASE("each in-place write raises the version and storage ids are never reused") {
  Tensor t = Tensor::zeros({8});
  const std::uint64_t id = t.storage_id();
  std::uint64_t version = t.version();
  const auto raised = [&] { return std::exchange(version, t.version()) < t.version(); };
  t.mutable_data<float>();
  CHECK(raised());
  t.mutable_view();
  CHECK(raised());
  t.fill(1);
  CHECK(raised());
  t.zero();
  CHECK(raised());
  t.copy_from(Tensor::ones({8}));
  CHECK(raised());
  t.accumulate(Tensor::ones({8}));
  CHECK(raised());
  t.slice(0, 1).fill(5);
  CHECK(raised());
  (void)t.data<float>();
  (void)t.view();
  CHECK(t.version() == version);
  t = Tensor();
  CHECK(Tensor::zeros({8}).storage_id() != id);
}

TEST_CASE("the allocator reuses blocks and counts what is held") {
  release_cached_memory();
  const MemoryStats before = memory_stats();
  {
    const Tensor a({1000, 1000});
    CHECK(memory_stats().current == before.current + 4'000'000);
  }
  CHECK(memory_stats().current == before.current);
  CHECK(memory_stats().cached >= 4'000'000);
  const std::int64_t system = memory_stats().system_allocations;
  { const Tensor b({1000, 1000}); }
  CHECK(memory_stats().system_allocations == system);
  reset_peak_memory();
  { const Tensor b({1000, 1000}); }
  CHECK(memory_stats().peak == before.current + 4'000'000);
  release_cached_memory();
  CHECK(memory_stats().cached == 0);
}

TEST_CASE("impossible requests are refused with words") {
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 30, std::int64_t{1} << 30}), Error);
  try {
    const Tensor t({std::int64_t{1} << 45});
    FAIL("128 TiB were granted");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::memory);
  }
  CHECK_THROWS_AS(Tensor({2}, DType::f32, Device{DeviceType::cuda, 0}), Error);
  const Tensor t = Tensor::zeros({2});
  CHECK_THROWS_AS(t.data<double>(), Error);
  CHECK_THROWS_AS(t.item(), Error);
  CHECK_THROWS_AS(Tensor().shape(), Error);
  CHECK_THROWS_AS(Tensor::from<float>({3}, {1.f}), Error);
  CHECK_THROWS_AS(Tensor::zeros({2}, DType::i32).set_requires_grad(), Error);
  const Tensor meta({1000000, 1000000}, DType::f32, kMeta);
  CHECK(meta.numel() == 1000000000000);
  CHECK_THROWS_AS(meta.data<float>(), Error);
  CHECK_THROWS_AS(meta.to(kCpu), Error);
}

TEST_CASE("borrowed memory is used where it lies and its owner kept alive") {
  auto owner = std::make_shared<std::vector<float>>(6, 2.f);
  Tensor t = Tensor::borrow(owner->data(), {2, 3}, DType::f32, owner);
  const float* address = owner->data();
  owner.reset();
  CHECK(t.data<float>() == address);
  CHECK(t.data<float>()[5] == 2);
}

TEST_CASE("an empty tensor is allowed everywhere") {
  Tensor t = Tensor::zeros({0, 28, 28, 1});
  CHECK(t.clone().numel() == 0);
  CHECK(t.to(DType::f64).numel() == 0);
  t.fill(1);
  t.accumulate(t.clone());
  CHECK(t.slice(0, 0).shape() == t.shape());
  CHECK(t.to_vector<float>().empty());
}
