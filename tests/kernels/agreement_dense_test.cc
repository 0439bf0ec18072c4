// Fast matrix products and dense layers against the reference in double: odd sizes around every tile, panel and block,
// transposes, accumulation, activations, one thread and several. c = 4 as for convolutions.
#include <algorithm>

#include "agreement.h"
#include "core/tensor.h"
#include "core/threads/parallel.h"
#include "kernels/dense.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::agreement;

namespace {

constexpr double kC = 4;

struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

struct Product {
  std::int64_t m, n, k;
};

/// Sizes around what the kernels cut at: tiles of 6, 10 and 12 rows, vectors of 4, 8 and 16 columns, panels of two
/// vectors, 4 thin rows, 144 rows and 640 deep per block, 192 positions of an outer product.
std::vector<Product> products() {
  std::vector<Product> all;
  for (const std::int64_t m : {1, 2, 3, 4, 5, 7, 13}) {
    for (const std::int64_t n : {1, 3, 8, 15, 17, 33}) {
      for (const std::int64_t k : {1, 2, 9, 31}) all.push_back({m, n, k});
    }
  }
  for (const Product& p : std::initializer_list<Product>{{145, 5, 7},
                                                         {150, 33, 3},
                                                         {7, 47, 641},
                                                         {3, 131, 650},
                                                         {13, 16, 1283},
                                                         {83, 9, 197},
                                                         {81, 17, 193},
                                                         {1, 1000, 65},
                                                         {4, 259, 40},
                                                         {5, 300, 64},
                                                         {64, 64, 64}}) {
    all.push_back(p);
  }
  return all;
}

void sweep_matmul(const char* prefix, bool several_threads) {
  Tally tally{prefix};
  int count = 0;
  for (const Product& p : products()) {
    for (int bits = 0; bits < 4; ++bits) {
      const bool ta = bits & 1, tb = bits & 2, accumulate = ++count % 3 == 0;
      const std::int64_t misalign = count % 4;
      Rng rng(5, "matmul", static_cast<std::uint64_t>(count));
      Floats a(ta ? Shape{p.k, p.m} : Shape{p.m, p.k}, misalign), b(tb ? Shape{p.n, p.k} : Shape{p.k, p.n}, misalign),
          c0(Shape{p.m, p.n}), c(Shape{p.m, p.n}, misalign);
      for (Floats* f : {&a, &b, &c0}) f->fill_uniform(rng);
      const Doubles a64(a), b64(b);
      Doubles want(c0), magnitude = want.absolute();
      {
        const ForceImplementation force("reference");
        matmul(a64, ta, b64, tb, want.view(), accumulate);
        matmul(a64.absolute(), ta, b64.absolute(), tb, magnitude.view(), accumulate);
      }
      INFO("m " << p.m << " n " << p.n << " k " << p.k << " transposed " << ta << tb << " accumulate " << accumulate);
      on_targets(prefix, [&] {
        for (const int threads : {1, 3}) {
          if (threads > 1 && !several_threads) continue;
          const Threads team(threads);
          c.poison();
          if (accumulate) std::copy_n(c0.data(), c0.size(), c.data());
          if (!tally.run([&] { matmul(a, ta, b, tb, c.view(), accumulate); })) continue;
          const std::string wrong = difference(c, want, magnitude, kC);
          INFO("threads " << threads << ": " << wrong);
          CHECK(wrong.empty());
        }
      });
      CHECK((a.margins_intact() && b.margins_intact()));
    }
  }
  FOVEA_SKIP_UNLESS_RAN(&tally);
  CHECK(tally.declined == 0);
}

constexpr Activation kAll[] = {
    Activation::none,    Activation::relu,      Activation::relu6,      Activation::leaky_relu,
    Activation::sigmoid, Activation::silu,      Activation::hard_swish, Activation::hard_sigmoid,
    Activation::gelu,    Activation::gelu_tanh, Activation::tanh,
};

void sweep_dense(const char* prefix) {
  Tally forward{prefix}, data{prefix}, weights{prefix};
  std::uint64_t count = 0;
  for (const Product& p : products()) {
    const bool with_bias = ++count % 3 != 0;
    const ActivationParams act{kAll[count % std::size(kAll)], 0.2};
    Rng rng(6, "dense", count);
    const Shape xs{p.m, p.k}, ws{p.k, p.n}, ys{p.m, p.n}, bs{p.n};
    Floats x(xs, static_cast<std::int64_t>(count % 3)), w(ws), bias(bs), dy(ys), y(ys), dx(xs), dw(ws), db(bs);
    for (Floats* f : {&x, &w, &bias, &dy}) f->fill_uniform(rng);
    const Doubles x64(x), w64(w), bias64(bias), dy64(dy);
    Doubles want_y(ys), size_y(ys), want_dx(xs), size_dx(xs), want_dw(ws), size_dw(ws), want_db(bs), size_db(bs);
    const auto maybe = [&](const ConstView& v) { return with_bias ? OptionalView(v) : OptionalView(); };
    const auto maybe_out = [&](View v) { return with_bias ? std::optional<View>(v) : std::nullopt; };
    {
      const ForceImplementation force("reference");
      dense_forward(x64, w64, maybe(bias64), want_y.view(), act);
      dense_forward(x64.absolute(), w64.absolute(), maybe(bias64.absolute()), size_y.view());
      dense_backward_data(dy64, w64, want_dx.view());
      dense_backward_data(dy64.absolute(), w64.absolute(), size_dx.view());
      dense_backward_weights(x64, dy64, want_dw.view(), want_db.view());
      dense_backward_weights(x64.absolute(), dy64.absolute(), size_dw.view(), size_db.view());
    }
    // No activation is steeper than 1.13, but a bounded one has a rounding error of its own, near 1.
    for (double& v : size_y.values) v += 1;
    INFO("m " << p.m << " n " << p.n << " k " << p.k << (with_bias ? " bias " : " ") << to_string(act.kind));
    const auto check = [](const char* what, const Floats& have, const Doubles& want, const Doubles& magnitude) {
      const std::string wrong = difference(have, want, magnitude, kC);
      INFO(what << ": " << wrong);
      CHECK(wrong.empty());
    };
    on_targets(prefix, [&] {
      for (Floats* f : {&y, &dx, &dw, &db}) f->poison();
      if (forward.run([&] { dense_forward(x, w, maybe(bias), y.view(), act); })) check("forward", y, want_y, size_y);
      if (data.run([&] { dense_backward_data(dy, w, dx.view()); })) check("backward_data", dx, want_dx, size_dx);
      if (weights.run([&] { dense_backward_weights(x, dy, dw.view(), maybe_out(db.view())); })) {
        check("backward_weights", dw, want_dw, size_dw);
        if (with_bias) check("dbias", db, want_db, size_db);
      }
    });
    CHECK((x.margins_intact() && w.margins_intact() && dy.margins_intact() && bias.margins_intact()));
  }
  FOVEA_SKIP_UNLESS_RAN(&forward, &data, &weights);
  CHECK(data.declined == 0);
  CHECK(weights.declined == 0);
  if (std::string_view(prefix) == "simd") CHECK(forward.declined == 0);
}

/// The weights of a layer are kept packed by (storage, version): a change must show, in both directions.
void weights_change(Tally& tally) {
  Tensor x = Tensor::ones({9, 20}), w = Tensor::full({20, 30}, 0.5), y({9, 30}), dx({9, 20});
  for (const double value : {0.5, 2.0, -1.0}) {
    w.fill(value);
    if (!tally.run([&] { dense_forward(x.view(), w.view(), std::nullopt, y.mutable_view()); })) return;
    CHECK(y.to_vector<double>() == std::vector<double>(270, 20 * value));
    const Tensor ones = Tensor::ones(y.shape());
    tally.run([&] { dense_backward_data(ones.view(), w.view(), dx.mutable_view()); });
    CHECK(dx.to_vector<double>() == std::vector<double>(180, 30 * value));
  }
}

}  // namespace

TEST_CASE("f32 reference products and dense layers agree with those in double", "[reference]") {
  sweep_matmul("reference", false);
  sweep_dense("reference");
}
TEST_CASE("simd matrix products agree with the reference on one thread and three", "[simd]") {
  sweep_matmul("simd", true);
}
TEST_CASE("simd dense layers agree with the reference in all directions with every activation", "[simd]") {
  sweep_dense("simd");
}
TEST_CASE("oneDNN matrix products and dense layers agree with the reference", "[onednn]") {
  sweep_matmul("onednn", false);
  sweep_dense("onednn");
}
TEST_CASE("simd dense layers see changed weights", "[simd]") {
  Tally tally{"simd"};
  on_targets("simd", [&] { weights_change(tally); });
  CHECK(tally.ran > 0);
}
TEST_CASE("oneDNN dense layers see changed weights", "[onednn]") {
  Tally tally{"onednn"};
  weights_change(tally);
  FOVEA_SKIP_UNLESS_RAN(&tally);
}

TEST_CASE("products of empty extents are zero, the addend, or the bias") {
  const Tensor a({3, 0}), b({0, 2}), none({0, 4}), w = Tensor::ones({4, 2});
  Tensor c = Tensor::full({3, 2}, 5), y({0, 2});
  matmul(a.view(), false, b.view(), false, c.mutable_view(), true);
  CHECK(c.to_vector<double>() == std::vector<double>(6, 5.0));
  matmul(a.view(), false, b.view(), false, c.mutable_view());
  CHECK(c.to_vector<double>() == std::vector<double>(6, 0.0));
  dense_forward(none.view(), w.view(), std::nullopt, y.mutable_view());
  Tensor dw = Tensor::full({4, 2}, 7), db = Tensor::full({2}, 7);
  dense_backward_weights(none.view(), y.view(), dw.mutable_view(), db.mutable_view());
  CHECK(dw.to_vector<double>() == std::vector<double>(8, 0.0));
  CHECK(db.to_vector<double>() == std::vector<double>(2, 0.0));
  CHECK_THROWS_AS(matmul(w.view(), false, w.view(), false, c.mutable_view()), Error);
}
