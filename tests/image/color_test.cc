// Colour arithmetic against Pillow, on every colour there is where that is cheap; preprocessing against torchvision's
// arithmetic.
#include <cmath>
#include <limits>
#include <map>
#include <sstream>

#include "catch.h"
#include "core/error.h"
#include "image/color.h"
#include "image/preprocess.h"
#include "reference.h"

using namespace fovea;
using namespace fovea::image;

TEST_CASE("all 16.7 million colours convert as in Pillow") {
  std::ifstream file(reference::data_path("color_cube.txt"));
  std::map<std::string, std::uint32_t> expected;
  std::string name, value;
  while (file >> name >> value) expected[name] = static_cast<std::uint32_t>(std::stoul(value, nullptr, 16));
  REQUIRE(expected.size() == 3);
  std::uint32_t hsv_crc = 0, rgb_crc = 0, grey_crc = 0;
  std::vector<std::uint8_t> hsv(3 * 65536), rgb(3 * 65536), grey(65536);
  for (int r = 0; r < 256; ++r) {
    for (int i = 0; i < 65536; ++i) {
      const std::array<std::uint8_t, 3> c = {static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(i >> 8),
                                             static_cast<std::uint8_t>(i)};
      const auto at = static_cast<std::size_t>(i);
      const auto to_hsv = rgb_to_hsv(c), to_rgb = hsv_to_rgb(c);
      for (std::size_t k = 0; k < 3; ++k) hsv[3 * at + k] = to_hsv[k], rgb[3 * at + k] = to_rgb[k];
      grey[at] = luma(c[0], c[1], c[2]);
    }
    hsv_crc = reference::crc32(hsv, hsv_crc);
    rgb_crc = reference::crc32(rgb, rgb_crc);
    grey_crc = reference::crc32(grey, grey_crc);
  }
  CHECK(hsv_crc == expected["hsv"]);
  CHECK(rgb_crc == expected["rgb"]);
  CHECK(grey_crc == expected["grey"]);
}

TEST_CASE("hue, brightness, contrast and saturation equal Pillow's") {
  const auto records = reference::read("color.ref");
  const Image source = reference::find(records, "source");
  CHECK(to_grey(source) == reference::find(records, "grey"));
  int checked = 0;
  for (const auto& [name, expected] : records) {
    std::istringstream words(name);
    std::string what;
    double amount = 0;
    if (!(words >> what >> amount)) continue;
    INFO(name);
    Image got = source;
    if (what == "hue")
      shift_hue(got, amount);
    else if (what == "brightness")
      adjust_brightness(got, static_cast<float>(amount));
    else if (what == "contrast")
      adjust_contrast(got, static_cast<float>(amount));
    else if (what == "saturation")
      adjust_saturation(got, static_cast<float>(amount));
    else
      FAIL("unknown record");
    CHECK(reference::largest_difference(got, expected) == 0);
    ++checked;
  }
  CHECK(checked == 21);
}

TEST_CASE("colour functions leave grey pictures grey and refuse odd parameters") {
  Image grey(4, 3, 1, 100);
  shift_hue(grey, 0.3);
  adjust_saturation(grey, 2.0f);
  CHECK(grey == Image(4, 3, 1, 100));
  adjust_brightness(grey, 0.5f);
  CHECK(grey == Image(4, 3, 1, 50));
  adjust_contrast(grey, 3.0f);
  CHECK(grey == Image(4, 3, 1, 50));
  invert(grey);
  CHECK(grey == Image(4, 3, 1, 205));
  CHECK(mean_luma(grey) == 205);
  CHECK_THROWS_AS(shift_hue(grey, 0.6), Error);
  CHECK_THROWS_AS(adjust_brightness(grey, -0.1f), Error);
  CHECK_THROWS_AS(adjust_contrast(grey, std::nanf("")), Error);
  Image empty;
  CHECK_NOTHROW(adjust_contrast(empty, 2.0f));
}

TEST_CASE("grey and RGB convert into each other") {
  Image image(2, 1, 3);
  image.pixels = {255, 0, 0, 1, 2, 3};
  CHECK(to_grey(image).pixels == std::vector<std::uint8_t>{76, 2});
  CHECK(to_rgb(to_grey(image)).pixels == std::vector<std::uint8_t>{76, 76, 76, 2, 2, 2});
  CHECK(convert(image, 3) == image);
  CHECK_THROWS_AS(convert(image, 2), Error);
  CHECK_THROWS_AS(Image(2, 2, 4), Error);
  CHECK_THROWS_AS(Image(-1, 2, 3), Error);
  CHECK_THROWS_AS(Image(2, 2, 3, std::vector<std::uint8_t>(11)), Error);
  try {
    Image(2147483647, 2147483647, 3);
    FAIL("allocated 13 exabytes");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::memory);
  }
}

TEST_CASE("to_floats has the bits of ToTensor and Normalize") {
  Image image(256, 1, 1);
  for (int i = 0; i < 256; ++i) image.pixels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i);
  Preprocessing p{.width = 256, .height = 1, .rule = ResizeRule::stretch};
  std::vector<float> out(256 * 3, -1e9f);
  to_floats(image, p, out.data());
  for (int i = 0; i < 256; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      const float expected = (static_cast<float>(i) / 255.0f - p.mean[c]) / p.std[c];
      REQUIRE(out[static_cast<std::size_t>(i) * 3 + c] == expected);
    }
  }
  // "tf": -1..1.
  p.scale = 1 / 127.5, p.mean = {1, 1, 1}, p.std = {1, 1, 1};
  to_floats(image, p, out.data());
  CHECK(out[0] == -1.0f);
  CHECK(out[255 * 3] == 1.0f);
}

TEST_CASE("to_floats crops the middle, orders channels, and turns grey into colour and back") {
  Image image(40, 20, 3);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 40; ++x)
      image.at(x, y, 0) = static_cast<std::uint8_t>(x), image.at(x, y, 1) = static_cast<std::uint8_t>(y),
                     image.at(x, y, 2) = 200;
  }
  Preprocessing p{.width = 6, .height = 4, .resize_size = 20, .scale = 1, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  std::vector<float> out(6 * 4 * 3 + 1, -5.0f);
  to_floats(image, p, out.data());
  CHECK(out[0] == 17);  // (40 - 6) / 2
  CHECK(out[1] == 8);
  CHECK(out[2] == 200);
  CHECK(out[3] == 18);
  CHECK(out[6 * 3 + 1] == 9);
  CHECK(out.back() == -5.0f);  // nothing written past the end
  p.order = ChannelOrder::bgr;
  p.mean = {1, 2, 3};
  to_floats(image, p, out.data());
  CHECK(out[0] == 199);
  CHECK(out[1] == 6);
  CHECK(out[2] == 14);
  p.channels = 1;
  p.mean[0] = 0;
  to_floats(image, p, out.data());
  CHECK(out[0] == luma(17, 8, 200));
  // A picture smaller than the crop is framed in black.
  Preprocessing frame{
      .width = 30, .height = 30, .channels = 1, .resize_size = 20, .scale = 1, .mean = {}, .std = {1, 1, 1}};
  CHECK(fit(Image(20, 20, 1, 9), frame) == pad(Image(20, 20, 1, 9), 5, 5, 5, 5));
}

TEST_CASE("preprocessing is plain data that can be checked") {
  Preprocessing a, b;
  CHECK(a == b);
  CHECK_NOTHROW(check(a));
  b.std[2] = 0;
  CHECK(a != b);
  CHECK_THROWS_AS(check(b), Error);
  for (const auto change : {+[](Preprocessing& p) { p.width = 0; }, +[](Preprocessing& p) { p.height = 1 << 20; },
                            +[](Preprocessing& p) { p.channels = 2; }, +[](Preprocessing& p) { p.resize_size = 0; },
                            +[](Preprocessing& p) { p.scale = std::numeric_limits<double>::infinity(); },
                            +[](Preprocessing& p) { p.mean[0] = std::nanf(""); }}) {
    Preprocessing p;
    change(p);
    CHECK_THROWS_AS(check(p), Error);
  }
  CHECK_THROWS_AS(fit(Image(), a), Error);
  for (const auto r : {ResizeRule::stretch, ResizeRule::shorter_side_then_center_crop})
    CHECK(resize_rule_from_string(to_string(r)) == r);
  for (const auto o : {ChannelOrder::rgb, ChannelOrder::bgr}) CHECK(channel_order_from_string(to_string(o)) == o);
  CHECK_THROWS_AS(resize_rule_from_string("fit"), Error);
}

TEST_CASE("hue: turned as by way of rgb_to_hsv and hsv_to_rgb, for all colours") {
  constexpr int kStep = 5;  // every byte value takes part; all 16.8 million colours were tried once
  for (const double turns : {-0.5, -0.013, 0.0, 0.21, 0.5}) {
    const auto shift = static_cast<std::uint8_t>(static_cast<int>(turns * 255));
    std::int64_t wrong = 0;
    for (int r = 0; r < 256; ++r) {
      Image picture(256 / kStep + 1, 256 / kStep + 1, 3);
      for (int y = 0; y < picture.height; ++y) {
        for (int x = 0; x < picture.width; ++x) {
          picture.at(x, y, 0) = static_cast<std::uint8_t>(r);
          picture.at(x, y, 1) = static_cast<std::uint8_t>((kStep * y + r) % 256);
          picture.at(x, y, 2) = static_cast<std::uint8_t>((kStep * x + 2 * r) % 256);
        }
      }
      Image turned = picture;
      shift_hue(turned, turns);
      for (int y = 0; y < picture.height; ++y) {
        for (int x = 0; x < picture.width; ++x) {
          auto hsv = rgb_to_hsv({picture.at(x, y, 0), picture.at(x, y, 1), picture.at(x, y, 2)});
          hsv[0] = static_cast<std::uint8_t>(hsv[0] + shift);
          const auto rgb = hsv_to_rgb(hsv);
          for (int c = 0; c < 3; ++c) wrong += turned.at(x, y, c) != rgb[static_cast<std::size_t>(c)];
        }
      }
    }
    CHECK(wrong == 0);
  }
}
