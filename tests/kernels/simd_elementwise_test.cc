// Broadcasting, reductions, softmax, dropout and optimizer steps of the Highway path against the double-precision
// reference, on every target of this CPU.
#include <cmath>

#include "core/threads/parallel.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "kernels/registry.h"
#include "kernels/simd_targets.h"

using namespace fovea;
using namespace fovea::kernels;
using fovea::test::for_each_target;
using fovea::test::random_values;
using fovea::test::view_of;

namespace {

/// The same values in f32 and f64; runs one call on the fast path and one on the reference.
struct Both {
  Shape shape;
  std::vector<float> fast;
  std::vector<double> exact;
  explicit Both(const Shape& s, std::uint64_t seed = 0)
      : shape(s), fast(random_values(s.numel(), seed)), exact(fast.begin(), fast.end()) {
    if (seed == 0) fast.assign(fast.size(), NAN);
  }
  View f32() { return view_of(fast, shape); }
  View f64() {
    View v;
    v.data = exact.data();
    v.shape = shape;
    v.dtype = DType::f64;
    return v;
  }
  double error(double scale = 1) const {
    double w = 0;
    for (std::size_t i = 0; i < fast.size(); ++i) {
      const double e = std::fabs(fast[i] - exact[i]) / (scale + std::fabs(exact[i]));
      if (!(e <= w)) w = e;
    }
    return w;
  }
};

template <class Call>
void run_both(Call call) {
  {
    ForceImplementation force("simd", true);
    call([](Both& b) { return b.f32(); });
  }
  ForceImplementation force("reference");
  call([](Both& b) { return b.f64(); });
}

}  // namespace

TEST_CASE("simd binary operations broadcast as the reference does", "[simd]") {
  const std::pair<Shape, Shape> cases[] = {
      {{5, 3, 4, 7}, {5, 3, 4, 7}},
      {{5, 3, 4, 7}, {7}},
      {{5, 3, 4, 32}, {32}},
      {{5, 3, 4, 7}, {5, 1, 1, 7}},
      {{3, 9, 9, 16}, {3, 1, 1, 16}},
      {{6, 5}, {6, 1}},
      {{5, 4}, {1}},
      {{2, 40, 50, 1}, {1}},
      {{1}, {1}},
      {{1000}, {1}},
      {{70, 30, 2, 3}, {3}},
      {{40, 6, 7, 1}, {40, 1, 1, 1}},
      {{2, 3, 4}, {3, 1}} /* declined */,
      {{}, {}},
  };
  for_each_target([&] {
    for (const auto& [large, small] : cases) {
      for (const bool swapped : {false, true}) {
        for (const Binary kind : {Binary::add, Binary::subtract, Binary::multiply}) {
          Both a(swapped ? small : large, 1), b(swapped ? large : small, 2), y(large);
          INFO(large.to_string() << " and " << small.to_string() << (swapped ? " swapped" : "") << " kind "
                                 << static_cast<int>(kind));
          // Declined where more than one run of axes is spread: then strictness would throw.
          ForceImplementation force("simd", false);
          binary(kind, a.f32(), b.f32(), y.f32());
          binary(kind, a.f64(), b.f64(), y.f64());
          CHECK(y.error() < 2e-7);
        }
      }
    }
    Both a({1000}, 1), b({1000}, 2);
    run_both([&](auto v) { binary(Binary::add, v(a), v(b), v(a)); });
    CHECK(a.error() < 2e-7);
  });
}

TEST_CASE("simd reductions, their gradients, concatenation and affine maps agree with the reference", "[simd]") {
  struct Case {
    Shape x, y;
    std::vector<int> axes;
  };
  const Case cases[] = {{{4, 9, 8, 17}, {17}, {0, 1, 2}},
                        {{64, 28, 28, 3}, {3}, {0, 1, 2}},
                        {{4, 9, 8, 17}, {4, 17}, {1, 2}},
                        {{40, 3, 2, 5}, {40, 5}, {1, 2}},
                        {{700}, {}, {0}},
                        {{50000}, {}, {0}},
                        {{6, 300}, {6}, {1}},
                        {{90, 10}, {90}, {1}},
                        {{1, 5}, {5}, {0}},
                        {{3, 1, 4}, {3, 4}, {1}}};
  for_each_target([&] {
    for (const Case& c : cases) {
      for (const Reduction kind : {Reduction::sum, Reduction::mean}) {
        Both x(c.x, 1), y(c.y), dx(c.x), dy(c.y, 3);
        const double n = static_cast<double>(c.x.numel()) / static_cast<double>(std::max<std::int64_t>(1, c.y.numel()));
        INFO(c.x.to_string() << " to " << c.y.to_string() << " kind " << static_cast<int>(kind));
        run_both([&](auto v) { reduce(kind, c.axes, v(x), v(y)); });
        CHECK(y.error(kind == Reduction::sum ? std::sqrt(n) : 1) < 1e-6);
        run_both([&](auto v) { reduce_backward(kind, c.axes, v(dy), v(dx)); });
        CHECK(dx.error() < 2e-7);
      }
    }
    Both x({6, 5, 4, 9}, 1), y({6, 1, 1, 9}), z({9}), s({6, 5, 4, 9});
    run_both([&](auto v) { reduce_to(v(x), v(y)); });
    CHECK(y.error(4) < 1e-6);
    run_both([&](auto v) { reduce_to(v(x), v(z)); });
    CHECK(z.error(10) < 1e-6);
    run_both([&](auto v) { affine(-1.7, 0.3, v(x), v(s)); });
    CHECK(s.error() < 3e-7);
    Both p({6, 5, 4, 3}, 5), whole({6, 5, 4, 12}), p2({6, 5, 4, 3}), x2({6, 5, 4, 9});
    run_both([&](auto v) {
      const ConstView parts[] = {v(x), v(p)};
      concat_forward(3, parts, v(whole));
      const View back[] = {v(x2), v(p2)};
      concat_backward(3, v(whole), back);
    });
    CHECK(whole.error() == 0);
    CHECK(x2.fast == x.fast);
    CHECK(p2.fast == p.fast);
  });
}

TEST_CASE("simd softmax and its logarithm agree with the reference, also for large and equal logits", "[simd]") {
  for_each_target([] {
    for (const std::int64_t classes : {1, 2, 10, 37, 1000, 9001}) {
      for (const double spread : {1.0, 40.0}) {
        const Shape s{5, classes};
        Both x(s, 1), y(s), l(s), dy(s, 2), dx(s), dl(s);
        for (std::size_t i = 0; i < x.fast.size(); ++i) {
          x.fast[i] *= static_cast<float>(spread);
          if (i < static_cast<std::size_t>(classes)) x.fast[i] = 1e4f;
          x.exact[i] = static_cast<double>(x.fast[i]);
        }
        INFO(classes << " classes, spread " << spread);
        run_both([&](auto v) { softmax_forward(v(x), v(y)); });
        CHECK(y.error(1e-3) < 2e-6);
        run_both([&](auto v) { log_softmax_forward(v(x), v(l)); });
        CHECK(l.error() < 1e-6);
        run_both([&](auto v) { softmax_backward(v(y), v(dy), v(dx)); });
        CHECK(dx.error() < 2e-6);
        run_both([&](auto v) { log_softmax_backward(v(l), v(dy), v(dl)); });
        CHECK(dl.error(10) < 3e-6);
      }
    }
  });
}

TEST_CASE("simd softmax at infinite logits and NaN, wherever they stand", "[simd]") {
  for_each_target([] {
    for (const std::int64_t classes : {1, 2, 5, 16, 37}) {
      for (const std::int64_t at : {std::int64_t{0}, classes / 2, classes - 1}) {
        for (const float bad : {NAN, -INFINITY}) {
          // Row 1 is touched, rows 0 and 2 are not.
          const Shape s{3, classes};
          Both x(s, 1), y(s), l(s);
          const auto k = static_cast<std::size_t>(classes + at);
          x.fast[k] = bad;
          x.exact[k] = static_cast<double>(bad);
          INFO(classes << " classes, " << bad << " at " << at);
          run_both([&](auto v) { softmax_forward(v(x), v(y)); });
          run_both([&](auto v) { log_softmax_forward(v(x), v(l)); });
          for (std::size_t i = 0; i < y.fast.size(); ++i) {
            const bool row1 = i >= static_cast<std::size_t>(classes) && i < 2 * static_cast<std::size_t>(classes);
            // A NaN spoils its row; −∞ has probability 0 unless it is alone, when there is no distribution.
            const bool nan = row1 && (std::isnan(bad) || classes == 1);
            CHECK(std::isnan(y.fast[i]) == nan);
            CHECK(std::isnan(l.fast[i]) == nan);
            CHECK(std::isnan(y.exact[i]) == nan);
            if (nan) continue;
            CHECK(y.fast[i] == Approx(y.exact[i]).epsilon(1e-5));
            if (i == k) CHECK((y.fast[i] == 0 && l.fast[i] == -INFINITY));
          }
        }
      }
    }
  });
}

TEST_CASE("simd dropout draws the reference's mask on any thread count", "[simd]") {
  const int threads = num_threads();
  for_each_target([&] {
    for (const double rate : {0.0, 0.3, 0.5, 0.999}) {
      for (const std::int64_t n : {1, 2, 7, 1025, 70001}) {
        const Shape s{n};
        const std::vector<float> x = random_values(n, 1), dy = random_values(n, 2);
        const auto view_u8 = [&](std::vector<std::uint8_t>& v) {
          View view;
          view.data = v.data();
          view.shape = s;
          view.dtype = DType::u8;
          return view;
        };
        const auto run = [&](const char* path, int team, std::vector<float>& y, std::vector<std::uint8_t>& mask,
                             std::vector<float>& dx) {
          set_num_threads(team);
          ForceImplementation force(path, true);
          Rng rng(7, "dropout");
          rng.next();  // a stream that has been used: its position counts
          dropout_forward(rate, rng, view_of(x, s), view_of(y, s), view_u8(mask));
          dropout_backward(rate, view_u8(mask), view_of(dy, s), view_of(dx, s));
        };
        const auto count = static_cast<std::size_t>(n);
        std::vector<float> y(count, NAN), y1(y), y3(y), dx(y), dx1(y), dx3(y);
        std::vector<std::uint8_t> mask(count, 9), mask1(mask), mask3(mask);
        run("reference", 1, y, mask, dx);
        run("simd", 1, y1, mask1, dx1);
        run("simd", 3, y3, mask3, dx3);
        INFO("rate " << rate << " n " << n);
        CHECK(mask == mask1);
        CHECK(mask == mask3);
        CHECK(y == y1);
        CHECK(y == y3);
        CHECK(dx == dx1);
      }
    }
  });
  set_num_threads(threads);
}

TEST_CASE("dropout of a batch's parts draws the whole's mask", "[simd]") {
  const std::int64_t n = 2500;
  const auto masked = [](const char* path, const std::vector<float>& x, std::int64_t first) {
    const Shape s{static_cast<std::int64_t>(x.size())};
    std::vector<float> y(x.size());
    std::vector<std::uint8_t> mask(x.size(), 9);
    ForceImplementation force(path, true);
    dropout_forward(0.4, Rng(7, "dropout"), view_of(x, s), view_of(y, s), View{mask.data(), s, DType::u8, kCpu}, first);
    return mask;
  };
  const std::vector<float> x = random_values(n, 1);
  const std::vector<std::uint8_t> whole = masked("reference", x, 0);
  for_each_target([&] {
    for (const std::int64_t first : {1, 2, 777, 1024, 2499}) {
      for (const char* path : {"reference", "simd"}) {
        INFO(path << " from " << first);
        CHECK(masked(path, {x.begin() + first, x.end()}, first) ==
              std::vector<std::uint8_t>(whole.begin() + first, whole.end()));
      }
    }
  });
}

TEST_CASE("simd optimizer steps agree with the reference in every variant", "[simd]") {
  for_each_target([] {
    const Shape s{1003};
    for (int bits = 0; bits < 32; ++bits) {
      const bool a = bits & 1, b = bits & 2, c = bits & 4, d = bits & 8, e = bits & 16;
      Both g(s, 1), p(s, 2), m(s, 3);
      const SgdStep sgd{.lr = 0.05,
                        .momentum = e ? 0.9 : 0.0,
                        .weight_decay = 0.01,
                        .nesterov = a,
                        .decoupled = b,
                        .first = c,
                        .keras = d};
      if (c) m.fast[5] = NAN, m.exact[5] = NAN;  // an unset buffer
      INFO("bits " << bits);
      run_both([&](auto v) { sgd_step({sgd, v(g), v(p), v(m)}); });
      CHECK(p.error() < 5e-7);
      if (e) CHECK(m.error() < 5e-7);

      Both ag(s, 1), ap(s, 2), am(s, 3), av(s, 4);
      for (std::size_t i = 0; i < av.fast.size(); ++i) {
        av.fast[i] = std::fabs(av.fast[i]);
        av.exact[i] = static_cast<double>(av.fast[i]);
      }
      const AdamStep adam{.lr = 0.01,
                          .epsilon = e ? 1e-3 : 1e-8,
                          .weight_decay = 0.02,
                          .step = c ? 1 : 1000,
                          .decoupled = a,
                          .keras = b};
      run_both([&](auto v) { adam_step({adam, v(ag), v(ap), v(am), v(av)}); });
      CHECK(ap.error() < 3e-6);
      CHECK(am.error() < 5e-7);
      CHECK(av.error() < 5e-7);

      Both rg(s, 1), rp(s, 2), rv(s, 4), rm(s, 5), ra(s, 6);
      for (std::size_t i = 0; i < rv.fast.size(); ++i) {
        rv.fast[i] = std::fabs(rv.fast[i]) + 5;
        rv.exact[i] = static_cast<double>(rv.fast[i]);
      }
      const RmspropStep rms{.lr = 0.01,
                            .epsilon = 1e-4,
                            .momentum = a ? 0.9 : 0.0,
                            .weight_decay = 0.01,
                            .epsilon_inside = b,
                            .lr_in_momentum = c};
      run_both([&](auto v) {
        rmsprop_step({rms, v(rg), v(rp), v(rv), v(rm), d ? std::optional<View>(v(ra)) : std::nullopt});
      });
      CHECK(rp.error() < 2e-6);
      CHECK(rv.error() < 5e-7);
      if (a) CHECK(rm.error() < 2e-6);
      if (d) CHECK(ra.error() < 5e-7);
    }
  });
}

TEST_CASE("simd scans and updates of parameters agree with the reference", "[simd]") {
  for_each_target([] {
    for (const std::int64_t n : {1, 5, 64, 1000, 100001}) {
      Both x({n}, 1), y({n}, 2);
      x.fast[0] = 1e25f;  // its square is beyond f32
      x.exact[0] = static_cast<double>(x.fast[0]);
      const double squares = sum_of_squares(x.f64());
      {
        ForceImplementation force("simd", true);
        CHECK(sum_of_squares(x.f32()) == Approx(squares).epsilon(1e-12));
        CHECK(all_finite(x.f32()));
        for (const float bad : {NAN, INFINITY, -INFINITY}) {
          for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
            std::vector<float> broken = x.fast;
            broken[static_cast<std::size_t>(at)] = bad;
            CHECK_FALSE(all_finite(view_of(broken, {n})));
          }
        }
      }
      run_both([&](auto v) { lerp_in_place(0.99, v(x), v(y)); });
      CHECK(y.error() < 3e-7);
      run_both([&](auto v) { scale_in_place(-0.3, v(y)); });
      CHECK(y.error() < 3e-7);
      Both from({n}, 3), sum({n}, 4), cut({n}, 5), mean({n}, 6);
      for (std::size_t i = 0; i < cut.fast.size(); i += 3) {
        mean.fast[i] = from.fast[i];
        mean.exact[i] = from.exact[i];
      }
      const std::vector<float> before = mean.fast;
      cut.fast[0] = NAN;
      cut.exact[0] = NAN;
      run_both([&](auto v) {
        const Update updates[] = {{UpdateKind::add, -0.3, ConstView(v(from)), v(sum)},
                                  {UpdateKind::clamp, 0.25, {}, v(cut)},
                                  {UpdateKind::lerp, 0.7, ConstView(v(from)), v(mean)}};
        update_all(updates);
      });
      CHECK(sum.error() < 3e-7);
      CHECK(mean.error() < 3e-7);
      CHECK(std::isnan(cut.fast[0]));
      for (std::size_t i = 0; i < cut.fast.size(); ++i) {
        if (i > 0) CHECK(cut.fast[i] == static_cast<float>(cut.exact[i]));
        if (i % 3 == 0) CHECK(mean.fast[i] == before[i]);
      }
    }
  });
}

TEST_CASE("all parameters at once are stepped as one by one, to the bit") {
  const int threads = num_threads();
  Rng rng(1, "sizes");
  for (const int team : {1, 3}) {
    set_num_threads(team);
    std::vector<Both> g, one, m, v, together, m2, v2;
    std::vector<AdamUpdate> all;
    for (std::uint64_t i = 1; i <= 40; ++i) {
      const Shape shape{i == 3 ? 0 : i == 9 ? 100003 : static_cast<std::int64_t>(rng.below(3000))};
      for (auto* list : {&one, &together}) list->emplace_back(shape, i);
      for (auto* list : {&m, &m2}) list->emplace_back(shape, i + 100);
      for (auto* list : {&v, &v2}) list->emplace_back(shape, i + 200);
      g.emplace_back(shape, i + 300);
      for (auto* list : {&v, &v2}) {
        for (float& x : list->back().fast) x = std::fabs(x);
      }
    }
    for (std::size_t i = 0; i < g.size(); ++i) {
      const AdamStep step{.lr = 0.01, .weight_decay = i % 2 == 0 ? 0.1 : 0, .decoupled = true};
      all.push_back({step, g[i].f32(), together[i].f32(), m2[i].f32(), v2[i].f32()});
      adam_step({step, g[i].f32(), one[i].f32(), m[i].f32(), v[i].f32()});
    }
    adam_steps(all);
    for (std::size_t i = 0; i < g.size(); ++i) {
      CHECK(together[i].fast == one[i].fast);
      CHECK(m2[i].fast == m[i].fast);
      CHECK(v2[i].fast == v[i].fast);
    }
  }
  set_num_threads(threads);
}
