// Reference convolution against an oracle written differently: the image is padded explicitly, unrolled into a matrix
// of patches (im2col) and multiplied; gradients are the transposed products. Also padding rules, transposed convolution
// and error texts.
#include "kernels/conv2d.h"

#include <cmath>
#include <vector>

#include "catch.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/registry.h"

using namespace fovea;
using namespace fovea::kernels;

namespace {

using Values = std::vector<double>;

Tensor random(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed, "conv test");
  Tensor t(shape, DType::f64);
  for (double& v : std::span(t.mutable_data<double>(), static_cast<std::size_t>(t.numel()))) v = rng.uniform(-1, 1);
  return t;
}
Tensor poisoned(const Shape& shape) { return Tensor::full(shape, std::nan(""), DType::f64); }

/// Convolution by explicit padding and im2col, one group at a time.
struct Oracle {
  std::int64_t n, h, w, ci, kh, kw, co, groups, ph, pw, ho, wo;
  Padding pad;
  Conv2dParams params;

  Oracle(const Conv2dParams& p, const Shape& x, const Shape& k)
      : n(x[0]), h(x[1]), w(x[2]), ci(x[3]), kh(k[0]), kw(k[1]), co(k[3]), groups(p.groups), params(p) {
    pad = p.padding;
    if (pad.rule == Padding::Rule::tf_same) {  // ceil(in/stride) results; the odd zero goes behind
      const auto both = [](std::int64_t in, std::int64_t size, int s, int d) {
        std::int64_t out = in / s + (in % s != 0), need = (out - 1) * s + d * (size - 1) + 1;
        return static_cast<int>(need > in ? need - in : 0);
      };
      const int v = both(h, kh, p.stride.h, p.dilation.h), u = both(w, kw, p.stride.w, p.dilation.w);
      pad = Padding::sides(v / 2, v - v / 2, u / 2, u - u / 2);
    }
    ph = h + pad.top + pad.bottom;
    pw = w + pad.left + pad.right;
    ho = (ph - (kh - 1) * p.dilation.h - 1) / p.stride.h + 1;
    wo = (pw - (kw - 1) * p.dilation.w - 1) / p.stride.w + 1;
  }

  Values padded(const Tensor& x) const {
    Values out(static_cast<std::size_t>(n * ph * pw * ci), 0.0);
    for (std::int64_t b = 0; b < n; ++b) {
      for (std::int64_t r = 0; r < h; ++r) {
        std::copy_n(x.data<double>() + (b * h + r) * w * ci, w * ci,
                    out.data() + ((b * ph + r + pad.top) * pw + pad.left) * ci);
      }
    }
    return out;
  }
  /// Where patch row `row` (n, i, j) and column (a, b, c within the group) lies in the padded image.
  std::size_t at(std::int64_t row, std::int64_t column, std::int64_t group) const {
    const std::int64_t j = row % wo, i = row / wo % ho, b = row / wo / ho, width = ci / groups;
    const std::int64_t c = column % width, tx = column / width % kw, ty = column / width / kw;
    const std::int64_t r = i * params.stride.h + ty * params.dilation.h,
                       s = j * params.stride.w + tx * params.dilation.w;
    return static_cast<std::size_t>(((b * ph + r) * pw + s) * ci + group * width + c);
  }
  std::int64_t rows() const { return n * ho * wo; }
  std::int64_t columns() const { return kh * kw * ci / groups; }

  Values forward(const Tensor& x, const Tensor& weights, const Tensor& bias) const {
    const Values image = padded(x);
    Values y(static_cast<std::size_t>(rows() * co));
    for (std::int64_t row = 0; row < rows(); ++row) {
      for (std::int64_t o = 0; o < co; ++o) {
        double sum = bias.defined() ? bias.data<double>()[o] : 0;
        for (std::int64_t k = 0; k < columns(); ++k)
          sum += image[at(row, k, o / (co / groups))] * weights.data<double>()[k * co + o];
        y[static_cast<std::size_t>(row * co + o)] = sum;
      }
    }
    return y;
  }
  Values backward_data(const Tensor& dy, const Tensor& weights) const {
    Values image(static_cast<std::size_t>(n * ph * pw * ci), 0.0);
    for (std::int64_t row = 0; row < rows(); ++row) {
      for (std::int64_t k = 0; k < columns(); ++k) {
        for (std::int64_t o = 0; o < co; ++o) {
          image[at(row, k, o / (co / groups))] += dy.data<double>()[row * co + o] * weights.data<double>()[k * co + o];
        }
      }
    }
    Values dx;
    for (std::int64_t b = 0; b < n; ++b) {
      for (std::int64_t r = 0; r < h; ++r) {
        const auto first = image.begin() + ((b * ph + r + pad.top) * pw + pad.left) * ci;
        dx.insert(dx.end(), first, first + w * ci);
      }
    }
    return dx;
  }
  Values backward_weights(const Tensor& x, const Tensor& dy) const {
    const Values image = padded(x);
    Values dw(static_cast<std::size_t>(columns() * co), 0.0);
    for (std::int64_t row = 0; row < rows(); ++row) {
      for (std::int64_t k = 0; k < columns(); ++k) {
        for (std::int64_t o = 0; o < co; ++o) {
          dw[static_cast<std::size_t>(k * co + o)] +=
              image[at(row, k, o / (co / groups))] * dy.data<double>()[row * co + o];
        }
      }
    }
    return dw;
  }
};

void check_equal(const Tensor& result, const Values& expected) {
  REQUIRE(static_cast<std::size_t>(result.numel()) == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(result.data<double>()[i] - expected[i]);
    worst = error <= worst ? worst : error;  // NaN becomes the worst
  }
  CHECK(worst <= 1e-12);
}

void compare(const Conv2dParams& params, const Shape& x_shape, const Shape& w_shape, bool with_bias) {
  INFO("x " << x_shape.to_string() << " w " << w_shape.to_string() << " stride " << params.stride.h << ","
            << params.stride.w << " dilation " << params.dilation.h << " groups " << params.groups << " padding "
            << params.padding.top << params.padding.bottom << params.padding.left << params.padding.right
            << (params.padding.rule == Padding::Rule::tf_same ? " tf_same" : ""));
  const ForceImplementation force("reference");
  const Oracle oracle(params, x_shape, w_shape);
  const Shape y_shape = conv2d_shape(params, x_shape, w_shape);
  REQUIRE(y_shape == Shape{x_shape[0], oracle.ho, oracle.wo, w_shape[3]});
  const Tensor x = random(x_shape, 1), w = random(w_shape, 2), bias = with_bias ? random({w_shape[3]}, 3) : Tensor(),
               dy = random(y_shape, 4);
  Tensor y = poisoned(y_shape), dx = poisoned(x_shape), dw = poisoned(w_shape), dbias = poisoned({w_shape[3]});
  conv2d_forward(params, x.view(), w.view(), with_bias ? OptionalView(bias.view()) : std::nullopt, y.mutable_view());
  check_equal(y, oracle.forward(x, w, bias));
  conv2d_backward_data(params, dy.view(), w.view(), dx.mutable_view());
  check_equal(dx, oracle.backward_data(dy, w));
  conv2d_backward_weights(params, x.view(), dy.view(), dw.mutable_view(), dbias.mutable_view());
  check_equal(dw, oracle.backward_weights(x, dy));
  Values sums(static_cast<std::size_t>(w_shape[3]), 0.0);
  for (std::int64_t i = 0; i < dy.numel(); ++i) sums[static_cast<std::size_t>(i % w_shape[3])] += dy.data<double>()[i];
  check_equal(dbias, sums);
}

std::string error_of(const Conv2dParams& params, const Shape& x, const Shape& w) {
  try {
    conv2d_shape(params, x, w);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("reference convolution equals padding, im2col and a product") {
  int cases = 0;
  for (const int groups : {1, 2, 4}) {
    for (const int stride : {1, 2, 3}) {
      for (const int dilation : {1, 2}) {
        for (const Padding& padding : {Padding::valid(), Padding::same_both(1), Padding::sides(0, 1, 0, 1),
                                       Padding::sides(2, 0, 1, 3), Padding::tf_same()}) {
          for (const std::int64_t size : {5, 6}) {
            compare(
                {.stride = {stride, stride}, .padding = padding, .dilation = {dilation, dilation}, .groups = groups},
                {2, size, size + 1, 4}, {3, 2, 4 / groups, 8}, cases++ % 2 == 0);
          }
        }
      }
    }
  }
  CHECK(cases == 180);
}

TEST_CASE("reference convolution: single pixels, empty batches, unequal strides, windows in the padding") {
  compare({}, {1, 1, 1, 1}, {1, 1, 1, 1}, true);
  compare({.padding = Padding::same_both(1)}, {1, 1, 1, 3}, {3, 3, 3, 2}, true);
  compare({.padding = Padding::same_both(1)}, {0, 4, 4, 3}, {3, 3, 3, 2}, true);
  compare({.stride = {2, 3}, .padding = Padding::symmetric(0, 2), .dilation = {1, 2}}, {3, 7, 9, 2}, {2, 3, 2, 5},
          false);
  compare({.stride = {3, 3}, .padding = Padding::same_both(4), .groups = 3}, {1, 2, 2, 3}, {2, 2, 1, 6}, true);
}

TEST_CASE("convolution of numbers one can check by hand") {
  const Tensor x = Tensor::from<float>({1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Tensor w = Tensor::from<float>({2, 2, 1, 1}, {1, 0, 0, -1});
  const Tensor bias = Tensor::from<float>({1}, {0.5f});
  Tensor y({1, 2, 2, 1});
  conv2d_forward({}, x.view(), w.view(), bias.view(), y.mutable_view());
  CHECK(y.to_vector<float>() == std::vector<float>{-3.5f, -3.5f, -3.5f, -3.5f});
  conv2d_forward({}, x.view(), w.view(), bias.view(), y.mutable_view(), {Activation::relu});
  CHECK(y.to_vector<float>() == std::vector<float>{0, 0, 0, 0});
}

TEST_CASE("depthwise results of channel c stand at c·multiplier") {
  const Tensor x = Tensor::from<float>({1, 1, 1, 2}, {10, 100});
  const Tensor w = Tensor::from<float>({1, 1, 1, 4}, {1, 2, 3, 4});
  Tensor y({1, 1, 1, 4});
  conv2d_forward({.groups = 2}, x.view(), w.view(), std::nullopt, y.mutable_view());
  CHECK(y.to_vector<float>() == std::vector<float>{10, 20, 300, 400});
}

TEST_CASE("TensorFlow's 'same' resolves per size") {
  struct Row {
    std::int64_t in;
    int kernel, stride, dilation, before, behind;
  };
  // Values of tf.nn.conv2d(padding="SAME").
  const Row rows[] = {{224, 3, 2, 1, 0, 1}, {225, 3, 2, 1, 1, 1}, {5, 3, 1, 1, 1, 1}, {5, 2, 1, 1, 0, 1},
                      {7, 7, 2, 1, 3, 3},   {8, 7, 2, 1, 2, 3},   {4, 1, 2, 1, 0, 0}, {5, 1, 2, 1, 0, 0},
                      {6, 3, 1, 2, 2, 2},   {6, 2, 4, 1, 0, 0},   {9, 5, 3, 1, 1, 1}, {10, 5, 3, 1, 2, 2},
                      {1, 3, 2, 1, 1, 1},   {6, 4, 1, 1, 1, 2},   {7, 3, 3, 2, 2, 2}};
  for (const Row& r : rows) {
    INFO(r.in << " kernel " << r.kernel << " stride " << r.stride << " dilation " << r.dilation);
    const Padding p = resolve_padding(Padding::tf_same(), r.in, r.in, r.kernel, r.kernel, {r.stride, r.stride},
                                      {r.dilation, r.dilation});
    CHECK(p == Padding::sides(r.before, r.behind, r.before, r.behind));
    const Conv2dParams params{
        .stride = {r.stride, r.stride}, .padding = Padding::tf_same(), .dilation = {r.dilation, r.dilation}};
    const std::int64_t out = conv2d_shape(params, {1, r.in, r.in, 1}, {r.kernel, r.kernel, 1, 1})[1];
    CHECK(out == (r.in + r.stride - 1) / r.stride);
  }
  CHECK(resolve_padding(Padding::sides(1, 2, 3, 4), 5, 5, 3, 3, {1, 1}, {1, 1}) == Padding::sides(1, 2, 3, 4));
}

TEST_CASE("convolution says what does not fit") {
  CHECK(error_of({}, {1, 224, 224, 3}, {3, 3, 32, 64}) ==
        "[conv2d] weights expect 32 input channels, input has 3 (NHWC 1×224×224×3, HWIO 3×3×32×64)");
  CHECK(error_of({}, {1, 2, 9, 3}, {3, 3, 3, 4})
            .starts_with("[conv2d] a window of height 3 does not fit into the padded input of height 2"));
  CHECK(error_of({.groups = 2}, {1, 4, 4, 3}, {3, 3, 1, 4}).find("divide into 2 groups") != std::string::npos);
  CHECK(error_of({.stride = {0, 1}}, {1, 4, 4, 3}, {3, 3, 3, 4}).find("stride must be at least 1, got 0×1") !=
        std::string::npos);
  CHECK(error_of({.dilation = {1, -1}}, {1, 4, 4, 3}, {3, 3, 3, 4}).find("dilation") != std::string::npos);
  CHECK(error_of({.padding = Padding::sides(-1, 0, 0, 0)}, {1, 4, 4, 3}, {3, 3, 3, 4})
            .find("padding must not be negative") != std::string::npos);
  CHECK(error_of({.groups = 0}, {1, 4, 4, 3}, {3, 3, 3, 4}).find("groups") != std::string::npos);
  CHECK(error_of({}, {4, 4, 3}, {3, 3, 3, 4}).find("input expects 4 axes (NHWC), has 4×4×3") != std::string::npos);
  CHECK(error_of({}, {1, 0, 4, 3}, {1, 1, 3, 4}).find("at least one pixel") != std::string::npos);

  // Nothing is written before the checks are done.
  const Tensor x = random({1, 4, 4, 2}, 1), w = random({3, 3, 2, 3}, 2);
  Tensor wrong = Tensor::full({1, 2, 2, 4}, 7, DType::f64), mixed = Tensor::full({1, 2, 2, 3}, 7);
  CHECK_THROWS_AS(conv2d_forward({}, x.view(), w.view(), std::nullopt, wrong.mutable_view()), Error);
  CHECK_THROWS_AS(conv2d_forward({}, x.view(), w.view(), std::nullopt, mixed.mutable_view()), Error);
  CHECK(wrong.to_vector<float>() == std::vector<float>(16, 7));
  CHECK(mixed.to_vector<float>() == std::vector<float>(12, 7));
  const Tensor bias = random({2}, 3);
  Tensor y = poisoned({1, 2, 2, 3});
  CHECK_THROWS_AS(conv2d_forward({}, x.view(), w.view(), bias.view(), y.mutable_view()), Error);
  const Tensor bytes = Tensor::zeros({1, 4, 4, 2}, DType::u8);
  CHECK_THROWS_AS(conv2d_forward({}, bytes.view(), w.view(), std::nullopt, y.mutable_view()), Error);
}

TEST_CASE("transposed convolution inserts zeros and convolves with the flipped kernel") {
  // The textbook construction: y[i·s + a·d − top] += x[i]·w[a], built up the other way round than the reference does
  // it.
  int cases = 0;
  for (const int groups : {1, 2}) {
    for (const int stride : {1, 2, 3}) {
      for (const int dilation : {1, 2}) {
        for (const Padding& padding :
             {Padding::valid(), Padding::same_both(1), Padding::sides(0, 1, 1, 0), Padding::tf_same()}) {
          for (int extra = 0; extra < (padding.rule == Padding::Rule::tf_same ? 1 : stride); ++extra) {
            ++cases;
            const ConvTranspose2dParams params{.stride = {stride, stride},
                                               .padding = padding,
                                               .dilation = {dilation, dilation},
                                               .output_padding = {extra, extra},
                                               .groups = groups};
            const Shape xs{2, 3, 4, 4}, ws{3, 2, 6 / groups, 4}, ys = conv_transpose2d_shape(params, xs, ws);
            INFO("stride " << stride << " dilation " << dilation << " groups " << groups << " extra " << extra << " y "
                           << ys.to_string());
            const Tensor x = random(xs, 1), w = random(ws, 2), bias = random({6}, 3), dy = random(ys, 4);
            const Padding pad = resolve_padding(padding, ys[1], ys[2], 3, 2, {stride, stride}, {dilation, dilation});
            Values y(static_cast<std::size_t>(ys.numel())), dx(static_cast<std::size_t>(xs.numel())),
                dw(static_cast<std::size_t>(ws.numel()));
            for (std::size_t i = 0; i < y.size(); ++i) y[i] = bias.data<double>()[i % 6];
            const std::int64_t in_width = 4 / groups, out_width = 6 / groups;
            const auto xv = x.view().typed<double>(), wv = w.view().typed<double>(), dyv = dy.view().typed<double>();
            for (std::int64_t n = 0; n < 2; ++n)
              for (std::int64_t i = 0; i < 3; ++i)
                for (std::int64_t j = 0; j < 4; ++j)
                  for (std::int64_t c = 0; c < 4; ++c)
                    for (std::int64_t a = 0; a < 3; ++a)
                      for (std::int64_t b = 0; b < 2; ++b)
                        for (std::int64_t o = 0; o < out_width; ++o) {
                          const std::int64_t r = i * stride + a * dilation - pad.top,
                                             s = j * stride + b * dilation - pad.left;
                          if (r < 0 || r >= ys[1] || s < 0 || s >= ys[2]) continue;
                          const std::int64_t to = ((n * ys[1] + r) * ys[2] + s) * 6 + c / in_width * out_width + o;
                          const std::int64_t xi = ((n * 3 + i) * 4 + j) * 4 + c,
                                             wi = ((a * 2 + b) * out_width + o) * 4 + c;
                          y[static_cast<std::size_t>(to)] += xv[xi] * wv[wi];
                          dx[static_cast<std::size_t>(xi)] += dyv[to] * wv[wi];
                          dw[static_cast<std::size_t>(wi)] += dyv[to] * xv[xi];
                        }
            Tensor got_y = poisoned(ys), got_dx = poisoned(xs), got_dw = poisoned(ws), got_dbias = poisoned({6});
            conv_transpose2d_forward(params, x.view(), w.view(), bias.view(), got_y.mutable_view());
            conv_transpose2d_backward_data(params, dy.view(), w.view(), got_dx.mutable_view());
            conv_transpose2d_backward_weights(params, x.view(), dy.view(), got_dw.mutable_view(),
                                              got_dbias.mutable_view());
            check_equal(got_y, y);
            check_equal(got_dx, dx);
            check_equal(got_dw, dw);
            Values sums(6);
            for (std::int64_t k = 0; k < dy.numel(); ++k) sums[static_cast<std::size_t>(k % 6)] += dyv[k];
            check_equal(got_dbias, sums);
          }
        }
      }
    }
  }
  CHECK(cases == 84);
  CHECK(conv_transpose2d_shape({.stride = {2, 2}, .padding = Padding::tf_same()}, {1, 7, 5, 3}, {3, 3, 8, 3}) ==
        Shape{1, 14, 10, 8});
}

TEST_CASE("transposed convolution says what does not fit") {
  CHECK_THROWS_AS(conv_transpose2d_shape({.output_padding = {1, 0}}, {1, 4, 4, 3}, {3, 3, 8, 3}), Error);
  CHECK_THROWS_AS(conv_transpose2d_shape({.padding = Padding::same_both(9)}, {1, 4, 4, 3}, {3, 3, 8, 3}), Error);
  CHECK_THROWS_AS(conv_transpose2d_shape({}, {1, 4, 4, 3}, {3, 3, 3, 8}), Error);
  CHECK_THROWS_AS(conv_transpose2d_shape({.stride = {2, 2}, .padding = Padding::tf_same(), .output_padding = {1, 1}},
                                         {1, 4, 4, 3}, {3, 3, 8, 3}),
                  Error);
  Tensor empty({0, 4, 4, 3}), w({3, 3, 8, 3}), y({0, 6, 6, 8}), dw = Tensor::ones(w.shape()), dbias = Tensor::ones({8});
  w.zero();
  conv_transpose2d_forward({}, empty.view(), w.view(), std::nullopt, y.mutable_view());
  conv_transpose2d_backward_weights({}, empty.view(), y.view(), dw.mutable_view(), dbias.mutable_view());
  CHECK(dbias.to_vector<float>() == std::vector<float>(8, 0));
  CHECK(dw.to_vector<float>() == std::vector<float>(216, 0));
}
