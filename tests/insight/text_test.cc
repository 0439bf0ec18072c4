// Text written into pictures is found and masked; pictures without are left alone.
#include "insight/protect/text.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "augment/csv_dataset.h"
#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/rng.h"
#include "image/decode.h"
#include "image/encode.h"
#include "image/resize.h"
#include "tests/insight/scene.h"

using namespace fovea;
using namespace fovea::insight;
namespace fs = std::filesystem;

namespace {

struct Strip {
  image::Image coverage;
  std::string text;
};

std::vector<Strip> strips() {
  const std::string folder = std::string(FOVEA_SOURCE_DIR) + "/tests/insight/data/";
  const image::Image all = image::read_image(folder + "text.png", {.color = image::ColorMode::grey});
  const std::vector<std::uint8_t> csv = read_file(folder + "text.csv");
  std::vector<Strip> out;
  const auto records = parse_csv({reinterpret_cast<const char*>(csv.data()), csv.size()});
  for (std::size_t i = 1; i < records.size(); ++i) {
    const auto& f = records[i].fields;
    out.push_back({image::crop(all, 0, std::stoi(f[0]), std::stoi(f[1]), std::stoi(f[2])), f[3]});
  }
  return out;
}

/// Dark enough for white text.
image::Image ground(std::uint64_t seed, int width, int height) {
  return scene(seed, {.width = width, .height = height, .brightest = 159, .grain = 6});
}

enum class Style { plain, banner, white_banner };

/// Writes text at (x, y) in white, or black on white; plain text on too bright a ground gets a banner instead.
void plant(image::Image& picture, const image::Image& coverage, int x, int y, Style style) {
  double brightest = 0;
  for (int j = 0; j < coverage.height; ++j) {
    for (int i = 0; i < coverage.width; ++i) brightest = std::max<double>(brightest, picture.at(x + i, y + j, 1));
  }
  if (style == Style::plain && brightest > 150) style = Style::banner;
  const int ink = style == Style::white_banner ? 0 : 255;
  for (int j = -3; j < coverage.height + 3; ++j) {
    for (int i = -3; i < coverage.width + 3; ++i) {
      if (x + i < 0 || y + j < 0 || x + i >= picture.width || y + j >= picture.height) continue;
      const bool inside = i >= 0 && j >= 0 && i < coverage.width && j < coverage.height;
      const int share = inside ? coverage.at(i, j) : 0;
      for (int c = 0; c < 3; ++c) {
        std::uint8_t& v = picture.at(x + i, y + j, c);
        const int under = style == Style::plain ? v : 255 - ink;
        v = static_cast<std::uint8_t>((under * (255 - share) + ink * share) / 255);
      }
    }
  }
}

/// Share of the letters' pixels that the boxes cover.
double masked(const image::Image& coverage, int x, int y, const image::Image& picture,
              const std::vector<TextLine>& lines) {
  image::Image marks(picture.width, picture.height, 1, 255);
  conceal(marks, boxes_of(lines));
  double all = 0, hidden = 0;
  for (int j = 0; j < coverage.height; ++j) {
    for (int i = 0; i < coverage.width; ++i) {
      if (coverage.at(i, j) < 128) continue;
      ++all;
      hidden += marks.at(x + i, y + j) == 0;
    }
  }
  return hidden / all;
}

struct Rates {
  int planted = 0, found = 0, clean = 0, touched = 0;
};

/// Plants each strip into each of some pictures, as JPEG or not, and looks at some others as they are.
Rates measure(const std::vector<image::Image>& grounds, const std::vector<image::Image>& clean) {
  Rates r;
  const std::vector<Strip> all = strips();
  Rng rng(1, "places");
  for (std::size_t k = 0; k < grounds.size(); ++k) {
    const Strip& s = all[k % all.size()];
    image::Image picture = image::to_rgb(grounds[k]);
    if (picture.width < s.coverage.width + 8) picture = image::resize(picture, s.coverage.width + 8, picture.height);
    const int x = 4 + static_cast<int>(rng.below(static_cast<std::uint64_t>(picture.width - s.coverage.width - 7)));
    const int y = k % 2 ? 4 : picture.height - s.coverage.height - 4;
    plant(picture, s.coverage, x, y, static_cast<Style>(k % 3));
    if (k % 4 < 2) picture = image::decode(image::encode_jpeg(picture, {.quality = 90}));
    const double share = masked(s.coverage, x, y, picture, find_text(picture));
    ++r.planted;
    r.found += share >= 0.95;
    if (share < 0.95) std::printf("  missed %.0f %% of '%s'\n", 100 * (1 - share), s.text.c_str());
  }
  for (const image::Image& picture : clean) {
    ++r.clean;
    r.touched += !find_text(picture).empty();
  }
  std::printf("planted text masked: %d of %d; clean pictures touched: %d of %d\n", r.found, r.planted, r.touched,
              r.clean);
  return r;
}

std::vector<std::string> pictures_of(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("text: every line planted in plain scenes is found, and none where there is none") {
  std::vector<image::Image> grounds, clean;
  for (std::uint64_t i = 0; i < 12; ++i) grounds.push_back(ground(i, 320, 240));
  for (std::uint64_t i = 0; i < 12; ++i) clean.push_back(ground(100 + i, 240, 200));
  if (!text_recognition_available()) {
    CHECK_THROWS_AS(find_text(grounds[0]), Error);
    WARN("SKIPPED: Tesseract is not installed");
    return;
  }
  const Rates read = measure(grounds, clean);
  CHECK(read.found == 12);
  CHECK(read.touched == 0);
  CHECK(find_text(image::Image(3, 3, 1)).empty());
  CHECK(find_text(image::Image()).empty());

  // What it says comes along, and large letters of large pictures are found as well.
  image::Image large = ground(7, 640, 400);
  const Strip s = strips()[6];
  const image::Image coverage = image::resize(s.coverage, 3 * s.coverage.width, 3 * s.coverage.height);
  plant(large, coverage, 40, 300, Style::plain);
  const std::vector<TextLine> lines = find_text(large);
  REQUIRE(lines.size() >= 1);
  CHECK(lines[0].text == s.text);
  CHECK(masked(coverage, 40, 300, large, lines) == 1);
}

TEST_CASE("text: photographs, X-rays and surfaces, with and without") {
  const char* shared = std::getenv("FOVEA_SHARED");
  if (!shared || !text_recognition_available()) {
    WARN("SKIPPED: needs FOVEA_SHARED and Tesseract");
    return;
  }
  // Those that bear text of their own: a photographer's name, "this image could not be found".
  const std::vector<std::string> own{"0013035", "1262877379", "408393566", "imageNotFound", "2908916142", "476347960"};
  std::vector<image::Image> grounds, clean;
  for (const char* set : {"hymenoptera", "steel", "xray"}) {
    const std::vector<std::string> files = pictures_of(std::string(shared) + "/data/" + set + "/val");
    const bool labelled = std::string(set) == "xray";  // nearly all have L, AP, PORTABLE: nothing to call clean
    const std::size_t step = files.size() / 24;
    for (std::size_t i = 0; i < 24; ++i) {
      const std::string& file = files[i * step];
      if (std::any_of(own.begin(), own.end(), [&](const auto& o) { return file.find(o) != file.npos; })) continue;
      const image::Image picture = image::read_image(file);
      if (i % 2) {
        grounds.push_back(picture);
      } else if (!labelled) {
        clean.push_back(picture);
      }
    }
  }
  const Rates r = measure(grounds, clean);
  CHECK(r.found >= 0.95 * r.planted);
  CHECK(r.touched == 0);  // of 24; the 2 % are measured on hundreds by tests/interop/burned_text.py
}
