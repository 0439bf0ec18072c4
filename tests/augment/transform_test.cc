// Transforms against Pillow and NumPy (data/reference.json, written by make_reference.py), and their random draws
// against what their documentation promises, measured from the pictures they make.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "augment/pixel_ops.h"
#include "augment/transform.h"
#include "augment/warp.h"
#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;
namespace tf = fovea::transforms;

namespace {

const nlohmann::json& reference() {
  static const nlohmann::json data = nlohmann::json::parse(read(FOVEA_SOURCE_DIR "/tests/augment/data/reference.json"));
  return data;
}

image::Image from_hex(const std::string& hex, int channels) {
  image::Image picture(reference()["width"], reference()["height"], channels);
  REQUIRE(hex.size() == 2 * picture.pixels.size());
  for (std::size_t i = 0; i < picture.pixels.size(); ++i)
    picture.pixels[i] = static_cast<std::uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return picture;
}

image::Image source(int channels) { return from_hex(reference()["pictures"][std::to_string(channels)], channels); }

int largest_difference(const image::Image& a, const image::Image& b) {
  if (a.width != b.width || a.height != b.height || a.channels != b.channels) return 1000;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

image::Image applied(const TransformPtr& t, image::Image picture, std::uint64_t seed) {
  Rng rng(seed, "transform test");
  t->apply(picture, rng);
  return picture;
}

/// Mean and extent of values that should be uniform in [low, high]; the mean of n such values lies within 5 deviations.
void check_uniform(const std::vector<double>& values, double low, double high, double slack = 1e-9) {
  double sum = 0, smallest = values.at(0), largest = smallest;
  for (const double v : values) {
    sum += v;
    smallest = std::min(smallest, v);
    largest = std::max(largest, v);
  }
  const auto n = static_cast<double>(values.size());
  const double width = high - low;
  INFO("range " << low << " to " << high << ": mean " << sum / n << ", " << smallest << " to " << largest);
  CHECK(std::abs(sum / n - (low + high) / 2) < 5 * width / std::sqrt(12 * n) + slack);
  CHECK(smallest >= low - slack);
  CHECK(largest <= high + slack);
  CHECK(largest - smallest > 0.95 * width - 2 * slack);
}

}  // namespace

TEST_CASE("transform: pixel operations as Pillow's and NumPy's") {
  for (const auto& c : reference()["pixel_ops"]) {
    image::Image picture = source(c["channels"]);
    const std::string op = c["op"];
    const double value = c["value"];
    if (op == "posterize") posterize(picture, static_cast<int>(value));
    if (op == "solarize") solarize(picture, value);
    if (op == "autocontrast") autocontrast(picture);
    if (op == "equalize") equalize(picture);
    if (op == "sharpness") adjust_sharpness(picture, value);
    if (op == "gaussian_blur") gaussian_blur(picture, value);
    INFO(op << " " << value << ", " << c["channels"] << " channels");
    // The blur rounds after each of its two passes and has 16-bit weights; the reference rounds once.
    CHECK(largest_difference(picture, from_hex(c["result"], c["channels"])) <= (op == "gaussian_blur" ? 1 : 0));
  }
}

TEST_CASE("transform: affine matrices are inverses of the documented products") {
  const double cx = reference()["width"].get<double>() / 2, cy = reference()["height"].get<double>() / 2;
  for (const auto& c : reference()["matrices"]) {
    const Affine m = inverse_affine(cx, cy, c["angle"], c["translate"][0], c["translate"][1], c["scale"], c["shear"][0],
                                    c["shear"][1]);
    const std::array<double, 6> got = {m.a, m.b, m.c, m.d, m.e, m.f};
    INFO(c.dump());
    for (std::size_t i = 0; i < 6; ++i) CHECK(got[i] == Approx(c["inverse"][i].get<double>()).margin(1e-12));
  }
}

TEST_CASE("transform: warps as Pillow's and NumPy's") {
  for (const auto& c : reference()["warps"]) {
    const int channels = c["channels"];
    const auto m = c["matrix"].get<std::vector<double>>();
    WarpOptions options{.bilinear = c["bilinear"]};
    if (channels == 1) {
      options.fill = {200, 200, 200};
    } else {
      options.fill = {200, 50, 25};
    }
    const std::string border = c["border"];
    options.border = border == "edge" ? Border::edge : border == "reflect" ? Border::reflect : Border::constant;
    const image::Image got = warp_affine(source(channels), {m[0], m[1], m[2], m[3], m[4], m[5]}, options);
    const image::Image want = from_hex(c["result"], channels);
    INFO(border << (options.bilinear ? ", bilinear " : ", nearest ") << c["matrix"].dump());
    // Pillow truncates where we round. A pixel centre within 1/4096 of an edge may fall on either side of it, there and
    // here: such pixels are few.
    int different = 0;
    for (std::size_t i = 0; i < got.pixels.size(); ++i)
      different += std::abs(got.pixels[i] - want.pixels[i]) > (options.bilinear ? 1 : 0);
    CHECK(different <= 2 * channels);
  }
}

TEST_CASE("transform: every operation of the policies occurs, and nothing else") {
  const auto check = [](const std::string& key, int channels, auto make) {
    std::vector<std::pair<std::string, image::Image>> known;
    for (const auto& [name, hex] : reference()[key][std::to_string(channels)].items())
      known.emplace_back(name, from_hex(hex, channels));
    std::map<std::string, int> seen;
    int strange = 0;
    for (std::uint64_t seed = 0; seed < 1200; ++seed) {
      const image::Image got = applied(make(), source(channels), seed);
      // The nearest outcome; a rotation may round a few pixel centres that lie on an edge to the other side.
      int fewest = 1000;
      std::string best;
      for (const auto& [name, want] : known) {
        int different = 0;
        for (std::size_t i = 0; i < got.pixels.size(); ++i) different += std::abs(got.pixels[i] - want.pixels[i]) > 0;
        if (different < fewest) {
          fewest = different;
          best = name;
        }
      }
      strange += fewest > 2 * channels;
      ++seen[best];
    }
    CHECK(strange == 0);
    for (const auto& [name, want] : known) {
      // Outcomes that equal another one at this size are counted there.
      const bool twin = std::any_of(known.begin(), known.end(), [&, &n = name, &w = want](const auto& other) {
        return other.first != n && largest_difference(other.second, w) == 0;
      });
      INFO(key << ", " << channels << " channels: " << name << " was seen " << seen[name] << " times");
      CHECK((twin || seen[name] > 5));
    }
  };
  for (const int channels : {1, 3}) {
    check("rand_augment", channels,
          [] { return tf::rand_augment({.operations = 1, .magnitude = 9, .bins = 31, .warp = {.bilinear = false}}); });
  }
  // Two bins: magnitude none or all. At none the picture stays (solarize at 255 changes only white, which it lacks),
  // but for autocontrast and equalize, which have no magnitude.
  for (const int channels : {1, 3}) {
    check("trivial_augment", channels, [] { return tf::trivial_augment_wide(2, {.bilinear = false}); });
  }
}

TEST_CASE("transform: flips") {
  const image::Image picture = noise_picture(5, 4, 3);
  const image::Image x = applied(tf::horizontal_flip(1), picture, 1), y = applied(tf::vertical_flip(1), picture, 1);
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 5; ++column) {
      for (int c = 0; c < 3; ++c) {
        CHECK(x.at(column, row, c) == picture.at(4 - column, row, c));
        CHECK(y.at(column, row, c) == picture.at(column, 3 - row, c));
      }
    }
  }
  CHECK(applied(tf::horizontal_flip(0), picture, 1) == picture);
  int flipped = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed)
    flipped += applied(tf::horizontal_flip(0.3), picture, seed) != picture;
  CHECK(std::abs(flipped - 600) < 5 * std::sqrt(2000 * 0.3 * 0.7));
}

TEST_CASE("transform: shift and random crop take every window equally often") {
  const image::Image picture = noise_picture(7, 6, 3);
  const auto padded = [&](int x, int y, int c) {
    return x < 0 || y < 0 || x >= 7 || y >= 6 ? (c == 0 ? 9 : 0) : int{picture.at(x, y, c)};
  };
  const auto place_of = [&](const image::Image& got, int reach_x, int reach_y) {
    for (int top = -reach_y; top <= reach_y; ++top) {
      for (int left = -reach_x; left <= reach_x; ++left) {
        bool same = true;
        for (int y = 0; y < got.height && same; ++y) {
          for (int x = 0; x < got.width && same; ++x) {
            for (int c = 0; c < 3; ++c) same = same && got.at(x, y, c) == padded(left + x, top + y, c);
          }
        }
        if (same) return std::pair{left, top};
      }
    }
    return std::pair{-99, -99};
  };
  const auto check = [&](const TransformPtr& t, int width, int height, std::size_t windows) {
    std::map<std::pair<int, int>, int> seen;
    const int n = 2500;
    for (int i = 0; i < n; ++i) {
      const image::Image got = applied(t, picture, static_cast<std::uint64_t>(i));
      REQUIRE((got.width == width && got.height == height));
      ++seen[place_of(got, 6, 6)];
    }
    CHECK(seen.count({-99, -99}) == 0);
    CHECK(seen.size() == windows);
    const double expected = n / static_cast<double>(windows);
    for (const auto& [place, count] : seen) CHECK(std::abs(count - expected) < 5 * std::sqrt(expected));
  };
  check(tf::shift(2, Border::constant, {9, 0, 0}), 7, 6, 25);
  check(tf::random_crop({.width = 5, .height = 4}), 5, 4, 9);
  check(tf::random_crop({.width = 7, .height = 6, .padding = 1, .fill = {9, 0, 0}}), 7, 6, 9);
  CHECK(applied(tf::shift(0), picture, 3) == picture);
  // Reflection repeats the edge pixel, as Border says.
  bool moved_right = false;
  for (std::uint64_t seed = 0; seed < 40 && !moved_right; ++seed) {
    const image::Image got = applied(tf::shift(1, Border::reflect), picture, seed);
    moved_right =
        got.at(1, 0) == picture.at(0, 0) && got.at(0, 0) == picture.at(0, 0) && got.at(2, 0) == picture.at(1, 0);
  }
  CHECK(moved_right);
  CHECK(
      contains(error_of([&] { applied(tf::random_crop({.width = 9}), picture, 1); }), "smaller than the crop of 9x9"));
  CHECK(applied(tf::random_crop({.width = 9, .pad_if_needed = true}), picture, 1).height == 9);
}

TEST_CASE("transform: random resized crops have the areas and ratios asked for") {
  // Red tells the column, green the row: where a crop came from can be read from its pixels.
  image::Image picture(240, 240, 3);
  for (int y = 0; y < 240; ++y) {
    for (int x = 0; x < 240; ++x) {
      picture.at(x, y, 0) = static_cast<std::uint8_t>(x);
      picture.at(x, y, 1) = static_cast<std::uint8_t>(y);
    }
  }
  const TransformPtr t = tf::random_resized_crop({.width = 24, .scale = {0.2, 0.4}, .ratio = {0.8, 1.25}});
  CHECK(t->resizes());
  std::vector<double> areas, logs;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    const image::Image got = applied(t, picture, seed);
    REQUIRE((got.width == 24 && got.height == 24));
    const double w = (got.at(21, 12, 0) - got.at(2, 12, 0)) * 24.0 / 19;
    const double h = (got.at(12, 21, 1) - got.at(12, 2, 1)) * 24.0 / 19;
    areas.push_back(w * h / (240 * 240));
    logs.push_back(std::log(w / h));
  }
  check_uniform(areas, 0.2, 0.4, 0.02);
  check_uniform(logs, std::log(0.8), std::log(1.25), 0.05);
  // Nothing fits: the largest central crop within the ratios.
  const image::Image wide = gradient_picture(40, 4, 1);
  const image::Image got =
      applied(tf::random_resized_crop({.width = 5, .height = 4, .scale = {1, 1}, .ratio = {1, 1.25}}), wide, 1);
  CHECK(got.at(0, 0) == wide.at(17, 0));
  CHECK(got.at(4, 3) == wide.at(21, 3));
}

TEST_CASE("transform: rotations turn by up to the angle, in both directions") {
  image::Image picture(101, 101, 1);
  for (int y = 45; y <= 55; ++y) {
    for (int x = 80; x <= 90; ++x) picture.at(x, y) = 200;
  }
  std::vector<double> angles;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const image::Image got = applied(tf::rotation(30), picture, seed);
    double mass = 0, mx = 0, my = 0;
    for (int y = 0; y < 101; ++y) {
      for (int x = 0; x < 101; ++x) {
        mass += got.at(x, y);
        mx += got.at(x, y) * (x - 50.0);
        my += got.at(x, y) * (y - 50.0);
      }
    }
    CHECK(std::hypot(mx, my) / mass == Approx(35).margin(0.05));
    angles.push_back(std::atan2(my, mx) * 180 / 3.14159265358979);
  }
  check_uniform(angles, -30, 30, 0.2);
}

TEST_CASE("transform: colour factors are uniform and act as their formulas say") {
  const image::Image grey(2, 2, 1, 100);
  std::vector<double> factors;
  for (std::uint64_t seed = 0; seed < 2000; ++seed)
    factors.push_back(applied(tf::brightness(0.5), grey, seed).at(0, 0) / 100.0);
  check_uniform(factors, 0.5, 1.5, 0.01);

  // Contrast: blends with the mean luma, here 100.
  image::Image two(2, 1, 1);
  two.pixels = {60, 140};
  factors.clear();
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const image::Image got = applied(tf::contrast(0.4), two, seed);
    factors.push_back((got.at(1, 0) - got.at(0, 0)) / 80.0);
    CHECK(std::abs(got.at(1, 0) + got.at(0, 0) - 200) <= 1);  // truncated
  }
  check_uniform(factors, 0.6, 1.4, 0.02);

  // Saturation: blends with the pixel's luma, so the luma stays and the spread scales.
  image::Image colored(1, 1, 3);
  colored.pixels = {150, 100, 80};
  const double luma = 0.299 * 150 + 0.587 * 100 + 0.114 * 80;
  factors.clear();
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const image::Image got = applied(tf::saturation(0.5), colored, seed);
    const double f = (got.at(0, 0, 0) - got.at(0, 0, 2)) / 70.0;
    factors.push_back(f);
    for (int c = 0; c < 3; ++c) CHECK(got.at(0, 0, c) == Approx(luma + f * (colored.at(0, 0, c) - luma)).margin(2.1));
  }
  check_uniform(factors, 0.5, 1.5, 0.03);

  CHECK(applied(tf::grayscale(1), colored, 1).pixels == std::vector<std::uint8_t>(3, 113));
  const image::Image noise = noise_picture(6, 6, 3);
  CHECK(applied(tf::color_jitter({}), noise, 1) == noise);
  // Each part draws its own factor: together they are not one factor for all.
  CHECK(applied(tf::color_jitter({.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1}), noise, 1) !=
        noise);
}

TEST_CASE("transform: erased rectangles") {
  const image::Image picture(50, 40, 3, 10);
  image::Image marked = picture;
  marked.at(0, 0, 0) = 250;  // the mean stays close to 10
  std::vector<double> areas;
  int whole = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    const TransformPtr t = tf::random_erasing(
        {.probability = 0.8, .area = {0.05, 0.2}, .ratio = {0.5, 2}, .fill = tf::EraseFill::color, .color = {1, 2, 3}});
    const image::Image got = applied(t, picture, seed);
    int left = 50, right = -1, top = 40, bottom = -1, count = 0;
    for (int y = 0; y < 40; ++y) {
      for (int x = 0; x < 50; ++x) {
        if (got.at(x, y, 0) == 10) continue;
        CHECK((got.at(x, y, 0) == 1 && got.at(x, y, 1) == 2 && got.at(x, y, 2) == 3));
        left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
        ++count;
      }
    }
    if (count == 0) {
      ++whole;
      continue;
    }
    const int w = right - left + 1, h = bottom - top + 1;
    CHECK(count == w * h);
    CHECK((h / static_cast<double>(w) > 0.43 && h / static_cast<double>(w) < 2.3));
    areas.push_back(count / 2000.0);
  }
  CHECK(std::abs(whole - 300) < 5 * std::sqrt(1500 * 0.2 * 0.8));
  check_uniform(areas, 0.05, 0.2, 0.01);
  const image::Image mean = applied(tf::random_erasing({.probability = 1}), marked, 3);
  CHECK(std::all_of(mean.pixels.begin() + 3, mean.pixels.end(), [](std::uint8_t v) { return v == 10; }));
}

TEST_CASE("transform: noise and blur") {
  const image::Image grey(200, 100, 1, 128);
  const image::Image noisy = applied(tf::gaussian_noise({6, 6}, 1), grey, 1);
  double sum = 0, squares = 0;
  for (const std::uint8_t v : noisy.pixels) sum += v - 128, squares += (v - 128.0) * (v - 128.0);
  const double n = 20000;
  CHECK(std::abs(sum / n) < 5 * 6 / std::sqrt(n));
  // Rounding to whole grey levels adds 1/12 to the variance.
  CHECK(squares / n == Approx(36 + 1.0 / 12).epsilon(0.05));
  CHECK(applied(tf::gaussian_blur({2, 2}, 1), grey, 1) == grey);
  CHECK(applied(tf::gaussian_blur({2, 2}, 0), noisy, 1) == noisy);
}

TEST_CASE("transform: combinations") {
  const image::Image picture = noise_picture(4, 4, 1);
  const TransformPtr either = tf::one_of({tf::horizontal_flip(1), tf::vertical_flip(1)}, {3, 1});
  const image::Image x = applied(tf::horizontal_flip(1), picture, 0);
  int horizontal = 0, rare = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    horizontal += applied(either, picture, seed) == x;
    rare += applied(tf::maybe(0.1, tf::horizontal_flip(1)), picture, seed) == x;
  }
  CHECK(std::abs(horizontal - 750) < 5 * std::sqrt(1000 * 0.75 * 0.25));
  CHECK(std::abs(rare - 100) < 5 * std::sqrt(1000 * 0.1 * 0.9));
  CHECK(to_string({either, tf::maybe(0.5, tf::rotation(15))}) ==
        "one_of(horizontal_flip(1), vertical_flip(1)) → maybe(0.5, rotation(degrees=15, border=constant))");
  CHECK(contains(error_of([] { tf::one_of(std::vector<TransformPtr>{}); }), "nothing to choose from"));
  CHECK(contains(error_of([] { tf::one_of({tf::horizontal_flip()}, {1, 2}); }), "2 weights for 1 choices"));
  CHECK(contains(error_of([] { tf::one_of({tf::horizontal_flip(), tf::random_crop({.width = 2})}); }), "all or none"));
  CHECK(contains(error_of([] { tf::maybe(0.5, tf::random_crop({.width = 2})); }), "cannot be left out"));
}

TEST_CASE("transform: the same picture and Rng give the same result, on any picture") {
  const std::vector<TransformPtr> all = {
      tf::horizontal_flip(),
      tf::vertical_flip(),
      tf::affine({.degrees = 20, .translate = {0.1, 0.1}, .scale = {0.8, 1.2}, .shear = {5, 5}}),
      tf::rotation(30),
      tf::zoom({0.5, 2}),
      tf::translation(0.2, 0.2),
      tf::shear(20, 10),
      tf::shift(3),
      tf::random_crop({.width = 4, .pad_if_needed = true}),
      tf::random_resized_crop({.width = 6}),
      tf::color_jitter({.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1}),
      tf::grayscale(0.5),
      tf::random_erasing({.fill = tf::EraseFill::noise}),
      tf::gaussian_noise(),
      tf::gaussian_blur(),
      tf::rand_augment(),
      tf::trivial_augment_wide()};
  for (const TransformPtr& t : all) {
    INFO(t->to_string());
    for (const auto& [w, h] : {std::pair{1, 1}, {1, 7}, {9, 1}, {16, 11}}) {
      for (const int channels : {1, 3}) {
        const image::Image picture = noise_picture(w, h, channels);
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
          const image::Image once = applied(t, picture, seed);
          CHECK(once == applied(t, picture, seed));
          image::check(once, "test");
          CHECK(once.channels == channels);
          CHECK((t->resizes() || (once.width == w && once.height == h)));
        }
      }
    }
  }
}

TEST_CASE("transform: options out of range are named") {
  const auto fails = [](auto make, const std::string& part) {
    const std::string error = error_of(make);
    INFO(error);
    CHECK(contains(error, "usage: ["));
    CHECK(contains(error, part));
  };
  fails([] { tf::horizontal_flip(1.5); }, "[horizontal_flip] probability = 1.5 is outside 0..1");
  fails([] { tf::rotation(181); }, "degrees = 181");
  fails([] { tf::zoom({2, 1}); }, "ascending range");
  fails([] { tf::zoom({0, 1}); }, "scale = 0..1");
  fails([] { tf::shear(90); }, "shear = 90");
  fails([] { tf::shift(-1); }, "pixels = -1");
  fails([] { tf::random_crop({}); }, "width = 0");
  fails([] { tf::random_resized_crop({.scale = {0, 1}}); }, "scale");
  fails([] { tf::random_resized_crop({.ratio = {-1, 1}}); }, "ratio");
  fails([] { tf::brightness(std::nan("")); }, "brightness = ");
  fails([] { tf::hue(0.6); }, "hue = 0.6");
  fails([] { tf::random_erasing({.area = {0.5, 1.5}}); }, "area");
  fails([] { tf::gaussian_blur({0, 65}); }, "deviation");
  fails([] { tf::gaussian_noise({-1, 1}); }, "deviation");
  fails([] { tf::rand_augment({.magnitude = 31}); }, "magnitude = 31 is outside 0..30");
  fails([] { tf::mixup({.alpha = 0}); }, "alpha = 0");
  fails([] { tf::cutmix({.probability = 2}); }, "probability = 2");
}
