// How exact activations are, against formulas of this file's own in long double, over the whole line: every exponent,
// both signs, subnormals, ±0, ±∞ and NaN; on the reference path and on every instruction set.
#include <algorithm>
#include <cmath>
#include <limits>

#include "agreement.h"
#include "kernels/activation.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::agreement;

namespace {

using Real = long double;

Real logistic(Real x) { return 1 / (1 + std::exp(-x)); }
constexpr double kAlpha = 0.2;
constexpr Real kRoot2OverPi = 0.797884560802865355879892119868763737L;

/// f(x) and f'(x) where f is smooth, and on the left of its kinks.
struct Truth {
  Real value, slope;
};
Truth truth(Activation kind, Real x) {
  const Real gate = std::clamp<Real>(x + 3, 0, 6) / 6, s = logistic(x);
  // s'(x) = s·s(−x): no difference of nearly equal numbers.
  const Real not_s = logistic(-x);
  switch (kind) {
    case Activation::none: return {x, 1};
    case Activation::relu: return {std::max<Real>(x, 0), x > 0 ? 1.0L : 0.0L};
    case Activation::relu6: return {std::clamp<Real>(x, 0, 6), x > 0 && x < 6 ? 1.0L : 0.0L};
    case Activation::leaky_relu: return {x > 0 ? x : Real{kAlpha} * x, x > 0 ? 1.0L : Real{kAlpha}};
    case Activation::sigmoid: return {s, s * not_s};
    case Activation::silu: return {x * s, s * (1 + x * not_s)};
    case Activation::hard_sigmoid: return {gate, x > -3 && x < 3 ? 1.0L / 6 : 0.0L};
    case Activation::hard_swish: return {x * gate, x <= -3 ? 0.0L : x < 3 ? (2 * x + 3) / 6 : 1.0L};
    case Activation::gelu: {
      const Real phi = std::erfc(-x * std::sqrt(0.5L)) / 2, density = kRoot2OverPi / 2 * std::exp(-x * x / 2);
      return {x * phi, phi + x * density};
    }
    case Activation::gelu_tanh: {
      const Real two_u = 2 * kRoot2OverPi * (x + 0.044715L * x * x * x);
      const Real half = logistic(two_u), rest = logistic(-two_u);
      return {x * half, half + x * half * rest * 2 * kRoot2OverPi * (1 + 3 * 0.044715L * x * x)};
    }
    case Activation::tanh: {
      const Real c = std::cosh(x);
      return {std::tanh(x), 1 / (c * c)};
    }
  }
  return {};
}

/// All exponents of f32 down to subnormals, some 40 mantissas each, both signs; and the neighbourhood of kinks.
const std::vector<float>& operands() {
  static const std::vector<float> all = [] {
    std::vector<float> x;
    Rng rng(4, "activation operands");
    for (std::uint32_t exponent = 0; exponent < 255; ++exponent) {
      // More where functions bend: 2^-4 to 2^7.
      const int count = exponent >= 123 && exponent <= 133 ? 400 : 8;
      for (int i = 0; i < count; ++i) {
        const auto mantissa = static_cast<std::uint32_t>(i == 0 ? 0 : i == 1 ? 0x7fffff : rng.below(0x800000));
        const float v = std::bit_cast<float>(exponent << 23 | mantissa);
        x.push_back(v);
        x.push_back(-v);
      }
    }
    for (const float kink : {-3.0f, 0.0f, 3.0f, 6.0f}) {
      x.insert(x.end(), {kink, std::nextafter(kink, -INFINITY), std::nextafter(kink, INFINITY)});
    }
    return x;
  }();
  return all;
}

struct Bound {
  Activation kind;
  /// |y − f(x)| ≤ ulp·(last place of f(x)) + operand·2⁻²⁴·min(|x|, 1) + 2⁻¹²⁶·max(|x|, 1): a sigmoid that is no normal
  /// number counts as 0, also as a factor of x.
  double ulp, operand;
  /// |dx − f'(x)| ≤ gradient·2⁻²⁴, f' being of order 1.
  double gradient;
};
/// Measured on SSSE3 to AVX-512: sigmoid 1.9 ulp, tanh 2.2, hard_swish 2.1, hard_sigmoid 1.3. SiLU 32 and tanh-GELU 108
/// on the left, where an exponent of up to 88 is rounded before its exponential is taken. GELU within 3·2⁻²⁴·|x|: where
/// 1 + erf cancels, far on the left, the error is one of the operand's size, as in other libraries'. SiLU's slope has
/// x·(1 − s) with 1 − s rounded to 2⁻²⁴ and x up to 17.
constexpr Bound kBounds[] = {
    {Activation::none, 0, 0, 0},        {Activation::relu, 0, 0, 0},         {Activation::relu6, 0, 0, 0},
    {Activation::leaky_relu, 1, 0, 1},  {Activation::sigmoid, 3, 0, 2},      {Activation::silu, 48, 0, 18},
    {Activation::hard_swish, 3, 0, 2},  {Activation::hard_sigmoid, 2, 0, 1}, {Activation::gelu, 2, 4, 3},
    {Activation::gelu_tanh, 128, 0, 4}, {Activation::tanh, 3, 0, 4},
};

double last_place(Real v) {
  const float size = std::fabs(static_cast<float>(v));
  return static_cast<double>(std::nextafter(size, INFINITY)) - static_cast<double>(size);
}

void check_path(const char* path) {
  const std::vector<float>& x = operands();
  const Shape shape{static_cast<std::int64_t>(x.size())};
  for (const Bound& bound : kBounds) {
    const ActivationParams params{bound.kind, kAlpha};
    Floats in(shape), y(shape), ones(shape), dx(shape);
    std::copy(x.begin(), x.end(), in.data());
    std::fill_n(ones.data(), x.size(), 1.0f);
    {
      const ForceImplementation force(path, true);
      activation_forward(params, in, y.view());
      activation_backward(params, in, y, ones, dx.view());
    }
    double worst_ulp = 0, worst = 0, worst_slope = 0;
    float at = 0, slope_at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto k = static_cast<std::int64_t>(i);
      const Truth want = truth(bound.kind, x[i]);
      const double error = static_cast<double>(std::fabs(y[k] - want.value));
      const double allowed = bound.ulp * last_place(want.value) +
                             bound.operand * 0x1p-24 * std::min<double>(std::fabs(x[i]), 1) +
                             0x1p-126 * std::max<double>(std::fabs(x[i]), 1);
      // NaN is never within.
      if (!(error <= worst * allowed)) worst = error / allowed, at = x[i];
      if (std::fabs(want.value) >= 0x1p-119L) worst_ulp = std::max(worst_ulp, error / last_place(want.value));
      const double off = static_cast<double>(std::fabs(dx[k] - want.slope)) / 0x1p-24;
      if (!(off <= worst_slope)) worst_slope = off, slope_at = x[i];
    }
    CAPTURE(path, to_string(bound.kind), worst_ulp, worst, at, worst_slope, slope_at);
    CHECK(worst <= 1);
    CHECK(worst_slope <= bound.gradient);
    CHECK((y.margins_intact() && dx.margins_intact()));
  }
}

/// Values that no bound describes.
void check_special(const char* path) {
  const float inf = INFINITY, tiny = std::numeric_limits<float>::denorm_min(), huge = 3e38f;
  Floats x(Shape{7}), y(Shape{7}), dy(Shape{7}), dx(Shape{7});
  const float values[] = {NAN, inf, -inf, 0.0f, -0.0f, tiny, -huge};
  std::copy_n(values, 7, x.data());
  std::fill_n(dy.data(), 7, 1.0f);
  for (const Bound& bound : kBounds) {
    const ActivationParams params{bound.kind, kAlpha};
    const ForceImplementation force(path, true);
    activation_forward(params, x, y.view());
    activation_backward(params, x, y, dy, dx.view());
    CAPTURE(path, to_string(bound.kind), y[0], y[1], y[2], y[3], y[4], y[5], y[6]);
    CHECK(std::isnan(y[0]));  // the trainer must see it
    const bool bounded = bound.kind == Activation::relu6 || bound.kind == Activation::sigmoid ||
                         bound.kind == Activation::hard_sigmoid || bound.kind == Activation::tanh;
    CHECK(y[1] == (!bounded ? inf : bound.kind == Activation::relu6 ? 6 : 1));
    // −∞·0 is NaN, here and in PyTorch, for those that multiply their operand by a gate.
    const bool gated = bound.kind == Activation::silu || bound.kind == Activation::hard_swish ||
                       bound.kind == Activation::gelu || bound.kind == Activation::gelu_tanh;
    if (gated) {
      CHECK(std::isnan(y[2]));
    } else {
      const bool passes = bound.kind == Activation::none || bound.kind == Activation::leaky_relu;
      CHECK(y[2] == (passes ? -inf : bound.kind == Activation::tanh ? -1 : 0));
    }
    const float middle = bound.kind == Activation::sigmoid || bound.kind == Activation::hard_sigmoid ? 0.5f : 0.0f;
    CHECK(y[3] == middle);
    CHECK(y[4] == middle);
    CHECK(std::fabs(y[5] - middle) <= tiny);
    if (gated) CHECK(std::fabs(y[6]) <= 0x1p-126f);  // the gate is shut
    // A NaN gradient stays one, and a gradient of 0 stays 0 at finite operands.
    std::fill_n(dy.data(), 7, NAN);
    activation_backward(params, x, y, dy, dx.view());
    const bool cuts = bound.kind == Activation::relu || bound.kind == Activation::relu6 ||
                      bound.kind == Activation::hard_sigmoid || bound.kind == Activation::hard_swish;
    for (int i = 3; i < 6; ++i) CHECK((cuts || std::isnan(dx[i])));
    std::fill_n(dy.data(), 7, 0.0f);
    activation_backward(params, x, y, dy, dx.view());
    for (int i = 3; i < 7; ++i) CHECK(dx[i] == 0);
    std::fill_n(dy.data(), 7, 1.0f);
  }
}

}  // namespace

TEST_CASE("reference activations on the whole line", "[reference]") {
  check_path("reference");
  check_special("reference");
}
TEST_CASE("simd activations on the whole line: ulp against long double", "[simd]") {
  on_targets("simd", [] { check_path("simd"); });
}
TEST_CASE("simd activations at NaN, infinities, zeros and subnormals", "[simd]") {
  on_targets("simd", [] { check_special("simd"); });
}
TEST_CASE("simd activations give a lane the same bits wherever it lies in a vector", "[simd]") {
  on_targets("simd", [] {
    const std::vector<float>& all = operands();
    const std::int64_t n = 67;
    for (const Bound& bound : kBounds) {
      const ActivationParams params{bound.kind, kAlpha};
      Floats whole(Shape{n}), y(Shape{n}), one(Shape{1}), y1(Shape{1});
      for (std::int64_t i = 0; i < n; ++i) whole[i] = all[static_cast<std::size_t>(i * 97 + 2000) % all.size()];
      const ForceImplementation force("simd", true);
      activation_forward(params, whole, y.view());
      bool same = true;
      for (std::int64_t i = 0; i < n; ++i) {
        one[0] = whole[i];
        activation_forward(params, one, y1.view());
        same = same && std::bit_cast<std::uint32_t>(y1[0]) == std::bit_cast<std::uint32_t>(y[i]);
      }
      CAPTURE(to_string(bound.kind));
      CHECK(same);
    }
  });
}
