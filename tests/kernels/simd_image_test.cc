// Pooling and depthwise convolution of the Highway path against the double-precision reference, on every target of this
// CPU.
#include <cmath>

#include "kernels/conv2d.h"
#include "kernels/pool2d.h"
#include "kernels/registry.h"
#include "kernels/simd_targets.h"

using namespace fovea;
using namespace fovea::kernels;
using fovea::test::for_each_target;
using fovea::test::random_values;
using fovea::test::view_of;

namespace {

std::vector<double> widen(const std::vector<float>& v) { return {v.begin(), v.end()}; }

View view64(std::vector<double>& v, const Shape& s) {
  View view;
  view.data = v.data();
  view.shape = s;
  view.dtype = DType::f64;
  return view;
}

View view_i32(std::vector<std::int32_t>& v, const Shape& s) {
  View view;
  view.data = v.data();
  view.shape = s;
  view.dtype = DType::i32;
  return view;
}

/// Largest |have − want| over a tolerance of 8·2^-24 of Σ|terms|, which `terms` bounds.
double worst(const std::vector<float>& have, const std::vector<double>& want, double terms) {
  double w = 0;
  for (std::size_t i = 0; i < have.size(); ++i) {
    const double e = std::fabs(have[i] - want[i]) / (8 * 0x1p-24 * terms);
    if (!(e <= w)) w = e;
  }
  return w;
}

std::size_t count(const Shape& s) { return static_cast<std::size_t>(s.numel()); }

}  // namespace

TEST_CASE("simd depthwise convolution agrees with the reference in all three directions", "[simd]") {
  struct Case {
    int n, h, w, c, kh, kw, stride_h, stride_w;
    Padding padding;
  };
  const Case cases[] = {
      {2, 9, 11, 8, 3, 3, 1, 1, Padding::same_both(1)},        {1, 12, 13, 16, 3, 3, 2, 2, Padding::tf_same()},
      {2, 14, 14, 96, 3, 3, 2, 2, Padding::sides(0, 1, 0, 1)}, {1, 15, 17, 24, 5, 5, 1, 1, Padding::same_both(2)},
      {2, 10, 23, 33, 5, 5, 2, 2, Padding::tf_same()},         {1, 5, 5, 2, 3, 3, 1, 1, Padding::valid()},
      {1, 3, 3, 70, 3, 3, 1, 1, Padding::sides(2, 0, 1, 2)},   {1, 9, 8, 7, 7, 7, 2, 1, Padding::same_both(3)},
      {2, 8, 9, 19, 2, 4, 3, 3, Padding::sides(1, 0, 0, 3)},   {1, 1, 30, 5, 1, 3, 1, 2, Padding::symmetric(0, 1)},
      {1, 6, 6, 40, 3, 3, 1, 1, Padding::same_both(4)},        {1, 7, 7, 12, 1, 1, 2, 2, Padding::valid()},
  };
  for_each_target([&] {
    for (const Case& k : cases) {
      const Conv2dParams params{.stride = {k.stride_h, k.stride_w}, .padding = k.padding, .groups = k.c};
      const Shape xs{k.n, k.h, k.w, k.c}, ws{k.kh, k.kw, 1, k.c}, ys = conv2d_shape(params, xs, ws), cs{k.c};
      const std::vector<float> x = random_values(xs.numel(), 1), w = random_values(ws.numel(), 2),
                               bias = random_values(k.c, 3), dy = random_values(ys.numel(), 4);
      std::vector<double> x64 = widen(x), w64 = widen(w), bias64 = widen(bias), dy64 = widen(dy);
      INFO("x " << xs.to_string() << " w " << ws.to_string() << " stride " << k.stride_h << "," << k.stride_w);
      for (const Activation a : {Activation::none, Activation::relu6, Activation::silu}) {
        std::vector<float> y(count(ys), NAN);
        std::vector<double> y64(count(ys));
        {
          ForceImplementation force("simd:depthwise", true);
          conv2d_forward(params, view_of(x, xs), view_of(w, ws), view_of(bias, cs), view_of(y, ys), {a});
        }
        ForceImplementation force("reference");
        conv2d_forward(params, view64(x64, xs), view64(w64, ws), OptionalView(ConstView(view64(bias64, cs))),
                       view64(y64, ys), {a});
        CHECK(worst(y, y64, 4 * k.kh * k.kw + 2) < 1);
      }
      std::vector<float> y(count(ys), NAN), dx(count(xs), NAN), dw(count(ws), NAN),
          dbias(static_cast<std::size_t>(k.c), NAN);
      std::vector<double> y64(count(ys)), dx64(count(xs)), dw64(count(ws)), dbias64(static_cast<std::size_t>(k.c));
      {
        ForceImplementation force("simd:depthwise", true);
        conv2d_forward(params, view_of(x, xs), view_of(w, ws), OptionalView(), view_of(y, ys));
        conv2d_backward_data(params, view_of(dy, ys), view_of(w, ws), view_of(dx, xs));
        conv2d_backward_weights(params, view_of(x, xs), view_of(dy, ys), view_of(dw, ws), view_of(dbias, cs));
      }
      ForceImplementation force("reference");
      conv2d_forward(params, view64(x64, xs), view64(w64, ws), OptionalView(), view64(y64, ys));
      conv2d_backward_data(params, view64(dy64, ys), view64(w64, ws), view64(dx64, xs));
      conv2d_backward_weights(params, view64(x64, xs), view64(dy64, ys), view64(dw64, ws), view64(dbias64, cs));
      CHECK(worst(y, y64, 4 * k.kh * k.kw) < 1);
      CHECK(worst(dx, dx64, 4 * k.kh * k.kw) < 1);
      CHECK(worst(dw, dw64, 4.0 * k.n * k.h * k.w) < 1);
      CHECK(worst(dbias, dbias64, 2.0 * k.n * k.h * k.w) < 1);
    }
  });
}

TEST_CASE("simd pooling agrees with the reference: values, arg-maxima, NaN, gradients", "[simd]") {
  for_each_target([] {
    int tried = 0;
    for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
      for (const Size2 window : {Size2{2, 2}, Size2{3, 3}, Size2{1, 3}, Size2{3, 2}}) {
        for (const Size2 stride : {Size2{1, 1}, Size2{2, 2}, Size2{3, 3}, window}) {
          for (const Padding& padding :
               {Padding::valid(), Padding::sides(0, 1, 0, 1), Padding::sides(1, 1, 1, 1), Padding::tf_same()}) {
            if (padding.bottom >= window.h || padding.right >= window.w) continue;
            for (const bool ceil_mode : {false, true}) {
              const std::int64_t channels = tried % 3 == 0 ? 8 : tried % 3 == 1 ? 5 : 35;
              ++tried;
              const Pool2dParams params{kind, window, stride, padding, tried % 2 == 0, ceil_mode};
              const Shape xs{2, 7 + tried % 2, 9, channels}, ys = pool2d_shape(params, xs);
              std::vector<float> x = random_values(xs.numel(), 1);
              for (float& v : x) v = std::round(v * 2);  // ties: the first greatest wins
              if (kind == PoolKind::max) x[static_cast<std::size_t>(channels * 11 + 1)] = NAN;
              const std::vector<float> dy = random_values(ys.numel(), 2);
              std::vector<double> x64 = widen(x), dy64 = widen(dy), y64(count(ys)), dx64(count(xs));
              std::vector<float> y(count(ys), NAN), y_only(count(ys), NAN), dx(count(xs), NAN);
              std::vector<std::int32_t> argmax(count(ys), -7), argmax64(count(ys), -7);
              const bool max = kind == PoolKind::max;
              const auto where = [&](std::vector<std::int32_t>& v) {
                return max ? std::optional<View>(view_i32(v, ys)) : std::nullopt;
              };
              const auto where_const = [&](std::vector<std::int32_t>& v) {
                return max ? std::optional<ConstView>(view_i32(v, ys)) : std::nullopt;
              };
              {
                ForceImplementation force("simd", true);
                pool2d_forward(params, view_of(std::as_const(x), xs), view_of(y, ys), where(argmax));
                pool2d_forward(params, view_of(std::as_const(x), xs), view_of(y_only, ys), std::nullopt);
                pool2d_backward(params, view_of(dy, ys), where_const(argmax), view_of(dx, xs));
              }
              ForceImplementation force("reference");
              pool2d_forward(params, view64(x64, xs), view64(y64, ys), where(argmax64));
              pool2d_backward(params, view64(dy64, ys), where_const(argmax64), view64(dx64, xs));
              INFO("max " << max << " window " << window.h << "," << window.w << " stride " << stride.h << ","
                          << stride.w << " padding " << padding.top << padding.bottom << padding.left << padding.right
                          << " ceil " << ceil_mode << " channels " << channels);
              CHECK(argmax == argmax64);
              bool same = true;
              for (std::size_t i = 0; i < y.size(); ++i) {
                const bool nan = std::isnan(y[i]) && std::isnan(y_only[i]) && std::isnan(y64[i]);
                same = same && (nan || (std::fabs(y[i] - y64[i]) < 1e-6 && y[i] == y_only[i]));
              }
              CHECK(same);
              CHECK(worst(dx, dx64, 18) < 1);
            }
          }
        }
      }
    }
  });
}

TEST_CASE("simd global average pooling agrees with the reference", "[simd]") {
  for_each_target([] {
    for (const Shape& xs : {Shape{3, 7, 7, 40}, Shape{1, 1, 1, 3}, Shape{2, 5, 3, 17}, Shape{1, 28, 28, 8}}) {
      const Shape ys{xs[0], xs[3]};
      const std::vector<float> x = random_values(xs.numel(), 1), dy = random_values(ys.numel(), 2);
      std::vector<double> x64 = widen(x), dy64 = widen(dy), y64(count(ys)), dx64(count(xs));
      std::vector<float> y(count(ys), NAN), dx(count(xs), NAN);
      {
        ForceImplementation force("simd", true);
        global_average_pool_forward(view_of(x, xs), view_of(y, ys));
        global_average_pool_backward(view_of(dy, ys), view_of(dx, xs));
      }
      ForceImplementation force("reference");
      global_average_pool_forward(view64(x64, xs), view64(y64, ys));
      global_average_pool_backward(view64(dy64, ys), view64(dx64, xs));
      CHECK(worst(y, y64, 2) < 1);
      CHECK(worst(dx, dx64, 2) < 1);
    }
  });
}
