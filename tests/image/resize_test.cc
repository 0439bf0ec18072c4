// Resizing against Pillow, bit for bit, on small pictures and on photos; crops and pads against torchvision's rules.
#include <cstdio>
#include <filesystem>
#include <limits>
#include <sstream>

#include "catch.h"
#include "core/error.h"
#include "image/decode.h"
#include "image/resize.h"
#include "image/resize_passes.h"
#include "reference.h"

using namespace fovea;
using namespace fovea::image;

namespace {

Image noise(int width, int height, int channels, unsigned seed = 1) {
  Image image(width, height, channels);
  for (auto& v : image.pixels) v = static_cast<std::uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
  return image;
}

const Filter kFilters[] = {Filter::nearest, Filter::box,     Filter::bilinear,
                           Filter::hamming, Filter::bicubic, Filter::lanczos};

}  // namespace

TEST_CASE("resize equals Pillow for every filter, up and down, with and without a box") {
  const bool current = GENERATE(true, false);
  const auto records = reference::read(current ? "resize.ref" : "resize_before_13.ref");
  const PassOrder order = current ? PassOrder::pillow13 : PassOrder::horizontal_first;
  int checked = 0;
  for (const auto& [name, expected] : records) {
    std::istringstream words(name);
    std::string source, filter;
    words >> source >> filter;
    if (source == "source") continue;
    std::optional<Box> box;
    Box read;
    if (words >> read.left >> read.top >> read.right >> read.bottom) box = read;
    INFO(name << " to " << expected.width << "x" << expected.height);
    const Image got = resize(reference::find(records, "source " + source), expected.width, expected.height,
                             filter_from_string(filter), box, order);
    CHECK(reference::largest_difference(got, expected) == 0);
    ++checked;
  }
  CHECK(checked == (current ? 168 : 24));
}

TEST_CASE("photos resize as Pillow resizes them") {
  if (!shared_path("")) FOVEA_SKIP("no shared reference data");
  std::ifstream list(reference::data_path("photos.txt"));
  std::string line, loaded;
  Image image;
  int checked = 0;
  while (std::getline(list, line)) {
    char name[300], what[20];
    unsigned crc = 0, length = 0;
    int width = 0, height = 0;
    REQUIRE(std::sscanf(line.c_str(), "%299[^\t]\t%19s\t%d\t%d\t%x %u", name, what, &width, &height, &crc, &length) ==
            6);
    const std::string path = *shared_path(name), kind = what;
    if (kind == "decode" || !std::filesystem::exists(path)) continue;
    if (path != loaded) image = read_image(path, {.color = ColorMode::rgb}), loaded = path;
    INFO(path << " " << kind);
    const Image got = kind == "imagenet" ? center_crop(resize_shorter_side(image, 256, Filter::bilinear), width, height)
                                         : resize(image, width, height, filter_from_string(kind));
    CHECK(reference::crc32(got.pixels) == crc);
    ++checked;
  }
  if (checked == 0) FOVEA_SKIP("no photos in the shared data");
}

TEST_CASE("SIMD passes give the bytes of the plain ones, over sizes that fill vectors and that do not") {
  for (const int channels : {1, 3}) {
    for (const int width : {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 67, 100}) {
      for (const int taps : {1, 2, 3, 4, 7, 8, 9, 16, 17}) {
        if (taps > width) continue;
        INFO(channels << " channels, width " << width << ", " << taps << " taps");
        const Image in = noise(width, taps, channels, static_cast<unsigned>(width * taps));
        std::vector<int> first, count;
        std::vector<std::int32_t> weights;
        unsigned seed = 99;
        const int outputs = width - taps + 1;
        for (int i = 0; i < outputs; ++i) {
          first.push_back(i);
          count.push_back(taps);
          // Some negative, some sums beyond 255, none beyond 31 bits: as wide as Pillow's weights ever add up.
          for (int k = 0; k < taps; ++k) {
            seed = seed * 1664525u + 1013904223u;
            weights.push_back((static_cast<std::int32_t>(seed >> 8) % (6 << 20) - (1 << 20)) / taps);
          }
        }
        const passes::Taps table{first.data(), count.data(), weights.data(), static_cast<std::size_t>(taps)};
        std::vector<std::uint8_t> plain(static_cast<std::size_t>(outputs * channels), 1), fast(plain.size(), 2);
        const std::uint8_t* last = in.row(taps - 1).data();  // ends where the buffer ends
        const std::uint8_t* end = in.pixels.data() + in.pixels.size();
        passes::horizontal_plain(last, end, plain.data(), outputs, channels, table);
        passes::horizontal()(last, end, fast.data(), outputs, channels, table);
        REQUIRE(plain == fast);
        plain.assign(in.row_bytes(), 1);
        fast.assign(in.row_bytes(), 2);
        passes::vertical_plain(in.pixels.data(), in.row_bytes(), plain.data(), in.row_bytes(), weights.data(), taps);
        passes::vertical()(in.pixels.data(), in.row_bytes(), fast.data(), in.row_bytes(), weights.data(), taps);
        REQUIRE(plain == fast);
      }
    }
  }
}

TEST_CASE("resize keeps constants, and the same size is the same picture") {
  for (const Filter filter : kFilters) {
    for (const int channels : {1, 3}) {
      INFO(to_string(filter) << " " << channels);
      CHECK(resize(Image(13, 9, channels, 201), 31, 4, filter) == Image(31, 4, channels, 201));
      CHECK(resize(Image(1, 1, channels, 77), 5, 6, filter) == Image(5, 6, channels, 77));
      const Image image = noise(12, 10, channels);
      CHECK(resize(image, 12, 10, filter) == image);
      CHECK(resize(image, 12, 10, filter, Box{0, 0, 12, 10}) == image);
      // A box of whole pixels at its own size is a crop.
      CHECK(resize(image, 5, 4, filter, Box{3, 2, 8, 6}) == crop(image, 3, 2, 5, 4));
    }
  }
}

TEST_CASE("resize refuses what makes no picture") {
  const Image image = noise(8, 6, 3);
  CHECK_THROWS_AS(resize(image, 0, 5), Error);
  CHECK_THROWS_AS(resize(image, 5, -1), Error);
  CHECK_THROWS_AS(resize(Image(), 5, 5), Error);
  CHECK_THROWS_AS(resize(image, 4, 4, Filter::box, Box{-0.5f, 0, 4, 4}), Error);
  CHECK_THROWS_AS(resize(image, 4, 4, Filter::box, Box{0, 0, 8.5f, 4}), Error);
  CHECK_THROWS_AS(resize(image, 4, 4, Filter::box, Box{4, 0, 4, 4}), Error);
  CHECK_THROWS_AS(resize(image, 4, 4, Filter::box, Box{std::numeric_limits<float>::quiet_NaN(), 0, 4, 4}), Error);
  CHECK_THROWS_AS(filter_from_string("cubic"), Error);
  Image broken = image;
  broken.pixels.pop_back();
  CHECK_THROWS_AS(resize(broken, 4, 4), Error);
  for (const Filter filter : kFilters) CHECK(filter_from_string(to_string(filter)) == filter);
  CHECK(filter_from_string("lanczos3") == Filter::lanczos);
}

TEST_CASE("tiny boxes and extreme sizes stay inside the picture") {
  const Image image = noise(9, 7, 3);
  for (const Filter filter : kFilters) {
    INFO(to_string(filter));
    CHECK(resize(image, 3, 3, filter, Box{8.9f, 6.9f, 9, 7}).width == 3);
    CHECK(resize(image, 3, 3, filter, Box{0, 0, 0.01f, 0.01f}).width == 3);
    CHECK(resize(image, 1000, 1, filter).width == 1000);
    CHECK(resize(noise(3000, 1, 1), 1, 1, filter).width == 1);
  }
}

TEST_CASE("the shorter side is scaled with torchvision's rounding") {
  CHECK(shorter_side_size(500, 375, 256) == Size{341, 256});
  CHECK(shorter_side_size(375, 500, 256) == Size{256, 341});
  CHECK(shorter_side_size(451, 300, 232) == Size{348, 232});
  CHECK(shorter_side_size(100, 100, 33) == Size{33, 33});
  CHECK(shorter_side_size(3, 2, 1) == Size{1, 1});
  CHECK(resize_shorter_side(noise(30, 20, 1), 7).width == 10);
  CHECK_THROWS_AS(shorter_side_size(5, 5, 0), Error);
  CHECK_THROWS_AS(shorter_side_size(2000000000, 1, 2000), Error);
  try {
    resize_shorter_side(Image(100000, 1, 3), 8192);
    FAIL("an extreme strip was scaled");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::memory);
  }
}

TEST_CASE("crop, centre crop and pad") {
  Image image(5, 4, 1);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i);
  CHECK(crop(image, 1, 2, 3, 2).pixels == std::vector<std::uint8_t>{11, 12, 13, 16, 17, 18});
  CHECK(crop(image, 0, 0, 0, 0).empty());
  CHECK_THROWS_AS(crop(image, 3, 0, 3, 1), Error);
  CHECK_THROWS_AS(crop(image, -1, 0, 3, 1), Error);
  CHECK_THROWS_AS(crop(image, 1, 0, 2147483647, 1), Error);
  // 5 - 2 = 3: round(1.5) = 2; 4 - 3 = 1: round(0.5) = 0, as Python rounds.
  CHECK(center_crop(image, 2, 3) == crop(image, 2, 0, 2, 3));
  CHECK(center_crop(noise(10, 9, 3), 5, 4) == crop(noise(10, 9, 3), 2, 2, 5, 4));  // 2.5 -> 2, 2.5 -> 2
  CHECK(center_crop(noise(12, 9, 3), 5, 2) == crop(noise(12, 9, 3), 4, 4, 5, 2));  // 3.5 -> 4, 3.5 -> 4
  // Smaller than the crop: 7 - 5 = 2 columns, 7 - 4 = 3 rows of zeros, the odd one after.
  const Image padded = center_crop(image, 7, 7);
  CHECK(padded == pad(image, 1, 1, 1, 2));
  CHECK(padded.at(1, 1) == 0);
  CHECK(padded.at(2, 1) == 1);
  const Image wide = center_crop(image, 7, 2);
  CHECK(wide == crop(pad(image, 1, 0, 1, 0), 0, 1, 7, 2));
  const Image framed = pad(Image(1, 1, 3, 9), 1, 0, 0, 1, {1, 2, 3});
  CHECK(framed.pixels == std::vector<std::uint8_t>{1, 2, 3, 9, 9, 9, 1, 2, 3, 1, 2, 3});
  CHECK_THROWS_AS(pad(image, -1, 0, 0, 0), Error);
  CHECK_THROWS_AS(pad(image, 2147483647, 0, 2147483647, 0), Error);
}

TEST_CASE("flips") {
  const Image image = noise(7, 5, 3);
  CHECK(flip_horizontal(flip_horizontal(image)) == image);
  CHECK(flip_vertical(flip_vertical(image)) == image);
  CHECK(flip_horizontal(image).at(0, 2, 1) == image.at(6, 2, 1));
  CHECK(flip_vertical(image).at(3, 0, 2) == image.at(3, 4, 2));
}
