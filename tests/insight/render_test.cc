// Colour maps, overlays and superpixels.
#include "insight/render.h"

#include <cmath>
#include <set>

#include "catch.h"
#include "core/error.h"
#include "insight/color_internal.h"
#include "insight/superpixels.h"

using namespace fovea;
using namespace fovea::insight;

namespace {

std::array<double, 3> oklab(image::Color c) { return srgb_to_oklab({c.r / 255.0, c.g / 255.0, c.b / 255.0}); }

double distance(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

Explanation explanation(bool is_signed) {
  Explanation e;
  e.method = is_signed ? Method::occlusion : Method::gradcam;
  e.is_signed = is_signed;
  e.layer = is_signed ? "" : "head";
  e.probability = 0.5;
  e.map = Tensor({6, 8});
  for (std::int64_t i = 0; i < 48; ++i)
    e.map.mutable_data<float>()[i] = static_cast<float>(i) - (is_signed ? 20.0f : 0.0f);
  e.raw = e.map;
  return e;
}

}  // namespace

TEST_CASE("render: equal steps of the colour maps look equal, and lightness only grows") {
  double least = 1e9, most = 0;
  for (int i = 0; i < 16; ++i) {  // steps large against the rounding to bytes
    const auto a = oklab(sequential_color(i / 16.0)), b = oklab(sequential_color((i + 1) / 16.0));
    CHECK(b[0] > a[0]);
    least = std::min(least, distance(a, b));
    most = std::max(most, distance(a, b));
  }
  INFO(least << " to " << most);
  CHECK(most / least < 1.15);  // 1.11: chords of a bent path; a rainbow map has 5
  for (int i = 1; i <= 10; ++i) {
    const auto low = oklab(diverging_color(-i / 10.0)), high = oklab(diverging_color(i / 10.0));
    CHECK(std::abs(low[0] - high[0]) < 0.01);
    CHECK(std::abs(std::hypot(low[1], low[2]) - std::hypot(high[1], high[2])) < 0.01);
    CHECK(low[2] < 0);   // blue
    CHECK(high[1] > 0);  // red
    CHECK(low[0] < oklab(diverging_color((1 - i) / 10.0))[0]);
  }
  CHECK(std::hypot(oklab(diverging_color(0))[1], oklab(diverging_color(0))[2]) < 0.01);
  CHECK(sequential_color(-1).r == sequential_color(0).r);
  CHECK(diverging_color(7).r == diverging_color(1).r);
}

TEST_CASE("render: CIELAB of known colours") {
  // Values of CIE 1976 L*a*b* for sRGB's red and a grey (D65).
  const auto red = cielab({1, 0, 0}), grey = cielab({0.5, 0.5, 0.5}), white = cielab({1, 1, 1});
  CHECK(red[0] == Approx(53.24).margin(0.01));
  CHECK(red[1] == Approx(80.09).margin(0.01));
  CHECK(red[2] == Approx(67.20).margin(0.01));
  CHECK(grey[0] == Approx(53.39).margin(0.01));
  CHECK(std::hypot(grey[1], grey[2]) < 0.02);
  CHECK(white[0] == Approx(100).margin(0.001));
  for (const std::array<double, 3> c : {std::array<double, 3>{0.2, 0.7, 0.4}, {1, 0, 1}, {0.01, 0.02, 0.9}}) {
    const auto back = oklab_to_srgb(srgb_to_oklab(c));
    CHECK(distance(back, c) < 1e-4);
  }
}

TEST_CASE("render: the picture, the map over it, a legend and a caption") {
  for (const bool is_signed : {false, true}) {
    const Explanation e = explanation(is_signed);
    for (const int channels : {1, 3}) {
      const image::Image picture(16, 12, channels, 200);
      const image::Image out = render(picture, e, {.class_name = "wolf", .caption = "a.png", .side = 100});
      CHECK(out.channels == 3);
      CHECK(out.width > 200);
      CHECK(out.height > 75);
      CHECK(out.at(8 + 50, 8 + 30, 0) == 200);  // the picture itself
      std::set<int> colors;
      for (int x = 0; x < 100; ++x)
        colors.insert(out.at(8 + 100 + 8 + x, 8 + 60, 0) * 256 + out.at(8 + 100 + 8 + x, 8 + 60, 2));
      CHECK(colors.size() > 5);
    }
    const image::Image colors = color_map(e);
    const image::Color last = is_signed ? diverging_color(1) : sequential_color(1);
    CHECK(colors.at(7, 5, 0) == last.r);
    CHECK(colors.at(7, 5, 2) == last.b);
  }
  CHECK_THROWS_AS(render(image::Image(), explanation(true)), Error);
  CHECK_THROWS_AS(render(image::Image(4, 4, 3), explanation(true), {.side = 10}), Error);
  image::Preprocessing p;
  CHECK(view_of(image::Image(640, 480, 3, 9), p, 448).width == 448);
  CHECK(view_of(image::Image(640, 480, 3, 9), p, 100).width == 224);
}

TEST_CASE("superpixels: connected regions that keep to the borders of colours") {
  image::Image picture(60, 40, 3, 30);
  for (int y = 10; y < 30; ++y) {
    for (int x = 17; x < 44; ++x) picture.at(x, y, 0) = 220;
  }
  const Tensor labels = slic(picture, {.segments = 24});
  REQUIRE(labels.shape() == Shape{40, 60});
  const auto* l = labels.data<std::int32_t>();
  std::set<int> inside, outside;
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 60; ++x) (x >= 17 && x < 44 && y >= 10 && y < 30 ? inside : outside).insert(l[y * 60 + x]);
  }
  for (const int k : inside) CHECK(outside.count(k) == 0);
  const int count = *std::max_element(l, l + labels.numel()) + 1;
  CHECK(count >= 16);
  CHECK(count <= 36);
  CHECK(inside.size() + outside.size() == static_cast<std::size_t>(count));  // no label is left out
  // Each label is one piece.
  std::vector<char> seen(static_cast<std::size_t>(labels.numel()), 0);
  std::set<int> begun;
  for (std::size_t p = 0; p < seen.size(); ++p) {
    if (seen[p]) continue;
    CHECK(begun.insert(l[p]).second);
    std::vector<std::size_t> open{p};
    seen[p] = 1;
    while (!open.empty()) {
      const std::size_t q = open.back();
      open.pop_back();
      const auto visit = [&](bool there, std::size_t n) {
        if (!there || seen[n] || l[n] != l[q]) return;
        seen[n] = 1;
        open.push_back(n);
      };
      visit(q % 60 > 0, q - 1);
      visit(q % 60 < 59, q + 1);
      visit(q >= 60, q - 60);
      visit(q + 60 < seen.size(), q + 60);
    }
  }
  CHECK(slic(image::Image(1, 1, 1, 0)).item() == 0);
  CHECK_THROWS_AS(slic(image::Image()), Error);
  CHECK_THROWS_AS(slic(picture, {.segments = 0}), Error);
}
