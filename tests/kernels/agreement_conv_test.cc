// Fast convolutions against the reference in double: kernel × stride × dilation × padding × groups × channels × size.
// c = 4: products and sums in f32 in any order of blocks; the errors of K terms grow with √K while Σ|x·w| grows with K.
#include <algorithm>

#include "agreement.h"
#include "core/tensor.h"
#include "kernels/conv2d.h"
#include "tests/kernels/conv_words.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::agreement;

namespace {

constexpr double kC = 4;

struct Case {
  Shape x, w;
  Conv2dParams params;
  bool bias = false;
  ActivationParams act{Activation::none};
  std::int64_t misalign = 0;

  std::string to_string() const {
    return str(test::words(x, w, params), bias ? " bias" : "", " act ", kernels::to_string(act.kind), " misaligned by ",
               misalign);
  }
};

std::int64_t work(const Case& c) {
  const Shape y = conv2d_shape(c.params, c.x, c.w);
  return y.numel() * c.w[0] * c.w[1] * c.w[2];
}

/// What the reference says in double, of a direction and of its rounding errors' scale.
struct Expected {
  Doubles value, magnitude;
  explicit Expected(const Shape& s) : value(s), magnitude(s) {}
};

/// All three directions of one case, the fast one on every instruction set.
void compare(const Case& c, Tally& forward, Tally& data, Tally& weights) {
  Rng rng(7, "conv agreement", static_cast<std::uint64_t>(c.x.numel() * 31 + c.w.numel()));
  const Shape ys = conv2d_shape(c.params, c.x, c.w), channels{c.w[3]};
  Floats x(c.x, c.misalign), w(c.w, c.misalign), bias(channels), dy(ys, c.misalign);
  for (Floats* f : {&x, &w, &bias, &dy}) f->fill_uniform(rng);
  const Doubles x64(x), w64(w), bias64(bias), dy64(dy);
  INFO(c.to_string());

  Floats y(ys, c.misalign), dx(c.x, c.misalign), dw(c.w, c.misalign), dbias(channels);
  const auto maybe = [&](const ConstView& v) { return c.bias ? OptionalView(v) : OptionalView(); };
  const auto maybe_out = [&](View v) { return c.bias ? std::optional<View>(v) : std::nullopt; };
  if (c.x.numel() == 0) {  // an empty batch reaches no implementation: nothing to sum, and no forcing may make it fail
    const ForceImplementation force(forward.prefix, true);
    conv2d_forward(c.params, x, w, maybe(bias), y.view(), c.act);
    conv2d_backward_data(c.params, dy, w, dx.view());
    conv2d_backward_weights(c.params, x, dy, dw.view(), dbias.view());
    CHECK(difference(dw, Doubles(c.w), Doubles(c.w), kC).empty());
    CHECK(difference(dbias, Doubles(channels), Doubles(channels), kC).empty());
    return;
  }
  Expected want_y(ys), want_dx(c.x), want_dw(c.w), want_dbias(channels);
  {
    const ForceImplementation force("reference");
    conv2d_forward(c.params, x64, w64, maybe(bias64), want_y.value.view(), c.act);
    conv2d_forward(c.params, x64.absolute(), w64.absolute(), maybe(bias64.absolute()), want_y.magnitude.view());
    conv2d_backward_data(c.params, dy64, w64, want_dx.value.view());
    conv2d_backward_data(c.params, dy64.absolute(), w64.absolute(), want_dx.magnitude.view());
    conv2d_backward_weights(c.params, x64, dy64, want_dw.value.view(), want_dbias.value.view());
    conv2d_backward_weights(c.params, x64.absolute(), dy64.absolute(), want_dw.magnitude.view(),
                            want_dbias.magnitude.view());
  }
  const auto check = [](const char* what, const Floats& have, const Expected& want) {
    const std::string wrong = difference(have, want.value, want.magnitude, kC);
    INFO(what << ": " << wrong);
    CHECK(wrong.empty());
  };
  on_targets(forward.prefix, [&] {
    for (Floats* f : {&y, &dx, &dw, &dbias}) f->poison();
    if (forward.run([&] { conv2d_forward(c.params, x, w, maybe(bias), y.view(), c.act); })) check("forward", y, want_y);
    if (data.run([&] { conv2d_backward_data(c.params, dy, w, dx.view()); })) check("backward_data", dx, want_dx);
    if (weights.run([&] { conv2d_backward_weights(c.params, x, dy, dw.view(), maybe_out(dbias.view())); })) {
      check("backward_weights", dw, want_dw);
      if (c.bias) check("dbias", dbias, want_dbias);
    }
  });
  CHECK(x.margins_intact());
  CHECK(w.margins_intact());
  CHECK(dy.margins_intact());
}

constexpr std::int64_t kChannels[] = {1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64};
constexpr std::int64_t kSizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 17, 28};
constexpr int kKernels[] = {1, 2, 3, 3, 3, 5, 7};
constexpr Activation kFused[] = {Activation::none, Activation::none, Activation::relu, Activation::relu6};

Padding random_padding(Rng& rng, int kh, int kw) {
  switch (rng.below(5)) {
    case 0: return Padding::valid();
    case 1: return Padding::symmetric(kh / 2, kw / 2);
    case 2: return Padding::tf_same();
    case 3: return Padding::sides(0, kh / 2, 0, kw / 2);
    default:
      return Padding::sides(static_cast<int>(rng.below(4)), static_cast<int>(rng.below(4)),
                            static_cast<int>(rng.below(4)), static_cast<int>(rng.below(4)));
  }
}

enum class Groups { one, some, depthwise };

/// A case that fits and is small enough, drawn from all combinations.
Case random_case(Rng& rng, Groups groups) {
  for (;;) {
    Case c;
    const int kh = pick(rng, kKernels), kw = rng.chance(0.8) ? kh : pick(rng, kKernels);
    const std::int64_t n = pick(rng, {0, 1, 1, 3});
    const std::int64_t h = pick(rng, kSizes), w = rng.chance(0.7) ? h : pick(rng, kSizes);
    std::int64_t ci = pick(rng, kChannels), co = pick(rng, kChannels);
    switch (groups) {
      case Groups::one: break;
      case Groups::some:
        c.params.groups = pick(rng, {2, 3, 4});
        ci = c.params.groups * pick(rng, {1, 2, 3, 8, 16});
        co = c.params.groups * pick(rng, {1, 2, 5, 8, 16});
        break;
      case Groups::depthwise:
        c.params.groups = static_cast<int>(ci);
        co = ci * pick(rng, {1, 1, 1, 2});
        break;
    }
    const int stride = pick(rng, {1, 1, 2, 3}), dilation = pick(rng, {1, 1, 1, 2});
    c.params.stride = {stride, rng.chance(0.9) ? stride : pick(rng, {1, 2, 3})};
    c.params.dilation = {dilation, rng.chance(0.9) ? dilation : pick(rng, {1, 2})};
    c.params.padding = random_padding(rng, kh, kw);
    c.x = Shape{n, h, w, ci};
    c.w = Shape{kh, kw, ci / c.params.groups, co};
    c.bias = rng.chance(0.5);
    c.act.kind = pick(rng, kFused);
    c.misalign = rng.chance(0.3) ? static_cast<std::int64_t>(1 + rng.below(3)) : 0;
    try {
      if (work(c) <= 600'000) return c;
    } catch (const Error&) {  // the window does not fit
    }
  }
}

void sweep(const char* prefix, Groups groups, int count) {
  Tally forward{prefix}, data{prefix}, weights{prefix};
  Rng rng(11, "conv sweep", static_cast<std::uint64_t>(groups));
  for (int i = 0; i < count; ++i) compare(random_case(rng, groups), forward, data, weights);
  // What networks are made of, whatever the dice say: (channels in, out, size, kernel, stride, groups).
  const std::int64_t common[][6] = {
      {1, 32, 28, 3, 1, 1},   {32, 32, 28, 3, 1, 1},  {32, 64, 14, 3, 1, 1},  {64, 64, 14, 3, 1, 1},
      {3, 32, 33, 3, 2, 1},   {16, 96, 14, 1, 1, 1},  {96, 24, 7, 1, 1, 1},   {64, 128, 14, 1, 2, 1},
      {3, 64, 31, 7, 2, 1},   {32, 32, 28, 3, 1, 32}, {96, 96, 28, 3, 2, 96}, {144, 144, 14, 3, 1, 144},
      {33, 33, 15, 5, 2, 33}, {64, 64, 9, 5, 1, 64},  {32, 64, 9, 3, 2, 32},  {32, 32, 14, 3, 1, 4}};
  for (const auto& s : common) {
    const Groups kind = s[5] == 1 ? Groups::one : s[5] == s[0] ? Groups::depthwise : Groups::some;
    if (kind != groups) continue;
    for (const Padding& padding :
         {Padding::same_both(static_cast<int>(s[3]) / 2), Padding::tf_same(), Padding::valid()}) {
      const int stride = static_cast<int>(s[4]);
      compare({Shape{2, s[2], s[2], s[0]},
               Shape{s[3], s[3], s[0] / s[5], s[1]},
               {.stride = {stride, stride}, .padding = padding, .groups = static_cast<int>(s[5])},
               true,
               {Activation::relu},
               0},
              forward, data, weights);
    }
  }
  FOVEA_SKIP_UNLESS_RAN(&forward, &data, &weights);
  // oneDNN serves every f32 convolution but weight gradients of 1×1 kernels at stride 2, which its 2.6 computes
  // wrongly; the others say which.
  if (forward.prefix == "onednn") {
    CHECK(forward.declined == 0);
    CHECK(data.declined == 0);
    if (weights.declined > 0) CHECK(weights.last_reason.find("1x1") != std::string::npos);
  }
}

/// What Winograd's algorithm takes: 3×3 at stride 1, tiles that hang over no, one or both edges, any padding, channels
/// that do and do not fill vectors and panels, few tiles and many blocks of them.
void winograd_sweep() {
  Tally forward{"simd:winograd"}, data{"simd:winograd"}, weights{"simd:winograd"};
  const Padding paddings[] = {Padding::same_both(1), Padding::valid(), Padding::sides(0, 1, 1, 2),
                              Padding::sides(2, 2, 0, 1)};
  const std::int64_t shapes[][5] = {// images, height, width, channels in, out
                                    {6, 8, 8, 16, 16},  {2, 14, 13, 24, 33}, {1, 17, 18, 40, 16},
                                    {5, 9, 12, 17, 31}, {1, 28, 28, 64, 48}, {7, 12, 12, 16, 72}};
  int i = 0;
  for (const auto& s : shapes) {
    for (const Padding& padding : paddings) {
      const Activation act[] = {Activation::none, Activation::relu, Activation::relu6, Activation::none};
      compare({Shape{s[0], s[1], s[2], s[3]},
               Shape{3, 3, s[3], s[4]},
               {.padding = padding},
               i % 2 == 0,
               {act[i % 4]},
               i % 3},
              forward, data, weights);
      ++i;
    }
  }
  INFO(forward.summary() << "; " << data.summary() << "; " << weights.summary());
  for (const Tally* tally : {&forward, &data, &weights}) {
    CHECK(tally->ran >= i);
    CHECK(tally->declined + tally->absent == 0);
  }
}

/// Packed weights are cached by (storage, version): a changed weight must show.
void weights_change(Tally& tally) {
  const Conv2dParams params{.padding = Padding::same_both(1)};
  // 49 tiles of Winograd's, and fewer results than weights are packed anew for.
  Tensor x = Tensor::ones({1, 14, 14, 16}), w = Tensor::full({3, 3, 16, 32}, 0.5), y({1, 14, 14, 32}), dx(x.shape());
  for (const double value : {0.5, 2.0, -1.0}) {
    w.fill(value);
    if (tally.run([&] { conv2d_forward(params, x.view(), w.view(), std::nullopt, y.mutable_view()); })) {
      CHECK(y.data<float>()[(3 * 14 + 3) * 32] == Approx(144 * value));
    }
    if (tally.run([&] { conv2d_backward_data(params, y.view(), w.view(), dx.mutable_view()); })) {
      const Tensor ones = Tensor::ones(y.shape());
      tally.run([&] { conv2d_backward_data(params, ones.view(), w.view(), dx.mutable_view()); });
      CHECK(dx.data<float>()[(3 * 14 + 3) * 16] == Approx(288 * value));
    }
  }
  // Another tensor of the same shape, at the address the first one may have left.
  for (int i = 0; i < 4; ++i) {
    const Tensor other = Tensor::full(w.shape(), i);
    if (tally.run([&] { conv2d_forward(params, x.view(), other.view(), std::nullopt, y.mutable_view()); })) {
      CHECK(y.data<float>()[(3 * 14 + 3) * 32] == Approx(144 * i));
    }
  }
}

}  // namespace

// The reference in f32 passes its own sweep: the cases and the bound are sound.
TEST_CASE("f32 reference convolutions agree with those in double", "[reference]") {
  sweep("reference", Groups::one, 30);
  sweep("reference", Groups::some, 30);
  sweep("reference", Groups::depthwise, 30);
}
TEST_CASE("simd convolutions agree with the reference", "[simd]") { sweep("simd:direct", Groups::one, 200); }
TEST_CASE("Winograd convolutions agree with the reference on every target", "[simd]") { winograd_sweep(); }
TEST_CASE("simd grouped convolutions agree with the reference", "[simd]") { sweep("simd", Groups::some, 80); }
TEST_CASE("simd depthwise convolutions agree with the reference", "[simd]") { sweep("simd", Groups::depthwise, 250); }
TEST_CASE("oneDNN convolutions agree with the reference", "[onednn]") { sweep("onednn", Groups::one, 200); }
TEST_CASE("oneDNN grouped convolutions agree with the reference", "[onednn]") { sweep("onednn", Groups::some, 80); }
TEST_CASE("oneDNN depthwise convolutions agree with the reference", "[onednn]") {
  sweep("onednn", Groups::depthwise, 200);
}
TEST_CASE("the comparison sees a wrong element, one left out and a write outside", "[reference]") {
  Floats result(Shape{4}, 1);
  Doubles expected(Shape{4}, 2), magnitude(Shape{4}, 3);
  CHECK(difference(result, expected, magnitude, kC).starts_with("4 of 4 elements differ"));  // poisoned
  for (int i = 0; i < 4; ++i) result[i] = 2;
  CHECK(difference(result, expected, magnitude, kC).empty());
  result[2] = static_cast<float>(2 + 3 * 3.9 * kEpsilon);
  CHECK(difference(result, expected, magnitude, kC).empty());
  result[2] = static_cast<float>(2 + 3 * 4.5 * kEpsilon);
  CHECK(difference(result, expected, magnitude, kC).starts_with("1 of 4 elements differ; first [2]"));
  result[2] = 2;
  result[4] = 0;
  CHECK(difference(result, expected, magnitude, kC) == "wrote outside the result");
}
TEST_CASE("simd convolutions see changed weights", "[simd]") {
  for (const char* prefix : {"simd:direct", "simd:winograd"}) {
    Tally tally{prefix};
    on_targets("simd", [&] { weights_change(tally); });
    CHECK(tally.ran > 0);
  }
}
TEST_CASE("oneDNN convolutions see changed weights", "[onednn]") {
  Tally tally{"onednn"};
  weights_change(tally);
  FOVEA_SKIP_UNLESS_RAN(&tally);
}
