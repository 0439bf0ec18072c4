// Kernels on u8 and i8 against the formula in plain integers: equal to the last bit, on every shape with tails.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "catch.h"
#include "core/threads/parallel.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_conv.h"
#include "kernels/simd_targets.h"

using namespace fovea;
using namespace fovea::kernels;
using simd::Element;

namespace {

struct Threads {
  explicit Threads(int n) : before(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before;
};

template <class T>
std::vector<T> random_bytes(std::int64_t n, unsigned seed) {
  std::vector<T> v(static_cast<std::size_t>(n));
  std::uint32_t state = seed * 2654435761u + 1;
  for (T& x : v) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<T>(state >> 24);
  }
  return v;
}
std::vector<float> random_floats(std::int64_t n, unsigned seed, float low, float high) {
  std::vector<float> v;
  for (const std::uint8_t b : random_bytes<std::uint8_t>(n, seed))
    v.push_back(low + (high - low) * static_cast<float>(b) / 255.0f);
  return v;
}
std::uint8_t rounded(float y, float low, float high) {
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(y), std::max(0.0f, low), std::min(255.0f, high)));
}

struct More {
  int stride = 1, pad = 0, dilation = 1;
  bool residual = false, clamp = false, from_f32 = false;
};
struct Case {
  std::int64_t n, h, w, ci, co, k;
  More more = {};
};
// Channels that are no multiple of four, rows around the tile of 14, columns around 8, 16, 24 and 32; 4096 channels are
// gathered (rows that compete in L1).
const Case kCases[] = {
    {1, 1, 1, 5, 7, 1},
    {1, 1, 2, 1281, 40, 1},
    {1, 9, 5, 16, 24, 1, {.residual = true}},
    {2, 7, 7, 33, 40, 1, {.clamp = true}},
    {1, 15, 13, 24, 72, 1, {.residual = true, .clamp = true}},
    {3, 1, 1, 129, 10, 1},
    {1, 5, 6, 4096, 9, 1, {.residual = true}},
    {1, 8, 8, 65, 33, 1, {.stride = 2}},
    {2, 9, 11, 3, 32, 3, {.stride = 2, .pad = 1, .from_f32 = true}},
    {1, 8, 8, 3, 17, 3, {.pad = 1, .from_f32 = true}},
    {1, 5, 5, 6, 12, 1, {.from_f32 = true}},
    {1, 7, 7, 8, 48, 3, {.pad = 1, .residual = true}},
    {1, 12, 9, 6, 31, 5, {.pad = 2, .clamp = true}},
    {1, 11, 12, 5, 9, 3, {.pad = 2, .dilation = 2}},
};

void check(const Case& c, bool out_u8) {
  const std::int64_t reach = (c.k - 1) * c.more.dilation + 1;
  const std::int64_t ho = (c.h + 2 * c.more.pad - reach) / c.more.stride + 1,
                     wo = (c.w + 2 * c.more.pad - reach) / c.more.stride + 1;
  const int zero = c.more.pad > 0 ? 113 : 0;
  const std::vector<std::int8_t> w = random_bytes<std::int8_t>(c.k * c.k * c.ci * c.co, 2);
  const std::vector<float> values = random_floats(c.n * c.h * c.w * c.ci, 7, -3, 3);
  std::vector<std::uint8_t> x = random_bytes<std::uint8_t>(c.n * c.h * c.w * c.ci, 1);
  if (c.more.from_f32) {
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = rounded(std::fma(values[i], 40.0f, static_cast<float>(zero)), 0, 255);
  }
  x.resize(x.size() + 64, 0xff);  // what is read behind meets weights of zero
  const std::int64_t count = c.n * ho * wo * c.co;
  const std::vector<std::uint8_t> residual = random_bytes<std::uint8_t>(count, 4);
  const std::vector<float> residual_f32 = random_floats(count, 4, -2, 2);
  std::vector<float> bias = random_floats(c.co, 5, 90, 160);
  const float spread = 0.6f / std::sqrt(static_cast<float>(c.k * c.k * c.ci));
  std::vector<float> scale = random_floats(c.co, 6, spread * 0.005f, spread * 0.02f);
  bias.resize(static_cast<std::size_t>(simd::padded_columns(c.co)) + 16);
  scale.resize(bias.size());

  simd::PlannedConv p;
  p.n = c.n, p.h = c.h, p.w = c.w, p.ci = c.ci, p.ho = ho, p.wo = wo, p.co = c.co;
  p.kh = p.kw = c.k;
  p.stride = {c.more.stride, c.more.stride}, p.dilation = {c.more.dilation, c.more.dilation};
  p.top = p.left = c.more.pad;
  p.clamp = c.more.clamp, p.low = 40, p.high = 170;
  p.in = Element::u8, p.source = c.more.from_f32 ? Element::f32 : Element::u8,
  p.out = out_u8 ? Element::u8 : Element::f32;
  p.bias = bias.data(), p.scale = scale.data();
  p.residual_scale = out_u8 ? 0.3f : 1.0f;
  p.source_inverse_scale = 40.0f;
  p.zero = static_cast<std::uint8_t>(zero);
  const std::int64_t runs = c.more.dilation == 1 ? c.k : c.k * c.k, run = c.k * c.k * c.ci / runs,
                     even = p.packed_run(run);
  std::vector<std::int8_t> filled(static_cast<std::size_t>(runs * even * c.co));
  for (std::int64_t r = 0; r < runs; ++r)
    std::copy_n(w.begin() + r * run * c.co, run * c.co, filled.begin() + r * even * c.co);
  REQUIRE(runs * even == p.packed_rows());
  std::vector<std::int8_t> packed(static_cast<std::size_t>(simd::packed_floats(runs * even, c.co)));
  simd::pack_int8(filled.data(), runs * even, c.co, packed.data());
  p.packed = packed.data();

  std::vector<float> want(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t o = i % c.co, xo = i / c.co % wo, yo = i / c.co / wo % ho, image = i / c.co / wo / ho;
    std::int64_t sum = 0;
    for (std::int64_t ky = 0; ky < c.k; ++ky) {
      for (std::int64_t kx = 0; kx < c.k; ++kx) {
        const std::int64_t row = yo * c.more.stride - c.more.pad + ky * c.more.dilation,
                           col = xo * c.more.stride - c.more.pad + kx * c.more.dilation;
        const bool outside = row < 0 || row >= c.h || col < 0 || col >= c.w;
        for (std::int64_t ch = 0; ch < c.ci; ++ch) {
          const std::size_t at = static_cast<std::size_t>(((image * c.h + row) * c.w + col) * c.ci + ch);
          sum += (outside ? zero : x[at]) * w[static_cast<std::size_t>(((ky * c.k + kx) * c.ci + ch) * c.co + o)];
        }
      }
    }
    const auto s = static_cast<std::size_t>(i);
    float y = std::fma(static_cast<float>(sum), scale[static_cast<std::size_t>(o)], bias[static_cast<std::size_t>(o)]);
    if (c.more.residual)
      y = out_u8 ? std::fma(static_cast<float>(residual[s]), p.residual_scale, y) : residual_f32[s] + y;
    if (c.more.clamp) y = std::min(p.high, std::max(p.low, y));
    want[s] = out_u8 ? static_cast<float>(rounded(y, 0, 255)) : y;
  }

  std::vector<float> got(static_cast<std::size_t>(count) + 16, -77.0f);
  std::vector<std::uint8_t> got_u8(static_cast<std::size_t>(count) + 64, 0xa5);
  const void* const in = c.more.from_f32 ? static_cast<const void*>(values.data()) : x.data();
  const void* const add = out_u8 ? static_cast<const void*>(residual.data()) : residual_f32.data();
  simd::planned_conv(p, in, c.more.residual ? add : nullptr, out_u8 ? static_cast<void*>(got_u8.data()) : got.data());
  INFO("conv " << c.h << "x" << c.w << "x" << c.ci << " -> " << c.co << ", kernel " << c.k << ", u8 result " << out_u8);
  std::int64_t wrong = 0, inner = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    wrong += (out_u8 ? static_cast<float>(got_u8[i]) : got[i]) != want[i] ? 1 : 0;
    inner += want[i] > 0 && want[i] < 255 ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(inner * 4 > count);  // else saturation would hide mistakes
  CHECK(std::all_of(got.begin() + (out_u8 ? 0 : count), got.end(), [](float v) { return v == -77.0f; }));
  CHECK(std::all_of(got_u8.begin() + (out_u8 ? count : 0), got_u8.end(), [](std::uint8_t v) { return v == 0xa5; }));
}

}  // namespace

TEST_CASE("int8 products equal the formula in integers, bit by bit") {
  if (!simd::has_int8()) FOVEA_SKIP("this CPU has no AVX-512 VNNI");
  for (const int threads : {1, 2}) {
    const Threads limit(threads);
    for (const Case& c : kCases) {
      check(c, true);
      check(c, false);
    }
  }
}

TEST_CASE("int8 depthwise rows equal the formula in integers, bit by bit") {
  if (!simd::takes_depthwise_int8(3, 3, 1)) FOVEA_SKIP("this CPU has no AVX-512 VNNI");
  for (const std::int64_t size : {3, 5}) {
    for (const std::int64_t step : {1, 2}) {
      for (const std::int64_t width : {1, 2, 4, 7, 13, 30}) {
        for (const std::int64_t channels : {1, 15, 16, 24, 33, 48, 64, 100, 144}) {
          for (const int missing : {-1, 0, 2}) {  // a kernel row outside the image
            const std::uint8_t* in[simd::kMaxKernelRows];
            simd::DepthwiseRowU8 p;
            p.in = in;
            const std::int64_t pad = size / 2, count = (width + 2 * pad - size) / step + 1;
            std::vector<std::vector<std::uint8_t>> rows;
            for (std::int64_t r = 0; r < size; ++r)
              rows.push_back(random_bytes<std::uint8_t>(width * channels, static_cast<unsigned>(r + 1)));
            const std::vector<std::int8_t> w = random_bytes<std::int8_t>(size * size * channels, 9);
            const std::vector<float> scale = random_floats(channels, 5, 0.0005f, 0.003f),
                                     bias = random_floats(channels, 6, 100, 150);
            std::vector<std::int8_t> packed(static_cast<std::size_t>(simd::depthwise_int8_bytes(size, channels)));
            simd::pack_depthwise_int8(w.data(), size, channels, packed.data());
            std::vector<float> ordered_scale(static_cast<std::size_t>(channels + 15) / 16 * 16);
            std::vector<float> ordered_bias(ordered_scale.size());
            simd::order_channels(scale.data(), channels, ordered_scale.data());
            simd::order_channels(bias.data(), channels, ordered_bias.data());
            const std::vector<std::uint8_t> outside(64, 131);
            std::vector<std::uint8_t> out(static_cast<std::size_t>(count * channels) + 64, 0xa5);
            for (std::int64_t r = 0; r < size; ++r)
              in[r] = r == missing ? nullptr : rows[static_cast<std::size_t>(r)].data();
            p.size = size, p.step = step, p.first = -pad, p.width = width;
            p.packed = packed.data(), p.scale = ordered_scale.data(), p.bias = ordered_bias.data();
            p.outside = outside.data(), p.low = 20, p.high = 240;
            p.out = out.data(), p.count = count, p.channels = p.in_pitch = p.out_pitch = channels;
            simd::depthwise_row(p);
            std::int64_t wrong = 0;
            for (std::int64_t j = 0; j < count; ++j) {
              for (std::int64_t c = 0; c < channels; ++c) {
                int sum = 0;
                for (std::int64_t r = 0; r < size; ++r) {
                  for (std::int64_t t = 0; t < size; ++t) {
                    const std::int64_t at = j * step - pad + t;
                    const bool off = r == missing || at < 0 || at >= width;
                    sum +=
                        (off ? 131 : rows[static_cast<std::size_t>(r)][static_cast<std::size_t>(at * channels + c)]) *
                        w[static_cast<std::size_t>((r * size + t) * channels + c)];
                  }
                }
                const auto s = static_cast<std::size_t>(c);
                wrong += out[static_cast<std::size_t>(j * channels + c)] !=
                                 rounded(std::fma(static_cast<float>(sum), scale[s], bias[s]), 20, 240)
                             ? 1
                             : 0;
              }
            }
            INFO(size << " step " << step << " width " << width << " channels " << channels << " without " << missing);
            CHECK(wrong == 0);
            CHECK(std::all_of(out.begin() + count * channels, out.end(), [](std::uint8_t v) { return v == 0xa5; }));
          }
        }
      }
    }
  }
}

TEST_CASE("u8 and f32 turn into each other on every instruction set") {
  test::for_each_target([] {
    std::vector<float> x = random_floats(101, 3, -9, 9);
    x[0] = std::nanf(""), x[1] = 1e30f, x[2] = -1e30f, x[3] = INFINITY, x[4] = 0.25f, x[5] = 0.75f;
    std::vector<std::uint8_t> q(102, 7);
    simd::to_u8(x.data(), q.data(), 101, 2.0f, 100);
    CHECK(q[101] == 7);
    CHECK(q[0] == 0);
    CHECK(q[1] == 255);
    CHECK(q[2] == 0);
    CHECK(q[3] == 255);
    CHECK(q[4] == 100);  // halves go to the even neighbour
    CHECK(q[5] == 102);
    for (std::size_t i = 6; i < 101; ++i) CHECK(q[i] == rounded(std::fma(x[i], 2.0f, 100.0f), 0, 255));
    std::vector<float> back(102, -1.0f);
    simd::from_u8(q.data(), back.data(), 101, 0.5f, 100);
    CHECK(back[101] == -1.0f);
    for (std::size_t i = 0; i < 101; ++i) CHECK(back[i] == 0.5f * static_cast<float>(q[i] - 100));
  });
}

TEST_CASE("pixels in u8 times a factor for each channel, on every instruction set") {
  test::for_each_target([] {
    for (const std::int64_t channels : {1, 15, 16, 33, 72}) {
      constexpr std::int64_t kPixels = 5;
      const std::vector<std::uint8_t> x = random_bytes<std::uint8_t>(kPixels * channels, 3);
      const std::vector<float> gate = random_floats(channels, 4, 0, 1);
      std::vector<std::uint8_t> y(static_cast<std::size_t>(kPixels * channels) + 16, 0xa5);
      simd::gate_pixels(x.data(), gate.data(), kPixels, channels, 1.25f, 90, 70, y.data());
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < kPixels * channels; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const float want =
            std::fma(static_cast<float>(x[at]) - 90, gate[static_cast<std::size_t>(i % channels)] * 1.25f, 70.0f);
        wrong += y[at] == rounded(want, 0, 255) ? 0 : 1;
      }
      INFO(channels << " channels");
      CHECK(wrong == 0);
      CHECK(std::all_of(y.end() - 16, y.end(), [](std::uint8_t v) { return v == 0xa5; }));
    }
  });
}
