// The real cuDNN, asked about a GPU that is only described: whether it takes our graphs, and has plans for them. Needs
// no GPU; what the plans compute is for conv_cudnn_test.cc.
#ifndef FOVEA_CUDA_DOUBLE
#include <optional>
#include <string_view>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "kernels/cuda/cudnn_graph.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::kernels::cuda;

namespace {

using Direction = Conv2dProblem::Direction;
constexpr Direction kDirections[] = {Direction::forward, Direction::backward_data, Direction::backward_weights};

/// An H100, in the words of cuDNN 9.19.
constexpr std::string_view kDescription = R"({
  "deviceName": "NVIDIA H100 80GB HBM3", "cudaDeviceId": 0, "pciDeviceId": 0, "isTccDriver": 0,
  "deviceVer": 900, "driverVer": 13000, "multiProcessorCount": 132, "warpSize": 32, "supportCoopLaunch": 1,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024,
  "maxThreadsPerSM": 2048, "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024, "l2CacheSize": 52428800, "totalGlobalMem": 85000000000,
  "smClockRateKHz": 1980000, "memClockRateKHz": 2619000})";

/// Nothing where this version of cuDNN describes GPUs in other words.
std::optional<Descriptor> described_gpu() {
  Descriptor d(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  d.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::ssize(kDescription), kDescription.data());
  try {
    d.finalize();
  } catch (const Error&) {
    return std::nullopt;
  }
  return d;
}

ConvKey square(std::int64_t n, std::int64_t size, std::int64_t ci, std::int64_t co, std::int64_t taps, int stride,
               int padding, int groups = 1, int dilation = 1) {
  ConvKey k;
  k.n = n;
  k.h = k.w = size;
  k.ci = ci;
  k.co = co;
  k.kh = k.kw = taps;
  k.stride = {stride, stride};
  k.padding = {padding, padding};
  k.dilation = {dilation, dilation};
  k.groups = groups;
  k.ho = k.wo = (size + 2 * padding - dilation * (taps - 1) - 1) / stride + 1;
  return k;
}

/// Networks' first layers, blocks of ResNet, ResNeXt and ShuffleNet, an odd one.
const ConvKey kConvolutions[] = {
    square(32, 224, 3, 32, 3, 2, 1),   square(1, 225, 3, 32, 3, 2, 0),       square(32, 224, 3, 64, 7, 2, 3),
    square(32, 56, 64, 64, 3, 1, 1),   square(8, 14, 256, 512, 3, 2, 1),     square(32, 56, 256, 512, 1, 2, 0),
    square(3, 13, 5, 7, 3, 2, 0),      square(2, 28, 32, 32, 3, 1, 2, 1, 2), square(32, 56, 128, 128, 3, 1, 1, 32),
    square(4, 28, 24, 24, 3, 1, 1, 3),
};

std::string text(const ConvKey& k) {
  return str("direction ", static_cast<int>(k.direction), " ", to_string(k.dtype), " tf32 ", k.tf32, " NHWC ", k.n, ",",
             k.h, ",", k.w, ",", k.ci, " kernel ", k.kh, "×", k.kw, " to ", k.co, " stride ", k.stride.h, ",",
             k.stride.w, " padding ", k.padding.h, ",", k.padding.w, " dilation ", k.dilation.h, ",", k.dilation.w,
             " groups ", k.groups);
}

}  // namespace

#define FOVEA_NEEDS_DESCRIPTION(name)                     \
  const std::optional<Descriptor> name = described_gpu(); \
  if (!name) FOVEA_SKIP("this version of cuDNN describes GPUs in other words")

TEST_CASE("cuDNN has plans for the convolutions of networks, exact in f32 and repeatable") {
  FOVEA_NEEDS_DESCRIPTION(h100);
  for (const Direction direction : kDirections) {
    for (ConvKey key : kConvolutions) {
      key.direction = direction;
      INFO(text(key));
      const std::vector<ConvPlan> plans = make_conv_plans(key, {nullptr, h100->get()}, 32);
      CHECK_FALSE(plans.empty());
      for (const ConvPlan& plan : plans) CHECK(plan.workspace() <= kWorkspaceLimit);
      key.tf32 = true;
      CHECK(make_conv_plans(key, {nullptr, h100->get()}, 32).size() > plans.size());
    }
  }
}

TEST_CASE("cuDNN has plans for the same convolutions in bf16 and f16") {
  FOVEA_NEEDS_DESCRIPTION(h100);
  for (const DType half : {DType::bf16, DType::f16}) {
    for (const Direction direction : kDirections) {
      for (ConvKey key : kConvolutions) {
        key.direction = direction;
        key.dtype = half;
        INFO(text(key));
        CHECK_FALSE(make_conv_plans(key, {nullptr, h100->get()}, 1).empty());
      }
    }
  }
}

TEST_CASE("cuDNN fuses bias and relu") {
  FOVEA_NEEDS_DESCRIPTION(h100);
  for (ConvKey key : kConvolutions) {
    key.bias = true;
    for (const Activation act : {Activation::none, Activation::relu}) {
      key.activation = act;
      INFO(text(key) << " " << to_string(act));
      CHECK_FALSE(make_conv_plans(key, {nullptr, h100->get()}, 1).empty());
    }
  }
}

TEST_CASE("cuDNN takes every graph that is made, or says that it does not support it") {
  FOVEA_NEEDS_DESCRIPTION(h100);
  Rng rng(1, "cudnn offline");
  const auto in = [&](int low, int high) {
    return low + static_cast<int>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  for (int i = 0; i < 36; ++i) {  // some engines are compiled for it: 50 ms each
    ConvKey k = square(in(1, 5), in(8, 40), 1, 1, 1, 1, 0);
    k.direction = kDirections[i % 3];
    k.tf32 = in(0, 1) == 1;
    if (i % 4 == 3) k.dtype = in(0, 1) == 1 ? DType::bf16 : DType::f16;
    k.groups = in(0, 2) == 0 ? in(1, 6) : 1;
    k.ci = in(1, 20) * k.groups;
    k.co = in(1, 20) * k.groups;
    k.kh = in(1, 4), k.kw = in(1, 4);
    k.w = in(8, 40);
    k.stride = {in(1, 3), in(1, 3)};
    k.dilation = {in(1, 2), in(1, 2)};
    k.padding = {in(0, 3), in(0, 3)};
    k.ho = (k.h + 2 * k.padding.h - k.dilation.h * (k.kh - 1) - 1) / k.stride.h + 1;
    k.wo = (k.w + 2 * k.padding.w - k.dilation.w * (k.kw - 1) - 1) / k.stride.w + 1;
    k.align_x = 4 << in(0, 2), k.align_y = 4 << in(0, 2);
    INFO(text(k));
    CHECK_FALSE(make_conv_plans(k, {nullptr, h100->get()}, 1).empty());
    if (k.direction != Direction::forward) continue;
    for (int a = 0; a <= static_cast<int>(Activation::tanh); ++a) {
      k.activation = static_cast<Activation>(a);
      if (!fusible(k.activation) || in(0, 2) != 0) continue;
      k.bias = k.activation == Activation::none || in(0, 1) == 1;
      k.align_bias = 4 << in(0, 2);
      k.alpha = k.activation == Activation::leaky_relu ? 0.1 : 0;
      INFO(to_string(k.activation));
      CHECK_NOTHROW(make_conv_plans(k, {nullptr, h100->get()}, 1));
    }
  }
}
#endif
