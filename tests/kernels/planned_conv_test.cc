// The kernels of compiled inference against the reference convolution, on every instruction set: tails of rows and
// columns, padding, strides, dilation, residual, clamp, bf16.
#include "kernels/cpu/simd/planned_conv.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/dtype.h"
#include "core/threads/parallel.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/registry.h"
#include "kernels/simd_targets.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::test;

namespace {

struct More {
  int stride = 1, dilation = 1;
  int top = 0, left = 0, bottom = 0, right = 0;
  bool residual = false, clamp = false;
  Activation after = Activation::none;
};
struct Case {
  std::int64_t n, h, w, ci, co, kh, kw;
  More more = {};
};

// Widths and channels around the tiles of 14 and 6 rows and vectors of 16, 8 and 4; 1024 channels (512 at a stride of
// 2) are gathered; the others take windows, copied where there is padding.
const Case kCases[] = {
    {1, 1, 1, 5, 7, 1, 1},
    {1, 9, 5, 16, 24, 1, 1, {.residual = true}},
    {2, 7, 7, 33, 40, 1, 1, {.clamp = true}},
    {1, 15, 13, 24, 72, 1, 1, {.residual = true, .clamp = true}},
    {3, 1, 1, 129, 10, 1, 1},
    {1, 5, 6, 1024, 37, 1, 1, {.residual = true}},
    {1, 8, 8, 512, 33, 1, 1, {.stride = 2, .bottom = 1, .right = 1}},
    {1, 9, 8, 512, 33, 1, 1, {.stride = 2}},
    {2, 9, 11, 3, 32, 3, 3, {.stride = 2, .top = 0, .left = 0, .bottom = 1, .right = 1, .clamp = true}},
    {1, 8, 8, 3, 17, 3, 3, {.stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1}},
    {1, 7, 7, 8, 48, 3, 3, {.top = 1, .left = 1, .bottom = 1, .right = 1, .residual = true}},
    {1, 12, 9, 6, 31, 5, 3, {.top = 2, .left = 1, .bottom = 2, .right = 1}},
    {1, 17, 16, 4, 16, 1, 7, {.left = 3, .right = 3}},
    {1, 11, 12, 5, 9, 3, 3, {.dilation = 2, .top = 2, .left = 2, .bottom = 2, .right = 2}},
    {1, 40, 41, 20, 56, 3, 3, {.top = 1, .left = 1, .bottom = 1, .right = 1, .clamp = true}},
    {2, 6, 6, 10, 12, 3, 3},
    {1, 15, 13, 24, 72, 1, 1, {.residual = true, .after = Activation::hard_swish}},
    {2, 20, 20, 12, 40, 1, 1, {.after = Activation::silu}},
    {1, 12, 30, 6, 31, 5, 3, {.top = 2, .left = 1, .bottom = 2, .right = 1, .after = Activation::hard_swish}},
    {1, 9, 8, 1024, 33, 1, 1, {.after = Activation::silu}},
    // More columns than twice the rows: threads share the weights. Windows for several panels at once.
    {1, 5, 6, 1024, 135, 1, 1, {.residual = true, .clamp = true}},
    {1, 7, 7, 512, 130, 1, 1, {.stride = 2, .after = Activation::silu}},
    {1, 7, 7, 40, 150, 3, 3, {.top = 1, .left = 1, .bottom = 1, .right = 1, .residual = true}},
    {1, 9, 9, 64, 70, 3, 3, {.stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1}},
};

std::vector<float> rounded(std::vector<float> v) {
  for (float& x : v) x = static_cast<float>(bf16(x));
  return v;
}

std::vector<std::uint16_t> halves(const std::vector<float>& v) {
  std::vector<std::uint16_t> h(v.size() + 32);
  simd::to_bf16(v.data(), h.data(), static_cast<std::int64_t>(v.size()));
  return h;
}

void check(const Case& c, bool in_bf16, bool out_bf16, bool convert) {
  const Conv2dParams params{.stride = {c.more.stride, c.more.stride},
                            .padding = Padding::sides(c.more.top, c.more.bottom, c.more.left, c.more.right),
                            .dilation = {c.more.dilation, c.more.dilation}};
  const Shape x_shape{c.n, c.h, c.w, c.ci}, w_shape{c.kh, c.kw, c.ci, c.co};
  const Shape y_shape = conv2d_shape(params, x_shape, w_shape);
  std::vector<float> x = random_values(x_shape.numel(), 1), w = random_values(w_shape.numel(), 2),
                     bias = random_values(c.co, 3), residual = random_values(y_shape.numel(), 4);
  if (in_bf16) x = rounded(x), w = rounded(w);
  if (out_bf16) residual = rounded(residual);
  std::vector<float> want(static_cast<std::size_t>(y_shape.numel()));
  {
    const ForceImplementation reference("reference");
    conv2d_forward(params, view_of(std::as_const(x), x_shape), view_of(std::as_const(w), w_shape),
                   view_of(std::as_const(bias), {c.co}), view_of(want, y_shape));
  }
  const std::int64_t k = c.kh * c.kw * c.ci;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (c.more.residual) want[i] += residual[i];
    if (c.more.clamp) want[i] = std::min(6.0f, std::max(0.0f, want[i]));
  }
  const std::vector<float> before = want;
  if (c.more.after != Activation::none) {
    const ForceImplementation reference("reference");
    activation_forward({c.more.after}, view_of(before, y_shape), view_of(want, y_shape));
  }

  simd::PlannedConv p;
  p.n = c.n, p.h = c.h, p.w = c.w, p.ci = c.ci, p.ho = y_shape[1], p.wo = y_shape[2], p.co = c.co;
  p.kh = c.kh, p.kw = c.kw, p.stride = params.stride, p.dilation = params.dilation, p.top = c.more.top,
  p.left = c.more.left;
  p.clamp = c.more.clamp, p.low = 0, p.high = 6;
  p.after.kind = c.more.after;
  p.in = in_bf16 ? simd::Element::bf16 : simd::Element::f32;
  p.source = in_bf16 && !convert ? simd::Element::bf16 : simd::Element::f32;
  p.out = out_bf16 ? simd::Element::bf16 : simd::Element::f32;
  std::vector<float> padded(static_cast<std::size_t>(simd::padded_columns(c.co)) + 16);
  std::copy(bias.begin(), bias.end(), padded.begin());
  p.bias = padded.data();
  std::vector<float> packed;
  std::vector<std::uint16_t> packed_half;
  if (in_bf16) {
    const std::int64_t runs = c.more.dilation == 1 ? c.kh : c.kh * c.kw, run = k / runs, even = p.packed_run(run);
    std::vector<float> filled(static_cast<std::size_t>(runs * even * c.co));
    for (std::int64_t r = 0; r < runs; ++r)
      std::copy_n(w.begin() + r * run * c.co, run * c.co, filled.begin() + r * even * c.co);
    REQUIRE(runs * even == p.packed_rows());
    packed_half.resize(static_cast<std::size_t>(simd::packed_floats(runs * even, c.co)));
    simd::pack_bf16(filled.data(), runs * even, c.co, packed_half.data());
    p.packed = packed_half.data();
  } else {
    const std::int64_t run = c.more.dilation == 1 ? c.kw * c.ci : c.ci;
    packed.resize(static_cast<std::size_t>(simd::planned_floats(k, run, c.co)));
    simd::pack_planned({w.data(), c.co, 0, k, k, c.co, 0, simd::panel_count(c.co), packed.data()}, run);
    p.packed = packed.data();
  }
  // A guard behind the result: not a byte past it may be written.
  const std::vector<std::uint16_t> x_half = halves(x), residual_half = halves(residual);
  std::vector<float> got(want.size() + 16, -77.0f);
  std::vector<std::uint16_t> got_half(want.size() + 16, 0x1234);
  const void* const in = p.source == simd::Element::bf16 ? static_cast<const void*>(x_half.data()) : x.data();
  const void* const add = out_bf16 ? static_cast<const void*>(residual_half.data()) : residual.data();
  simd::planned_conv(p, in, c.more.residual ? add : nullptr,
                     out_bf16 ? static_cast<void*>(got_half.data()) : got.data());
  if (out_bf16) simd::from_bf16(got_half.data(), got.data(), static_cast<std::int64_t>(want.size()));

  INFO("conv " << x_shape.to_string() << " " << w_shape.to_string() << " stride " << c.more.stride << " bf16 in "
               << in_bf16 << " out " << out_bf16);
  // f32: k products of at most 4, rounded in any order. bf16 operands are exact here; a bf16 result has 8 bits, twice
  // where an activation (of slopes up to 1.5) follows.
  const double rounding = 4e-6 * std::sqrt(static_cast<double>(k)) + 1e-6;
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double slope = c.more.after != Activation::none ? 1.5 : 0.0;
    const double halves = std::abs(static_cast<double>(want[i])) + slope * std::abs(static_cast<double>(before[i]));
    const double allowed = rounding * (4 + 4 * slope) + (out_bf16 ? halves / 256.0 : 0.0);
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])) / allowed);
  }
  CHECK(worst <= 1.0);
  for (std::size_t i = want.size(); i < want.size() + 16; ++i) {
    CHECK(got[i] == -77.0f);
    CHECK(got_half[i] == 0x1234);
  }
}

}  // namespace

TEST_CASE("planned convolutions agree with the reference on every instruction set") {
  for_each_target([] {
    for (const Case& c : kCases) {
      check(c, false, false, false);
      check(c, false, true, false);
    }
  });
}

TEST_CASE("planned convolutions: a NaN beside a window does not reach its result") {
  // Runs of 15 values; 8 and 24 columns are multiplied by pairs of them on AVX-512.
  for (const std::int64_t co : {8, 24}) {
    simd::PlannedConv p;
    p.n = 1, p.h = p.w = 8, p.ci = 5, p.kh = p.kw = 3, p.ho = p.wo = 6, p.co = co;
    std::vector<float> x(8 * 8 * 5, 1.0f), bias(64), y(static_cast<std::size_t>(6 * 6 * co));
    x[(3 * 8 + 4) * 5] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> w(static_cast<std::size_t>(45 * co), 1.0f);
    std::vector<float> packed(static_cast<std::size_t>(simd::planned_floats(45, 15, co)));
    simd::pack_planned({w.data(), co, 0, 45, 45, co, 0, simd::panel_count(co), packed.data()}, 15);
    p.packed = packed.data(), p.bias = bias.data();
    simd::planned_conv(p, x.data(), nullptr, y.data());
    for (std::int64_t i = 0; i < 6 * 6 * co; ++i) {
      const std::int64_t row = i / co / 6, column = i / co % 6;
      const bool sees = row >= 1 && row <= 3 && column >= 2 && column <= 4;
      CHECK(std::isnan(y[static_cast<std::size_t>(i)]) == sees);
    }
  }
}

TEST_CASE("planned convolutions on bf16 agree with the reference on rounded operands") {
  if (!simd::has_bf16()) FOVEA_SKIP("this CPU has no AVX-512 BF16");
  for (const Case& c : kCases) {
    if (c.ci % 2 == 0) {
      check(c, true, true, false);
      check(c, true, false, false);
    }
    if (c.kh * c.kw > 1) check(c, true, true, true);
  }
}

TEST_CASE("planned convolutions do not depend on the number of threads") {
  for (const Case& c : kCases) {
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      check(c, false, false, false);
    }
  }
  set_num_threads(2);
}

TEST_CASE("depthwise rows on bf16 agree with f32 on rounded operands") {
  struct Row {
    std::int64_t width, channels, taps, step, first, count;
    int rows;
  };
  const Row rows[] = {{7, 40, 3, 1, -1, 7, 3},  {14, 33, 3, 2, 0, 7, 2},  {15, 96, 5, 1, -2, 15, 5},
                      {9, 5, 3, 1, -1, 9, 1},   {16, 64, 5, 2, -1, 8, 4}, {3, 31, 3, 1, -1, 3, 2},
                      {12, 20, 2, 1, 0, 11, 2}, {5, 17, 7, 1, -3, 5, 3}};
  const auto run = [&] {
    for (const Row& c : rows) {
      INFO("width " << c.width << " channels " << c.channels << " taps " << c.taps << " step " << c.step);
      const std::vector<float> x = rounded(random_values(c.rows * c.width * c.channels, 5));
      const std::vector<float> w = random_values(c.rows * c.taps * c.channels, 6), bias = random_values(c.channels, 7);
      const std::vector<std::uint16_t> x_half = halves(x);
      const auto size = static_cast<std::size_t>(c.count * c.channels);
      std::vector<float> want(size), got(size);
      std::vector<std::uint16_t> got_half(size + 32, 0x1234);
      const void* in[simd::kMaxKernelRows];
      const float* weights[simd::kMaxKernelRows];
      simd::DepthwiseRow row;
      row.in = in, row.weights = weights;
      row.rows = c.rows, row.taps = c.taps, row.step = c.step, row.first = c.first, row.width = c.width;
      row.bias = bias.data(), row.low = -1, row.high = 2, row.count = c.count;
      row.channels = row.in_pitch = row.out_pitch = row.weight_pitch = c.channels;
      for (int r = 0; r < c.rows; ++r) {
        in[r] = x.data() + r * c.width * c.channels;
        weights[r] = w.data() + r * c.taps * c.channels;
      }
      row.out = want.data();
      simd::depthwise_row(row);
      // The f32 kernel itself meets the reference in agreement_conv_test.cc.
      row.element = simd::Element::bf16;
      for (int r = 0; r < c.rows; ++r) in[r] = x_half.data() + r * c.width * c.channels;
      row.out = got_half.data();
      simd::depthwise_row(row);
      simd::from_bf16(got_half.data(), got.data(), static_cast<std::int64_t>(size));
      double worst = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const double allowed = std::abs(want[i]) / 256.0 + 1e-5;
        worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])) / allowed);
      }
      CHECK(worst <= 1.0);
      for (std::size_t i = size; i < size + 32; ++i) CHECK(got_half[i] == 0x1234);
    }
  };
  run();
  for_each_target(run);
}

TEST_CASE("depthwise rows by pairs of bf16 agree with f32 on rounded operands") {
  if (!simd::takes_depthwise_bf16(3, 3, 1)) FOVEA_SKIP("this CPU has no AVX-512 BF16");
  for (const std::int64_t size : {3, 5}) {
    for (const std::int64_t step : {1, 2}) {
      for (const std::int64_t width : {1, 2, 4, 7, 13, 30}) {
        for (const std::int64_t channels : {1, 15, 16, 24, 33, 48, 64, 100}) {
          for (const int missing : {-1, 0, static_cast<int>(size) - 1}) {  // a kernel row outside the image
            const std::int64_t pad = size / 2, count = (width + 2 * pad - size) / step + 1;
            const std::vector<float> x = rounded(random_values(size * width * channels, 5));
            const std::vector<float> w = rounded(random_values(size * size * channels, 6));
            const std::vector<float> bias = random_values(channels, 7);
            const std::vector<std::uint16_t> x_half = halves(x);
            std::vector<std::uint16_t> packed(static_cast<std::size_t>(simd::depthwise_bf16_count(size, channels)));
            simd::pack_depthwise_bf16(w.data(), size, channels, packed.data());
            std::vector<float> ordered(static_cast<std::size_t>((channels + 15) / 16 * 16));
            simd::order_channels_bf16(bias.data(), channels, ordered.data());
            std::vector<std::uint16_t> out(static_cast<std::size_t>(count * channels) + 32, 0x1234);
            const std::uint16_t* in[simd::kMaxKernelRows];
            simd::DepthwiseRowBf16 p;
            p.in = in;
            for (std::int64_t r = 0; r < size; ++r)
              in[r] = r == missing ? nullptr : x_half.data() + r * width * channels;
            p.size = size, p.step = step, p.first = -pad, p.width = width;
            p.packed = packed.data(), p.bias = ordered.data(), p.low = -1, p.high = 3;
            p.out = out.data(), p.count = count, p.channels = p.in_pitch = p.out_pitch = channels;
            simd::depthwise_row(p);
            double worst = 0;
            for (std::int64_t j = 0; j < count; ++j) {
              for (std::int64_t c = 0; c < channels; ++c) {
                double sum = static_cast<double>(bias[static_cast<std::size_t>(c)]), size_of_terms = std::abs(sum);
                for (std::int64_t r = 0; r < size; ++r) {
                  for (std::int64_t t = 0; t < size; ++t) {
                    const std::int64_t at = j * step - pad + t;
                    if (r == missing || at < 0 || at >= width) continue;
                    const double term =
                        static_cast<double>(x[static_cast<std::size_t>((r * width + at) * channels + c)]) *
                        static_cast<double>(w[static_cast<std::size_t>((r * size + t) * channels + c)]);
                    sum += term;
                    size_of_terms += std::abs(term);
                  }
                }
                const double want = std::clamp(sum, -1.0, 3.0);
                const double got = static_cast<double>(
                    std::bit_cast<float>(std::uint32_t{out[static_cast<std::size_t>(j * channels + c)]} << 16));
                // Half a step of bf16, and sums of f32.
                worst = std::max(worst, std::abs(got - want) / (std::abs(want) / 256.0 + 3e-6 * size_of_terms));
              }
            }
            INFO(size << " step " << step << " width " << width << " channels " << channels << " without " << missing);
            CHECK(worst <= 1.0);
            for (std::size_t i = out.size() - 32; i < out.size(); ++i) CHECK(out[i] == 0x1234);
          }
        }
      }
    }
  }
}

TEST_CASE("bf16 conversion rounds to nearest even and keeps NaN and infinity") {
  for_each_target([] {
    std::vector<float> v = random_values(1003, 8, -1e6, 1e6);
    v[0] = std::nanf("");
    v[1] = INFINITY;
    v[2] = -INFINITY;
    v[3] = 1.00390625f;  // half way between two: to the even one
    v[4] = 1.01171875f;
    v[5] = 3.4e38f;  // rounds to infinity
    v[6] = -0.0f;
    const std::vector<std::uint16_t> h = halves(v);
    std::vector<float> back(v.size());
    simd::from_bf16(h.data(), back.data(), static_cast<std::int64_t>(v.size()));
    CHECK(std::isnan(back[0]));
    for (std::size_t i = 1; i < v.size(); ++i) {
      CHECK(h[i] == bf16(v[i]).bits);
      CHECK(back[i] == static_cast<float>(bf16(v[i])));
    }
  });
}
