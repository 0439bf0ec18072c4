// Batch norm and activations of the Highway path against double-precision formulas, on every target of this CPU.
#include <cmath>
#include <limits>

#include "core/threads/parallel.h"
#include "kernels/activation.h"
#include "kernels/norm.h"
#include "kernels/registry.h"
#include "kernels/simd_targets.h"

using namespace fovea;
using namespace fovea::kernels;
using fovea::test::for_each_target;
using fovea::test::random_values;
using fovea::test::view_of;

namespace {

double ulps(float have, double want) {
  const float near = static_cast<float>(want);
  const double step = std::max<double>(std::nextafter(std::fabs(near), INFINITY) - std::fabs(near), 1e-45);
  return std::fabs(static_cast<double>(have) - want) / step;
}

struct Net {
  std::vector<float> x, dy, gamma, beta;
  std::int64_t rows, channels;
  Net(std::int64_t r, std::int64_t c, double offset = 0)
      : x(random_values(r * c, 1)),
        dy(random_values(r * c, 2)),
        gamma(random_values(c, 3, 0.5, 2)),
        beta(random_values(c, 4)),
        rows(r),
        channels(c) {
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] += static_cast<float>(offset * (1 + static_cast<double>(i % static_cast<std::size_t>(c))));
  }
  Shape shape() const { return {rows, channels}; }
};

}  // namespace

TEST_CASE("simd batch norm statistics keep their accuracy when the mean dwarfs the deviation", "[simd]") {
  for_each_target([] {
    for (const std::int64_t channels : {1, 3, 16, 33, 250, 1001}) {
      for (const double offset : {0.0, 100.0, -3000.0}) {
        for (const std::int64_t rows : {1, 7, 1030, 9000}) {
          if (rows * channels > 600000) continue;
          Net net(rows, channels, channels == 1001 ? offset / 100 : offset);
          std::vector<float> y(net.x.size()), mean(static_cast<std::size_t>(channels)), variance(mean);
          {
            ForceImplementation force("simd", true);
            batch_norm_training({}, view_of(net.x, net.shape()), OptionalView(), OptionalView(),
                                view_of(y, net.shape()), view_of(mean, {channels}), view_of(variance, {channels}));
          }
          double worst_mean = 0, worst_variance = 0, worst_y = 0;
          for (std::int64_t c = 0; c < channels; ++c) {
            double m = 0, v = 0;
            for (std::int64_t r = 0; r < rows; ++r) m += net.x[static_cast<std::size_t>(r * channels + c)];
            m /= static_cast<double>(rows);
            for (std::int64_t r = 0; r < rows; ++r)
              v += std::pow(net.x[static_cast<std::size_t>(r * channels + c)] - m, 2);
            v /= static_cast<double>(rows);
            const auto i = static_cast<std::size_t>(c);
            worst_mean = std::max(worst_mean, std::fabs(mean[i] - m) / (std::fabs(m) + 1));
            worst_variance = std::max(worst_variance, std::fabs(variance[i] - v) / (v + 1e-6));
            // y is formed with the f32 mean: an error of its rounding, |mean|·2^-24, is inherent.
            const double inv = 1 / std::sqrt(v + 1e-5);
            for (std::int64_t r = 0; r < rows; ++r) {
              const auto at = static_cast<std::size_t>(r * channels + c);
              const double z = (net.x[at] - m) * inv;
              worst_y = std::max(worst_y, std::fabs(y[at] - z) / (std::fabs(z) + std::fabs(m) * inv * 0.5 + 1));
            }
          }
          INFO("rows " << rows << " channels " << channels << " offset " << offset);
          CHECK(worst_mean < 2e-7);
          CHECK(worst_variance < 2e-6);
          CHECK(worst_y < 1e-6);
        }
      }
    }
  });
}

TEST_CASE("simd batch norm agrees with the double formulas forward and backward, with every activation", "[simd]") {
  for_each_target([] {
    for (int kind = 0; kind <= static_cast<int>(Activation::tanh); ++kind) {
      for (const auto& [rows, channels] :
           {std::pair<std::int64_t, std::int64_t>{1, 5}, {37, 1}, {300, 3}, {211, 32}, {50, 1000}, {9, 20000}}) {
        // The large ones are for blocks and folds, which do not know the activation: relu6, hard_swish and tanh stand
        // for all.
        if (rows * channels > 20000 && kind % 4 != 2) continue;
        for (const bool training : {true, false}) {
          Net net(rows, channels);
          const BatchNormParams params{1e-3, {static_cast<Activation>(kind), 0.1}};
          // The oracle: the same call in double on the reference path.
          const auto widen = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
          const auto view64 = [](std::vector<double>& v, const Shape& s) {
            View view;
            view.data = v.data();
            view.shape = s;
            view.dtype = DType::f64;
            return view;
          };
          const auto n = net.x.size(), c = static_cast<std::size_t>(channels);
          std::vector<float> mean = random_values(channels, 5, -0.5, 0.5),
                             variance = random_values(channels, 6, 0.5, 1.5);
          std::vector<float> y(n, NAN), dx(n, NAN), dgamma(c, NAN), dbeta(c, NAN);
          const Shape s = net.shape(), sc{channels};
          {
            ForceImplementation force("simd", true);
            if (training) {
              batch_norm_training(params, view_of(net.x, s), view_of(std::as_const(net.gamma), sc),
                                  view_of(std::as_const(net.beta), sc), view_of(y, s), view_of(mean, sc),
                                  view_of(variance, sc));
              batch_norm_training_backward(params, view_of(net.x, s), view_of(net.dy, s),
                                           view_of(std::as_const(net.gamma), sc), view_of(std::as_const(net.beta), sc),
                                           view_of(mean, sc), view_of(variance, sc), view_of(dx, s),
                                           view_of(dgamma, sc), view_of(dbeta, sc));
            } else {
              batch_norm_inference(params, view_of(net.x, s), view_of(std::as_const(net.gamma), sc),
                                   view_of(std::as_const(net.beta), sc), view_of(mean, sc), view_of(variance, sc),
                                   view_of(y, s));
              batch_norm_inference_backward(params, view_of(net.x, s), view_of(net.dy, s),
                                            view_of(std::as_const(net.gamma), sc), view_of(std::as_const(net.beta), sc),
                                            view_of(mean, sc), view_of(variance, sc), view_of(dx, s),
                                            view_of(dgamma, sc), view_of(dbeta, sc));
            }
          }
          std::vector<double> x64 = widen(net.x), dy64 = widen(net.dy), g64 = widen(net.gamma), b64 = widen(net.beta),
                              m64 = widen(mean), v64 = widen(variance), y64(n), dx64(n), dg64(c), db64(c);
          const auto opt = [](const View& v) { return OptionalView(ConstView(v)); };
          batch_norm_inference(params, view64(x64, s), opt(view64(g64, sc)), opt(view64(b64, sc)), view64(m64, sc),
                               view64(v64, sc), view64(y64, s));
          if (training) {
            batch_norm_training_backward(params, view64(x64, s), view64(dy64, s), opt(view64(g64, sc)),
                                         opt(view64(b64, sc)), view64(m64, sc), view64(v64, sc), view64(dx64, s),
                                         view64(dg64, sc), view64(db64, sc));
          } else {
            batch_norm_inference_backward(params, view64(x64, s), view64(dy64, s), opt(view64(g64, sc)),
                                          opt(view64(b64, sc)), view64(m64, sc), view64(v64, sc), view64(dx64, s),
                                          view64(dg64, sc), view64(db64, sc));
          }
          INFO("activation " << to_string(params.activation.kind) << " rows " << rows << " channels " << channels
                             << " training " << training);
          double y_error = 0, dx_error = 0, dg_error = 0;
          for (std::size_t i = 0; i < n; ++i) {
            y_error = std::max(y_error, std::fabs(y[i] - y64[i]) / (1 + std::fabs(y64[i])));
            dx_error = std::max(dx_error, std::fabs(dx[i] - dx64[i]) / (1 + g64[i % c] / std::sqrt(v64[i % c] + 1e-3)));
          }
          for (std::size_t i = 0; i < c; ++i) {
            dg_error = std::max({dg_error, std::fabs(dgamma[i] - dg64[i]) / (10 + std::sqrt(static_cast<double>(rows))),
                                 std::fabs(dbeta[i] - db64[i]) / (10 + std::sqrt(static_cast<double>(rows)))});
          }
          CHECK(y_error < 2e-6);
          CHECK(dx_error < 1e-5);
          CHECK(dg_error < 2e-6);
        }
      }
    }
  });
}

TEST_CASE("simd batch norm: in place, optional results, and the same bits from the same thread count", "[simd]") {
  Net net(2000, 24);
  const Shape s = net.shape(), sc{24};
  const BatchNormParams params{1e-5, {Activation::relu6}};
  std::vector<float> mean(24), variance(24), y(net.x.size()), again(net.x.size()), dx(net.x.size());
  ForceImplementation force("simd", true);
  batch_norm_training(params, view_of(net.x, s), OptionalView(), OptionalView(), view_of(y, s), view_of(mean, sc),
                      view_of(variance, sc));
  batch_norm_training(params, view_of(net.x, s), OptionalView(), OptionalView(), view_of(again, s), view_of(mean, sc),
                      view_of(variance, sc));
  CHECK(y == again);
  batch_norm_training_backward(params, view_of(net.x, s), view_of(net.dy, s), OptionalView(), OptionalView(),
                               view_of(mean, sc), view_of(variance, sc), view_of(dx, s), std::nullopt, std::nullopt);
  std::vector<float> in_place = net.dy;
  batch_norm_training_backward(params, view_of(net.x, s), view_of(std::as_const(in_place), s), OptionalView(),
                               OptionalView(), view_of(mean, sc), view_of(variance, sc), view_of(in_place, s),
                               std::nullopt, std::nullopt);
  CHECK(dx == in_place);
}

TEST_CASE("simd batch norm shows a NaN in its statistics", "[simd]") {
  for_each_target([] {
    Net net(300, 4);
    net.x[4 * 150 + 2] = NAN;
    std::vector<float> y(net.x.size()), mean(4), variance(4);
    ForceImplementation force("simd", true);
    batch_norm_training({1e-5, {Activation::relu}}, view_of(net.x, net.shape()), OptionalView(), OptionalView(),
                        view_of(y, net.shape()), view_of(mean, {4}), view_of(variance, {4}));
    CHECK(std::isnan(mean[2]));
    CHECK(std::isnan(variance[2]));
    CHECK(std::isnan(y[2]));
    CHECK_FALSE(std::isnan(y[1]));
  });
}

TEST_CASE("simd activations are within a few ulp on the whole line and keep NaN and infinity", "[simd]") {
  for_each_target([] {
    std::vector<float> x;
    for (double v = -110; v <= 110; v += 0.00371) x.push_back(static_cast<float>(v));
    for (double v = 1e-30; v < 1; v *= 1.07) {
      x.push_back(static_cast<float>(v));
      x.push_back(static_cast<float>(-v));
    }
    const Shape s{static_cast<std::int64_t>(x.size())};
    std::vector<float> y(x.size()), dy(x.size(), 1.0f), dx(x.size());
    for (int k = 0; k <= static_cast<int>(Activation::tanh); ++k) {
      const ActivationParams params{static_cast<Activation>(k), 0.1};
      {
        ForceImplementation force("simd", true);
        activation_forward(params, view_of(std::as_const(x), s), view_of(y, s));
        activation_backward(params, view_of(std::as_const(x), s), view_of(std::as_const(y), s),
                            view_of(std::as_const(dy), s), view_of(dx, s));
      }
      double worst = 0, worst_gradient = 0;
      float at = 0, gradient_at = 0;
      std::vector<double> x64(x.begin(), x.end()), y64(x.size()), one(x.size(), 1.0), dx64(x.size());
      const auto view64 = [&](std::vector<double>& v) {
        View view;
        view.data = v.data();
        view.shape = s;
        view.dtype = DType::f64;
        return view;
      };
      activation_forward(params, view64(x64), view64(y64));
      activation_backward(params, view64(x64), view64(y64), view64(one), view64(dx64));
      for (std::size_t i = 0; i < x.size(); ++i) {
        // Error in units of the operand's last place, because x·Φ(x) cancels for x far below 0; bounded outputs in
        // units of 2^-24.
        const double unit = std::max(std::fabs(y64[i]), k >= static_cast<int>(Activation::silu) &&
                                                                k != static_cast<int>(Activation::hard_sigmoid)
                                                            ? std::min(std::fabs(static_cast<double>(x[i])), 1.0)
                                                            : 0.0);
        const double error = std::fabs(y[i] - y64[i]) / (unit * 0x1p-24 + 1e-38);
        if (error > worst) worst = error, at = x[i];
        const double gradient_error = std::fabs(dx[i] - dx64[i]) / (0x1p-24 * (1 + std::fabs(dx64[i])));
        if (gradient_error > worst_gradient) worst_gradient = gradient_error, gradient_at = x[i];
      }
      INFO(to_string(params.kind) << ": worst " << worst << " at " << at << ", gradient " << worst_gradient << " at "
                                  << gradient_at);
      CHECK(worst < 12);
      CHECK(worst_gradient < 12);
      const float special[] = {NAN, INFINITY, -INFINITY};
      std::vector<float> in(special, special + 3), out(3);
      ForceImplementation force("simd", true);
      activation_forward(params, view_of(std::as_const(in), {3}), view_of(out, {3}));
      CHECK(std::isnan(out[0]));
      CHECK_FALSE(std::isnan(out[1]));
    }
  });
}

TEST_CASE("erf behind the exact GELU: at most 3 ulp", "[simd]") {
  for_each_target([] {
    // gelu(x) = x/2·(1 + erf(x/√2)); where erf is tiny next to 1 its error shows in GELU's own ulps only.
    std::vector<float> x;
    for (double v = 0.001; v < 6; v += 0.00019) x.push_back(static_cast<float>(v));
    const Shape s{static_cast<std::int64_t>(x.size())};
    std::vector<float> y(x.size());
    ForceImplementation force("simd", true);
    activation_forward({Activation::gelu}, view_of(std::as_const(x), s), view_of(y, s));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, ulps(y[i], x[i] * 0.5 * std::erfc(-x[i] * 0.70710678118654752)));
    INFO("worst " << worst);
    CHECK(worst < 3);
  });
}
