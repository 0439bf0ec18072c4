// Convolutions trained with their batch norms (kernels/conv_norm.h) on single problems: bf16 against f32 on numbers
// that both have, where only the rounding of results may differ; statistics far from zero; what is refused. Against the
// ops apart: tests/layers/fused_test.cc.
#include <cmath>

#include "catch.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/conv_norm.h"
#include "kernels/cpu/simd/planned_gemm.h"

using namespace fovea;
using namespace fovea::kernels;

namespace {

/// Eighths in [-1, 1]: exact in bf16, and so are sums of their products in f32.
Tensor eighths(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed, "eighths");
  Tensor t(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(static_cast<double>(rng.below(17)) / 8 - 1);
  return t;
}

struct Result {
  Tensor y, dw, dx;
};

Result run(const Conv2dParams& params, const Tensor& x, const Tensor& w, const Tensor& g, DType dtype) {
  const Tensor ones = Tensor::ones({w.dim(3)});
  Result r{Tensor(g.shape(), dtype), Tensor(w.shape()), Tensor(x.shape(), dtype)};
  const Tensor in = x.to(dtype), gradient = g.to(dtype);
  conv_norm_forward(params, {in.view()}, w.view(), r.y.mutable_view(), std::nullopt, std::nullopt);
  const NormGradient dy{gradient.view(), r.y.view(), ones.view(), std::nullopt, std::nullopt, std::nullopt};
  conv_norm_backward(params, {in.view()}, w.view(), dy, r.dw.mutable_view(), r.dx.mutable_view(), std::nullopt,
                     std::nullopt);
  return r;
}

/// The largest difference in terms of the largest value.
double difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double most = 0, largest = 1e-30;
  for (std::size_t i = 0; i < x.size(); ++i) {
    most = std::max(most, std::fabs(x[i] - y[i]));
    largest = std::max(largest, std::fabs(y[i]));
  }
  return most / largest;
}

}  // namespace

TEST_CASE("conv_norm in bf16 is f32 up to the rounding of its results") {
  if (!conv_norm_takes_bf16()) FOVEA_SKIP("no AVX-512 BF16 on this CPU");
  // Products of 1×1 convolutions in bf16, and those in f32 of CPUs where these are faster.
  const bool products = GENERATE(true, false);
  CAPTURE(products);
  const simd::PretendBf16ProductsPay pretended(products);
  std::uint64_t seed = 0;
  for (const int kernel : {1, 3, 5}) {
    for (const bool depthwise : {false, true}) {
      if (kernel == 1 && depthwise) continue;
      for (const int stride : {1, 2}) {
        if (kernel == 1 && stride == 2) continue;
        for (const std::int64_t ci : {3, 16, 33, 64}) {
          for (const std::int64_t other : {1, 24, 47, 160}) {
            if (depthwise && other > 1) continue;
            const std::int64_t co = depthwise ? ci : other, h = 5 + static_cast<std::int64_t>(seed % 9), w = 7;
            CAPTURE(kernel, depthwise, stride, ci, co, h);
            Conv2dParams params;
            params.stride = {stride, stride};
            params.padding = Padding::same_both(kernel / 2);
            if (depthwise) params.groups = static_cast<int>(ci);
            const Tensor x = eighths({3, h, w, ci}, ++seed);
            const Tensor weights = eighths({kernel, kernel, depthwise ? 1 : ci, co}, ++seed);
            const Tensor g = eighths(conv2d_shape(params, x.shape(), weights.shape()), ++seed);
            const Result half = run(params, x, weights, g, DType::bf16), full = run(params, x, weights, g, DType::f32);
            CHECK(difference(half.y, full.y) <= 0x1p-8);
            CHECK(difference(half.dx, full.dx) <= 0x1p-8);
            // Winograd's products (3×3, not depthwise) are of sums and differences, and round.
            CHECK(difference(half.dw, full.dw) <= 1e-6);
          }
        }
      }
    }
  }
}

TEST_CASE("statistics of conv_norm lose nothing where the mean is large") {
  // One channel of x is 1000 everywhere but for a little noise: the mean of y is 1000 times its deviation.
  for (const int kernel : {1, 3}) {
    for (const bool depthwise : {false, true}) {
      if (kernel == 1 && depthwise) continue;
      CAPTURE(kernel, depthwise);
      const std::int64_t c = 20;
      Tensor x({4, 30, 30, c});
      Rng rng(5, "x");
      for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(1000 + rng.normal());
      Tensor w = Tensor::zeros({kernel, kernel, depthwise ? 1 : c, c});
      for (std::int64_t i = 0; i < c; ++i) {
        const std::int64_t middle = (kernel * kernel / 2) * (depthwise ? c : c * c);
        w.mutable_data<float>()[middle + (depthwise ? i : i * c + i)] = 1;  // the identity
      }
      Conv2dParams params;
      params.padding = Padding::same_both(kernel / 2);
      if (depthwise) params.groups = static_cast<int>(c);
      Tensor y(x.shape()), mean({c}), variance({c});
      conv_norm_forward(params, {x.view()}, w.view(), y.mutable_view(), mean.mutable_view(), variance.mutable_view());
      const std::vector<double> values = y.to_vector<double>();
      const auto rows = static_cast<double>(x.numel() / c);
      for (std::int64_t k = 0; k < c; ++k) {
        double m = 0, v = 0;
        for (std::size_t i = static_cast<std::size_t>(k); i < values.size(); i += static_cast<std::size_t>(c))
          m += values[i];
        m /= rows;
        for (std::size_t i = static_cast<std::size_t>(k); i < values.size(); i += static_cast<std::size_t>(c))
          v += (values[i] - m) * (values[i] - m);
        CHECK(std::fabs(static_cast<double>(mean.data<float>()[k]) - m) < 1e-4);
        CHECK(std::fabs(static_cast<double>(variance.data<float>()[k]) - v / rows) < 1e-4 * v / rows);
      }
    }
  }
}

TEST_CASE("conv_norm says what it does not take") {
  const Tensor x = Tensor::zeros({1, 4, 4, 3}), w = Tensor::zeros({1, 1, 3, 5}), c3 = Tensor::ones({3});
  Tensor y({1, 4, 4, 5}), wrong({1, 4, 4, 6});
  const auto forward = [&](const NormalizedView& in, const View& to) {
    conv_norm_forward({}, in, w.view(), to, std::nullopt, std::nullopt);
  };
  CHECK_THROWS_AS(forward({x.view()}, wrong.mutable_view()), Error);
  CHECK_THROWS_AS(forward({x.view(), c3.view(), c3.view()}, y.mutable_view()), Error);
  CHECK_THROWS_AS(forward({x.view(), std::nullopt, std::nullopt, std::nullopt, {Activation::relu}}, y.mutable_view()),
                  Error);
  CHECK_THROWS_AS(forward({x.view(), c3.view(), c3.view(), c3.view(), {Activation::tanh}}, y.mutable_view()), Error);
  const Tensor f64 = x.to(DType::f64);
  CHECK_THROWS_AS(forward({f64.view()}, y.mutable_view()), Error);
  // An empty batch is answered.
  const Tensor none({0, 4, 4, 3});
  Tensor nothing({0, 4, 4, 5}), mean = Tensor::ones({5}), variance = Tensor::ones({5});
  conv_norm_forward({}, {none.view()}, w.view(), nothing.mutable_view(), mean.mutable_view(), variance.mutable_view());
  CHECK(mean.data<float>()[0] == 0.0f);
}
