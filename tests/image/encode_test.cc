// Writing pictures, drawing into them, and EXIF parsing.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "catch.h"
#include "core/error.h"
#include "image/decode.h"
#include "image/draw.h"
#include "image/encode.h"
#include "image/exif.h"
#include "image/resize.h"
#include "reference.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
using namespace fovea::image;

namespace {

Image pattern(int width, int height, int channels) {
  Image image(width, height, channels);
  unsigned seed = 3;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c)
        image.at(x, y, c) = static_cast<std::uint8_t>(
            2 * x + 3 * y + 40 * c + (y > height / 2 ? (seed = seed * 1664525u + 1013904223u) >> 28 : 0));
    }
  }
  return image;
}

int count_color(const Image& image, Color color) {
  int count = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x)
      count += image.at(x, y, 0) == color.r && image.at(x, y, 1) == color.g && image.at(x, y, 2) == color.b;
  }
  return count;
}

std::size_t files_in(const std::string& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

}  // namespace

TEST_CASE("PNG comes back as it was written") {
  for (const int channels : {1, 3}) {
    for (const auto& [w, h] : {std::pair{1, 1}, {7, 5}, {64, 3}, {301, 200}}) {
      for (const int compression : {0, 1, 6, 9}) {
        const Image image = pattern(w, h, channels);
        const auto bytes = encode_png(image, {.compression = compression});
        CHECK(decode(bytes) == image);
      }
    }
  }
  // Filtering pays on smooth pictures: the upper half is a ramp.
  CHECK(encode_png(pattern(301, 200, 3)).size() * 3 < encode_png(pattern(301, 200, 3), {.compression = 0}).size());
  CHECK_THROWS_AS(encode_png(Image()), Error);
  CHECK_THROWS_AS(encode_png(Image(1, 1, 1), {.compression = 10}), Error);
}

TEST_CASE("JPEG comes back close, in every setting") {
  for (const int channels : {1, 3}) {
    for (const bool progressive : {false, true}) {
      for (const bool subsample : {false, true}) {
        Image image(61, 37, channels);
        for (int y = 0; y < 37; ++y) {
          for (int x = 0; x < 61; ++x) {
            for (int c = 0; c < channels; ++c) image.at(x, y, c) = static_cast<std::uint8_t>(3 * x + 20 * c);
          }
        }
        const auto bytes =
            encode_jpeg(image, {.quality = 95, .subsample_chroma = subsample, .progressive = progressive});
        CHECK(reference::largest_difference(decode(bytes), image) <= 8);
      }
    }
  }
  CHECK(encode_jpeg(pattern(100, 80, 3), {.quality = 20}).size() <
        encode_jpeg(pattern(100, 80, 3), {.quality = 95}).size());
  CHECK_THROWS_AS(encode_jpeg(Image(1, 1, 1), {.quality = 0}), Error);
  CHECK_THROWS_AS(encode_jpeg(Image(70000, 1, 1)), Error);
  CHECK_THROWS_AS(encode_jpeg(Image()), Error);
}

TEST_CASE("a file is written whole or not at all") {
  const TempFolder folder;
  const Image image = pattern(20, 10, 3);
  write_image(folder / "a.png", image);
  write_image(folder / "b.JPG", image);
  write_image(folder / "a.png", image);  // over an old one
  CHECK(read_image(folder / "a.png") == image);
  CHECK(probe_file(folder / "b.JPG").format == Format::jpeg);
  const std::string longest = folder.path() + "/" + std::string(251, 'x') + ".png";
  write_image(longest, image);
  CHECK(read_image(longest) == image);
  CHECK(files_in(folder.path()) == 3);  // no temporary file stays
  CHECK_THROWS_AS(write_image(folder / "c.gif", image), Error);
  CHECK_THROWS_AS(write_image(folder / "none/c.png", image), Error);
  std::filesystem::create_directory(folder / "d.png");
  CHECK_THROWS_AS(write_image(folder / "d.png", image), Error);
  CHECK(files_in(folder.path()) == 4);
  if (std::filesystem::exists("/dev/full")) {
    // A full disk. The link's own name says the format; the device behind it takes no byte.
    std::filesystem::create_symlink("/dev/full", folder / "full.png");
    try {
      write_image(folder / "full.png", image);
      FAIL("wrote to a full disk");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::file);
      CHECK(error.where() == folder / "full.png");
    }
  }
}

TEST_CASE("EXIF orientation is read, and damage is no orientation") {
  const auto tiff = [](bool little, unsigned type, unsigned count, unsigned value) {
    std::vector<std::uint8_t> out;
    const auto put = [&](unsigned v, int bytes) {
      for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(v >> 8 * (little ? i : bytes - 1 - i)));
    };
    out.insert(out.end(), 2, little ? 'I' : 'M');
    put(42, 2), put(8, 4), put(2, 2);
    put(0x0110, 2), put(2, 2), put(4, 4), put(0, 4);  // another tag first
    put(0x0112, 2), put(type, 2), put(count, 4), put(value, type == 4 ? 4 : 2), put(0, type == 4 ? 0 : 2);
    return out;
  };
  for (const bool little : {true, false}) {
    for (unsigned o = 1; o <= 8; ++o) {
      CHECK(exif_orientation(tiff(little, 3, 1, o)) == static_cast<int>(o));
      CHECK(exif_orientation(tiff(little, 4, 1, o)) == static_cast<int>(o));
    }
    CHECK(exif_orientation(tiff(little, 3, 1, 0)) == 1);
    CHECK(exif_orientation(tiff(little, 3, 1, 9)) == 1);
    CHECK(exif_orientation(tiff(little, 3, 2, 6)) == 1);
    CHECK(exif_orientation(tiff(little, 2, 1, 6)) == 1);
    const auto whole = tiff(little, 3, 1, 6);
    for (std::size_t n = 0; n < whole.size(); ++n)
      CHECK(exif_orientation(
                std::vector<std::uint8_t>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n))) == 1);
    for (const std::uint8_t far : {0x7f, 0xff}) {
      auto bad = whole;
      std::fill(bad.begin() + 4, bad.begin() + 8, far);  // the directory's offset
      CHECK(exif_orientation(bad) == 1);
      bad = whole;
      bad[8] = bad[9] = far;  // more entries than there are: the one wanted is still found
      CHECK(exif_orientation(bad) == 6);
    }
  }
}

TEST_CASE("drawing is clipped to the canvas") {
  const Color red{255, 0, 0};
  Image canvas(10, 8, 3);
  fill_rect(canvas, -3, -3, 5, 5, red);
  CHECK(count_color(canvas, red) == 4);
  fill_rect(canvas, 8, 6, 2147483647, 2147483647, red);
  CHECK(count_color(canvas, red) == 8);
  fill_rect(canvas, 100, 100, 5, 5, red);
  fill_rect(canvas, 2, 2, -5, 5, red);
  CHECK(count_color(canvas, red) == 8);
  canvas = Image(10, 8, 3);
  draw_rect(canvas, 1, 1, 6, 5, red);
  CHECK(count_color(canvas, red) == 2 * 6 + 2 * 3);
  canvas = Image(10, 8, 3);
  draw_line(canvas, 0, 0, 7, 7, red);
  CHECK(count_color(canvas, red) == 8);
  draw_line(canvas, -2147483647, 3, 2147483647, 3, red);
  CHECK(count_color(canvas, red) == 17);
  canvas = Image(10, 8, 3);
  blit(canvas, Image(4, 4, 1, 255), -2, 6);
  CHECK(count_color(canvas, {255, 255, 255}) == 4);
  blit(canvas, Image(4, 4, 3, 255), 50, 50);
  blit(canvas, Image(4, 4, 3, 255), -50, -50);
  CHECK(count_color(canvas, {255, 255, 255}) == 4);
  Image grey(3, 3, 1);
  fill_rect(grey, 0, 0, 3, 3, red);
  CHECK(grey == Image(3, 3, 1, 76));
}

TEST_CASE("text has the size it says, and every letter a shape of its own") {
  const Color ink{1, 2, 3};
  std::vector<Image> shapes;
  for (char c = 33; c < 127; ++c) {
    Image cell(kGlyphWidth, kGlyphHeight, 3);
    draw_text(cell, 0, 0, std::string_view(&c, 1), ink);
    INFO(c);
    CHECK(count_color(cell, ink) > 0);
    for (const Image& other : shapes) CHECK(!(cell == other));
    shapes.push_back(cell);
  }
  CHECK(text_width("") == 0);
  CHECK(text_width("abc") == 17);
  CHECK(text_width("abc", 2) == 34);
  CHECK(text_width("ab\nabcd\n") == 23);
  CHECK(text_height("ab\nabcd") == 19);
  CHECK(text_width("\xc3\xa9\xe9\xb3\xa5") == 11);  // é and a bird: two code points
  // Nothing outside the box that text_width and text_height promise.
  Image canvas(80, 44, 3);
  draw_text(canvas, 10, 5, "W#@\nqjy", ink, 2);
  const int inside = count_color(crop(canvas, 10, 5, text_width("W#@\nqjy", 2), text_height("W#@\nqjy", 2)), ink);
  CHECK(inside == count_color(canvas, ink));
  CHECK(inside > 100);
  draw_text(canvas, 75, 36, "clipped at the corner", ink);
  draw_text(canvas, -1000, -1000, "outside", ink);
  draw_text(canvas, 0, 0, "\xff\xfe broken \xc3", ink);
  Image accented(5, 7, 3), plain(5, 7, 3);
  draw_text(accented, 0, 0, "\xc3\xbc", ink);
  draw_text(plain, 0, 0, "u", ink);
  CHECK(accented == plain);
  CHECK(fit_text("sparrow", 100) == "sparrow");
  CHECK(fit_text("house sparrow", 41) == "hou..ow");
  CHECK(text_width(fit_text("house sparrow", 41)) <= 41);
  CHECK(fit_text("house", 5).empty());
  CHECK_THROWS_AS(draw_text(canvas, 0, 0, "x", ink, 0), Error);
}

TEST_CASE("a grid holds its pictures and labels") {
  const std::vector<Image> pictures = {Image(8, 6, 3, 200), Image(4, 4, 1, 100), Image(), Image(8, 6, 3, 50),
                                       Image(30, 30, 1, 10)};
  const Image grid = make_grid(pictures, {"a", "", "b"}, {.columns = 2, .cell_width = 8, .cell_height = 6, .gap = 2});
  const int label = kGlyphHeight + 2;
  CHECK(grid.width == 2 + 2 * (8 + 2));
  CHECK(grid.height == 2 + 3 * (6 + label + 2));
  CHECK(count_color(grid, {200, 200, 200}) == 48);
  CHECK(count_color(grid, {100, 100, 100}) == 16);
  CHECK(count_color(grid, {50, 50, 50}) == 48);
  CHECK(count_color(grid, {10, 10, 10}) == 48);  // cut to its cell
  CHECK(count_color(grid, {0, 0, 0}) > 0);
  CHECK(make_grid(pictures).width == 4 + 3 * 34);
  CHECK_THROWS_AS(make_grid({}), Error);
  CHECK_THROWS_AS(make_grid({Image(1, 1, 1)}, {}, {.cell_width = 1 << 30, .cell_height = 1 << 30}), Error);
}
